"""Distinct prefixes, and numbers that are random but always the same."""

from __future__ import annotations

import random

import numpy as np
import pytest

from inspector.capture import scan_prefixes
from inspector.capture.scan_prefixes import SeenPrefixes, mix, prefix_hashes, uniform


def flat(windows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    ids = np.array([token for window in windows for token in window], dtype=np.int32)
    return ids, np.cumsum([0, *map(len, windows)])


def drawn_windows(count: int, seed: int = 0) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randint(0, 2) for _ in range(draw.randint(1, 9))] for _ in range(count)]


def test_fresh_tokens_are_those_of_a_set_of_prefixes() -> None:
    windows, seen = drawn_windows(400), set[tuple[int, ...]]()
    expected = []
    for window in windows:
        for end in range(1, len(window) + 1):
            expected.append(tuple(window[:end]) not in seen)
            seen.add(tuple(window[:end]))
    prefixes = SeenPrefixes()
    halves = [prefixes.add(*flat(part)) for part in (windows[:150], windows[150:])]
    assert np.concatenate(halves).tolist() == expected
    assert prefixes.count == len(seen)


def test_hashes_tell_order_length_and_start_apart() -> None:
    ids, starts = flat([[1, 2], [2, 1], [1, 1], [1, 2], [12]])
    hashes = prefix_hashes(ids, starts).tolist()
    assert hashes[0] == hashes[4] == hashes[6]
    assert hashes[1] == hashes[7]
    assert len(set(hashes)) == 6


def test_a_full_filter_loses_contexts_and_invents_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_prefixes, "_BITS", 12)
    prefixes, exact = SeenPrefixes(), 0
    seen = set[int]()
    for token in range(0, 8000, 10):
        ids = np.arange(token, token + 10, dtype=np.int32)
        fresh = prefixes.add(ids, np.arange(11))
        assert not prefixes.add(ids, np.arange(11)).any()  # seen is seen
        exact += 10
        seen.update(ids[fresh].tolist())
    assert prefixes.count == len(seen) < exact


def test_the_stated_loss_is_the_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter 2^12 times smaller, after 2^12 times fewer prefixes, has the same error rate."""
    monkeypatch.setattr(scan_prefixes, "_BITS", 16)
    prefixes, added = SeenPrefixes(), 0
    for millions, stated in ((10, 0.0004), (50, 0.08), (100, 0.36)):
        count = millions * 10**6 // 2**12
        prefixes.add(*one_token_windows(added, count))
        added = count
        probe = SeenPrefixes()
        probe.bits.copy_(prefixes.bits)
        lost = 1 - probe.add(*one_token_windows(10**6, 10**6 + 4000)).mean()
        # All 4,000 are looked up before any is added.
        assert lost == pytest.approx(stated, rel=0.15, abs=0.001)


def one_token_windows(first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.arange(first, end, dtype=np.int32)
    return ids, np.arange(len(ids) + 1)


def test_mix_is_splitmix64() -> None:
    """The first numbers of the generator with seed 0, from its reference implementation."""
    gamma = 0x9E3779B97F4A7C15
    states = np.array([gamma * n % 2**64 for n in (1, 2, 3)], dtype=np.uint64)
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert mix(states).tolist() == expected


def test_uniform_numbers_are_uniform_and_depend_on_every_key() -> None:
    draws = uniform(3, np.arange(200)[:, None], np.arange(100))
    assert draws.min() > 0
    assert draws.max() <= 1
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 43.8  # 0.1 % of chi-square with 19 degrees
    assert len(np.unique(draws)) == draws.size
    assert (draws == uniform(3, np.arange(200)[:, None], np.arange(100))).all()
    assert not (draws == uniform(4, np.arange(200)[:, None], np.arange(100))).any()
    assert uniform(-1, np.arange(3)).shape == (3,)
