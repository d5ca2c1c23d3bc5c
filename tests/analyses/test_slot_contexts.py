"""The text around reads: that of the scan, and read again it reads the slot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inspector.analyses.read_index import index_reads
from inspector.analyses.slot_contexts import (
    KINDS,
    STRONGEST,
    ReadContext,
    contexts_frame,
    scanned_contexts,
    studied_contexts,
)
from inspector.capture.load import load
from inspector.capture.scan import scan
from inspector.capture.trace import trace
from inspector.capture.usage import Usage
from inspector.families.base import MemoryModel
from tests.capture.test_scan import CORPUS


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")


@pytest.fixture(scope="module")
def usage(model: MemoryModel) -> Usage:
    return scan(model, CORPUS, cache=False)


def check(model: MemoryModel, usage: Usage, slot: int, context: ReadContext) -> None:
    """The prefix, run by itself, reads the slot with that coefficient, and is the scan's text."""
    reads = trace(model, ids=[list(context.prefix)]).reads[context.site]
    hit = reads.slots[0, -1, context.head] == slot
    assert hit.any()
    coefficient = float(reads.coefficients[0, -1, context.head][hit])
    assert coefficient == pytest.approx(context.coefficient, abs=1e-5)
    text = [*context.prefix, *context.following]
    start = context.token + 1 - len(context.prefix)
    assert usage.token_ids[start : start + len(text)].tolist() == text


def test_contexts_read_the_slot_when_run_again(model: MemoryModel, usage: Usage) -> None:
    checked = 0
    for slot in range(0, 64, 5):
        found = scanned_contexts(model, usage, 0, slot)
        kept = usage.contexts[0]
        mine = kept.slot == slot
        assert [KINDS.index(each.kind) for each in found] == kept.kind[mine].tolist()
        assert [each.token for each in found] == kept.token[mine].tolist()
        for each in found:
            check(model, usage, slot, each)
        checked += len(found)
    assert checked > 40


def test_the_text_ends_with_its_window(model: MemoryModel, usage: Usage) -> None:
    ends = [*usage.document_starts.tolist()[1:], usage.tokens]
    for slot in range(64):
        for each in scanned_contexts(model, usage, 0, slot):
            end = next(end for end in ends if end > each.token)
            assert each.token + len(each.following) < end
            assert len(each.prefix) <= model.positions


def test_studied_contexts_are_the_strongest_and_others(model: MemoryModel, usage: Usage) -> None:
    index = index_reads(model, usage, cache=False)
    assert index is not None
    counts = np.diff(index.tables[0].offsets)
    slot = int(counts.argmax())
    reads = index.of_slot(0, slot)
    strongest, drawn = studied_contexts(model, usage, reads)
    assert (len(strongest), len(drawn)) == (STRONGEST, STRONGEST)
    best = {}
    for token, size in zip(reads.token.tolist(), np.abs(reads.coefficient), strict=True):
        best[token] = max(best.get(token, 0.0), float(size))
    order = sorted(best, key=lambda token: -best[token])
    floor = best[order[STRONGEST - 1]]
    assert all(abs(each.coefficient) >= floor for each in strongest)
    assert len({each.token for each in strongest}) == STRONGEST
    assert not {each.token for each in strongest} & {each.token for each in drawn}
    assert studied_contexts(model, usage, reads)[1] == drawn
    assert studied_contexts(model, usage, reads, seed=1)[1] != drawn
    for each in (*strongest[:3], *drawn[:3]):
        check(model, usage, slot, each)


def test_long_contexts_are_fewer(
    model: MemoryModel, usage: Usage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inspector.analyses.slot_contexts._TOKENS", 130)
    index = index_reads(model, usage, cache=False)
    assert index is not None
    reads = index.of_slot(0, int(np.diff(index.tables[0].offsets).argmax()))
    for group in studied_contexts(model, usage, reads):
        assert group
        assert len(group) * max(len(each.prefix) for each in group) <= 130


def test_a_slot_never_read_has_none(model: MemoryModel) -> None:
    usage = scan(model, ["A"], cache=False)
    unread = int(np.flatnonzero(sum(s.reads.sum(0) for s in usage.sites.values()) == 0)[0])
    assert scanned_contexts(model, usage, 0, unread) == ()
    index = index_reads(model, usage, cache=False)
    assert index is not None
    assert studied_contexts(model, usage, index.of_slot(0, unread)) == ((), ())


def test_as_a_table(model: MemoryModel, usage: Usage) -> None:
    slot = int(usage.contexts[0].slot[0])
    found = scanned_contexts(model, usage, 0, slot)
    frame = contexts_frame(model, found)
    whole = frame["before"] + frame["token"] + frame["after"]
    for each, text in zip(found, whole, strict=True):
        ids = [*each.prefix, *each.following]
        assert text == "".join(model.token_text(token) for token in ids)
