"""The windows of a scan are found again from what it keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inspector.analyses.scanned_text import sample_windows, window_of
from inspector.capture.load import load
from inspector.capture.scan import scan
from inspector.capture.usage import Usage
from inspector.families.base import MemoryModel
from tests.capture.recount import windows_of
from tests.capture.test_scan import CORPUS

ALL = 10**9


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")


@pytest.fixture(scope="module")
def usage(model: MemoryModel) -> Usage:
    return scan(model, CORPUS, cache=False)


def test_windows_are_those_that_were_read(model: MemoryModel, usage: Usage) -> None:
    lengths = [len(window.ids) for window in windows_of(model, CORPUS, None)]
    assert max(lengths) == model.positions, "the corpus must hold a document cut into windows"
    ends = np.cumsum(lengths)
    sample = sample_windows(model, usage, ALL)
    assert sample.complete
    assert sample.ends.tolist() == ends.tolist()
    for token in range(usage.tokens):
        place = int(np.searchsorted(ends, token, side="right"))
        assert window_of(model, usage, token) == (ends[place] - lengths[place], ends[place])


def test_of_equal_prefixes_the_first_is_the_one(model: MemoryModel, usage: Usage) -> None:
    sample = sample_windows(model, usage, ALL)
    seen: set[tuple[int, ...]] = set()
    for place, token in enumerate(sample.tokens.tolist()):
        start, _ = window_of(model, usage, token)
        prefix = tuple(usage.token_ids[start : token + 1].tolist())
        assert sample.first[place] == (prefix not in seen)
        seen.add(prefix)
    assert sample.first.sum() == usage.distinct_contexts < usage.tokens


def test_every_window_has_the_same_chance(model: MemoryModel, usage: Usage) -> None:
    whole = sample_windows(model, usage, ALL)
    drawn = np.zeros(len(whole.starts))
    for seed in range(400):
        drawn += np.isin(whole.starts, sample_windows(model, usage, 1, seed).starts)
    assert drawn.sum() == 400  # one token is enough, and one window gives it
    spread = ((drawn - drawn.mean()) ** 2 / drawn.mean()).sum()
    assert spread < 1.6 * len(drawn), "chi-square"
