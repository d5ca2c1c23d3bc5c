"""A sample of a corpus: what a shuffled corpus would give, and any window as likely as another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inspector.analyses.corpus_sample import CorpusSample, sample_corpus, sample_texts
from inspector.capture.corpus import open_corpus
from inspector.capture.load import load
from inspector.capture.scan_windows import read_windows
from inspector.families.base import MemoryModel
from tests.conftest import SENTENCES

TEXTS = [f"{sentence} {number}" for number in range(4) for sentence in SENTENCES]


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")


def drawn(model: MemoryModel, tokens: int, seed: int = 0) -> CorpusSample:
    found = sample_corpus(model, open_corpus(TEXTS), tokens, seed)
    assert found is not None
    return found


def ids(sample: CorpusSample) -> list[tuple[int, ...]]:
    return [tuple(window.ids) for window in sample.windows]


def test_it_is_the_start_of_a_shuffled_corpus(model: MemoryModel) -> None:
    windows = [tuple(window.ids) for window in read_windows(model, open_corpus(TEXTS))]
    order = np.argsort(np.random.default_rng(3).random(len(windows)))
    lengths = np.array([len(windows[place]) for place in order])
    for tokens in (1, 40, 100):
        enough = int(np.searchsorted(lengths.cumsum(), tokens)) + 1
        found = drawn(model, tokens, seed=3)
        assert ids(found) == [windows[place] for place in order[:enough]]
        assert found.tokens == lengths[:enough].sum() >= tokens
        assert (found.drawn_from, found.seed) == (lengths.sum(), 3)
        assert not found.complete


def test_texts_are_the_start_of_a_shuffled_corpus() -> None:
    order = np.argsort(np.random.default_rng(3).random(len(TEXTS)))
    lengths = np.array([len(TEXTS[place]) for place in order])
    for characters in (40, 100, 300):
        enough = int(np.searchsorted(lengths.cumsum(), characters)) + 1
        found = sample_texts(open_corpus(TEXTS), characters, seed=3)
        assert found == tuple(TEXTS[place] for place in order[:enough])
    assert sorted(sample_texts(open_corpus(TEXTS), 10**6)) == sorted(TEXTS)


def test_a_corpus_with_fewer_tokens_is_all_of_it(model: MemoryModel) -> None:
    found = drawn(model, 10**6)
    assert found.complete
    assert len(found.windows) == len(TEXTS)
    exact = drawn(model, found.tokens)
    assert exact.complete


def test_the_seed_decides_and_the_first_are_no_likelier(model: MemoryModel) -> None:
    assert ids(drawn(model, 60, 1)) == ids(drawn(model, 60, 1)) != ids(drawn(model, 60, 2))
    windows = [tuple(window.ids) for window in read_windows(model, open_corpus(TEXTS))]
    times = np.zeros(len(windows))
    for seed in range(200):
        times[windows.index(ids(drawn(model, 1, seed))[0])] += 1
    expected = 200 / len(windows)
    assert times.max() < 4 * expected
    early, late = times[: len(times) // 2].sum(), times[len(times) // 2 :].sum()
    assert abs(early - late) < 60  # 4 standard deviations


def test_drawing_can_be_stopped(model: MemoryModel) -> None:
    assert sample_corpus(model, open_corpus(TEXTS), 40, cancel=lambda: True) is None
