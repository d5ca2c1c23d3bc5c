"""Contexts kept per slot: the best by any value, fair samples, and quarters by strength."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
import torch

from inspector.capture import scan_recorder
from inspector.capture.scan_contexts import DRAWN, BestReads, ReadContexts
from inspector.capture.scan_counts import TableCounts, tensors_of

CPU = torch.device("cpu")


@pytest.mark.parametrize("distinct", [3, 10**6])  # with three values nearly all are ties
@pytest.mark.parametrize("parts", [1, 5])
def test_best_reads_are_those_of_a_full_sort(distinct: int, parts: int) -> None:
    rng = np.random.default_rng(0)
    slots = torch.from_numpy(rng.integers(0, 20, 1000))
    value = torch.from_numpy(rng.integers(0, distinct, 1000).astype(np.float32))
    best, reads = BestReads(4, 25, CPU), torch.arange(1000)
    for part in reads.chunk(parts):
        best.offer(slots[part], value[part], -value[part], part * 7)
    for slot in range(25):
        mine = [r for r in range(1000) if slots[r] == slot]
        mine.sort(key=lambda r: (-float(value[r]), r))
        expected = [r * 7 for r in mine[:4]] + [-1] * (4 - len(mine[:4]))
        assert best.read[:, slot].tolist() == expected
        kept = [r for r in expected if r >= 0]
        assert best.weight[: len(kept), slot].tolist() == [-float(value[r // 7]) for r in kept]


def test_a_read_of_value_zero_is_a_read() -> None:
    best = BestReads(2, 1, CPU)
    best.offer(torch.tensor([0]), torch.zeros(1), torch.zeros(1), torch.tensor([5]))
    assert best.read[:, 0].tolist() == [5, -1]


def add(contexts: ReadContexts, slots: np.ndarray, weights: np.ndarray, start: int = 0) -> None:
    """Reads ``[token source]``, one a source."""
    tokens = torch.arange(start, start + len(slots))
    contexts.add(
        torch.from_numpy(slots),
        torch.from_numpy(weights.astype(np.float32)),
        torch.arange(slots.shape[1]),
        tokens,
    )


def slots_of_their_own(tokens: int, count: int) -> np.ndarray:
    """Every source reads the slot of its own number at every token: ``[token source]``."""
    return np.repeat(np.arange(count)[None], tokens, axis=0)


def test_every_read_of_a_slot_has_the_same_chance() -> None:
    """Chi-square over twentieths of 2,000 tokens, of 200 slots that are read by all of them."""
    contexts = ReadContexts(200, 200, 0, CPU)
    for start in range(0, 2000, 250):
        add(contexts, slots_of_their_own(250, 200), np.ones((250, 200)), start)
    drawn = contexts.drawn.read.numpy()
    assert (np.sort(drawn % 200, axis=0) == np.arange(200)).all()
    hits = np.bincount((drawn // 200 // 100).ravel(), minlength=20)
    assert hits.sum() == 200 * DRAWN
    expected = 200 * DRAWN / 20
    assert ((hits - expected) ** 2 / expected).sum() < 43.8  # 0.1 % with 19 degrees
    assert all(len(set(column)) == DRAWN for column in drawn.T.tolist())


def test_another_seed_draws_others() -> None:
    found = []
    for seed in (0, 0, 1):
        contexts = ReadContexts(3, 3, seed, CPU)
        add(contexts, slots_of_their_own(300, 3), np.ones((300, 3)))
        found.append(contexts.drawn.read.flatten().tolist())
    assert found[0] == found[1] != found[2]


def test_two_reads_of_every_quarter_are_shown() -> None:
    """Of 400 slots with weights 0 to 1, the quarters' reads lie where the quarters lie."""
    rng = np.random.default_rng(0)
    weights = rng.permuted(np.repeat(np.linspace(0, 1, 500)[:, None], 400, axis=1), axis=0)
    weights[:, ::2] *= -1  # the strength counts, not the sign
    contexts = ReadContexts(400, 400, 0, CPU)
    add(contexts, slots_of_their_own(500, 400), weights)
    found = contexts.result([(5, head) for head in range(400)])
    assert (found.site == 5).all()
    assert (found.head == found.slot).all()
    np.testing.assert_allclose(found.weight, weights[found.token, found.head], rtol=1e-6)
    shown = defaultdict(list)
    for slot, kind, weight in zip(found.slot, found.kind, np.abs(found.weight), strict=True):
        shown[int(slot), int(kind)].append(float(weight))
    assert all(len(shown[slot, 0]) == 4 for slot in range(400))
    for kind in (1, 2, 3, 4):
        strengths = np.array([shown[slot, kind] for slot in range(400)])
        assert strengths.shape == (400, 2)
        # A quarter of a sample of 12 has its middle at (3 * kind - 1) / 13 on average.
        assert strengths.mean() == pytest.approx((3 * kind - 1) / 13, abs=0.015)
    for slot in range(400):
        bounds = [(min(shown[slot, kind]), max(shown[slot, kind])) for kind in (1, 2, 3, 4)]
        assert all(low[1] < high[0] for low, high in pairwise(bounds))


@pytest.mark.parametrize(
    ("reads", "kinds"),
    [(1, [0, 1]), (2, [0, 0, 1, 3]), (3, [0] * 3 + [1, 2, 3]), (5, [0] * 4 + [1, 1, 2, 3, 4])],
)
def test_slots_read_a_few_times_show_what_there_is(reads: int, kinds: list[int]) -> None:
    contexts = ReadContexts(9, 1, 0, CPU)
    add(contexts, np.full((reads, 1), 7), np.arange(1, reads + 1)[:, None])
    found = contexts.result([(0, 0)])
    assert found.kind.tolist() == kinds
    assert set(found.slot.tolist()) == {7}


def test_nothing_read_has_no_contexts() -> None:
    found = ReadContexts(9, 1, 0, CPU).result([(0, 0)])
    assert len(found.slot) == len(found.token) == 0


def test_a_slot_takes_as_many_bytes_as_stated() -> None:
    """For 1,000,000 slots, read by four heads of three sites; nothing is allocated for it."""
    meta, slots, sources = torch.device("meta"), 1_000_000, 12

    def size(*states: object) -> float:
        tensors = [tensor for state in states for tensor in tensors_of(state).values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / slots

    contexts = ReadContexts(slots, sources, 0, meta)
    assert size(TableCounts(slots, sources, meta)) == 24 * sources + 16
    assert size(contexts.strongest, contexts.drawn) == 256
    assert "560 bytes a slot" in (scan_recorder.__doc__ or "")
