"""From documents to batches: nothing is lost, doubled or cut where it should not be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from inspector.capture import scan_windows
from inspector.capture.corpus import open_corpus
from inspector.capture.load import load
from inspector.capture.scan_windows import (
    Chunk,
    Cursor,
    Window,
    make_batches,
    make_chunks,
    read_windows,
)
from inspector.families.base import MemoryModel
from tests.conftest import SENTENCES
from tests.families.tiny_native import POSITIONS

LONG = " ".join(SENTENCES) * 3
TEXTS = [SENTENCES[0], LONG, "a", SENTENCES[1]]


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")


def read(model: MemoryModel, texts: Sequence[str], start: Cursor = Cursor()) -> list[Window]:  # noqa: B008
    return list(read_windows(model, open_corpus(texts), start))


def test_a_document_is_a_window_if_it_fits(model: MemoryModel) -> None:
    for text, window in zip(SENTENCES, read(model, SENTENCES), strict=True):
        assert list(window.ids) == model.tokenizer(text).input_ids
        assert window.opens


def test_a_long_document_is_cut_and_every_part_starts_anew(model: MemoryModel) -> None:
    windows = read(model, TEXTS)[1:-2]
    assert [window.opens for window in windows] == [True] + [False] * (len(windows) - 1)
    assert {window.ids[0] for window in windows} == {model.tokenizer.bos_token_id}
    assert {len(window.ids) for window in windows[:-1]} == {POSITIONS}
    rejoined = [token for window in windows for token in window.ids[1:]]
    assert rejoined == model.tokenizer(LONG).input_ids[1:]


def test_a_piece_is_tokenised_alone_and_goes_on_with_its_document(
    model: MemoryModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_windows, "_PIECE", 1)
    windows = read(model, [LONG])  # a piece has at least eight characters a position
    assert sum(window.opens for window in windows) == 1
    words = "".join(model.tokenizer.decode(list(window.ids[1:])) for window in windows)
    assert words == LONG


def test_without_a_first_token_parts_have_none() -> None:
    assert scan_windows._cut([5, 6, 7, 8, 9], 2, 0) == [[5, 6], [7, 8], [9]]
    assert scan_windows._cut([0, 6, 7, 8, 9], 3, 0) == [[0, 6, 7], [0, 8, 9]]
    assert scan_windows._cut([0, 6], 1, 0) == [[0], [6]]
    assert scan_windows._cut([], 3, 0) == []


def test_every_cursor_goes_on_where_its_window_ended(
    model: MemoryModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_windows, "_TOGETHER", 40)
    windows = read(model, TEXTS)
    for number, window in enumerate(windows):
        rest = read(model, TEXTS, window.after)
        assert [w.ids for w in rest] == [w.ids for w in windows[number + 1 :]]
        assert [w.opens for w in rest] == [w.opens for w in windows[number + 1 :]]
        assert [w.after for w in rest] == [w.after for w in windows[number + 1 :]]


# --- chunks -------------------------------------------------------------------------------------


def windows(*lengths: int) -> list[Window]:
    count = iter(range(10**6))
    return [
        Window([next(count) for _ in range(length)], True, Cursor(number + 1), None)
        for number, length in enumerate(lengths)
    ]


def sizes(lengths: Sequence[int], tokens: int, limit: int | None = None) -> list[tuple[int, bool]]:
    chunks = make_chunks(iter(windows(*lengths)), tokens, limit)
    return [(len(chunk.ids), chunk.exhausted) for chunk in chunks]


def test_chunks_hold_whole_windows() -> None:
    assert sizes([3, 3, 3], 6) == [(6, False), (3, True)]
    assert sizes([3, 9, 3], 6) == [(3, False), (9, False), (3, True)]
    assert sizes([], 6) == []


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (1, [(1, False)]),
        (3, [(3, False)]),
        (4, [(4, False)]),
        (6, [(6, False)]),
        (7, [(6, False), (1, False)]),
        (9, [(6, False), (3, True)]),
        (10, [(6, False), (3, True)]),
        (0, []),
    ],
)
def test_a_limit_cuts_the_last_window(limit: int, expected: list[tuple[int, bool]]) -> None:
    assert sizes([3, 3, 3], 6, limit) == expected


def test_tokens_know_their_documents() -> None:
    parts = [Window([1, 2], False, Cursor(), None), Window([3], True, Cursor(), None)]
    parts += [Window([4], False, Cursor(), None), Window([5, 6], True, Cursor(), None)]
    chunk = next(make_chunks(iter(parts), 100, None))
    assert chunk.documents(before=5).tolist() == [4, 4, 5, 5, 6, 6]
    # Of the second document only its second part, of the third all:
    some = chunk.only(np.array([False, False, True, True]))
    assert some.ids.tolist() == [4, 5, 6]
    assert some.documents(before=5).tolist() == [5, 6, 6]
    assert some.opens.tolist() == [True, True]
    assert not some.exhausted
    first = chunk.only(np.array([True, False, True, False]))
    assert first.documents(before=5).tolist() == [4, 4, 5]


# --- batches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [1, 8, 20, 1000])
def test_batches_hold_every_token_once(tokens: int) -> None:
    chunk = next(make_chunks(iter(windows(5, 1, 3, 5, 2, 9, 1, 1, 4)), 1000, None))
    batches = list(make_batches(chunk, tokens, torch.device("cpu")))
    seen = torch.cat([batch.tokens for batch in batches])
    assert sorted(seen.tolist()) == list(range(31))
    for batch in batches:
        assert batch.ids.numel() <= tokens or len(batch.ids) == 1
        assert batch.select(batch.ids).tolist() == chunk.ids[batch.tokens.numpy()].tolist()
        lengths = chunk.lengths[batch.windows].tolist()
        for row, length, window in zip(batch.ids, lengths, batch.windows, strict=True):
            start = chunk.starts[window]
            assert row[:length].tolist() == chunk.ids[start : start + length].tolist()
    assert sorted(np.concatenate([batch.windows for batch in batches]).tolist()) == list(range(9))


def test_little_is_padded() -> None:
    chunk: Chunk = next(make_chunks(iter(windows(*[4, 5, 6, 7] * 40)), 10_000, None))
    batches = list(make_batches(chunk, 128, torch.device("cpu")))
    positions = sum(batch.ids.numel() for batch in batches)
    assert positions < 1.05 * len(chunk.ids)
    assert len(batches) < 12
