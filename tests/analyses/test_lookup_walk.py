"""Every step of a lookup, worked out a second time, by brute force or on paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inspector.analyses.lookup_walk import LookupWalk, search_all_keys, walk_query, walk_trace
from inspector.capture.load import load
from inspector.capture.trace import Trace, trace
from inspector.families.base import MemoryModel


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")


@pytest.fixture(scope="module")
def traced(model: MemoryModel) -> Trace:
    return trace(model, ids=[[3, 1, 4, 1, 5]])


def walks(model: MemoryModel, traced: Trace) -> list[tuple[str, int, int, LookupWalk]]:
    return [
        (name, pos, head, walk_trace(model, traced, name, pos, head))
        for name, info in traced.sites.items()
        for pos in range(5)
        for head in range(info.heads)
    ]


def test_the_steps_end_in_the_reads_of_the_forward_pass(model: MemoryModel, traced: Trace) -> None:
    for name, pos, head, walk in walks(model, traced):
        reads = traced.reads[name]
        assert walk.agrees
        assert walk.slots.tolist() == reads.slots[0, pos, head].tolist()
        np.testing.assert_allclose(walk.weights, reads.weights[0, pos, head].numpy())


def test_half_scores_are_dot_products_of_halves(model: MemoryModel, traced: Trace) -> None:
    for _, _, _, walk in walks(model, traced):
        for half in range(2):
            for key in range(walk.n):
                by_hand = sum(
                    float(q) * float(k)
                    for q, k in zip(walk.query[half], walk.half_keys[half][key], strict=True)
                )
                assert walk.half_scores[half, key] == pytest.approx(by_hand, abs=1e-5)


def test_the_grid_holds_the_sums_of_what_was_kept(model: MemoryModel, traced: Trace) -> None:
    for _, _, _, walk in walks(model, traced):
        for half in range(2):
            order = sorted(range(walk.n), key=lambda i, half=half: -walk.half_scores[half, i])
            assert walk.best[half].tolist() == order[: walk.best.shape[1]]
        for a, i in enumerate(walk.best[0]):
            for b, j in enumerate(walk.best[1]):
                expected = float(walk.half_scores[0, i]) + float(walk.half_scores[1, j])
                assert walk.sums[a, b] == pytest.approx(expected, abs=1e-6)


def test_every_read_lies_in_its_cell_and_no_cell_out_of_the_race_is_read(
    model: MemoryModel, traced: Trace
) -> None:
    for _, _, _, walk in walks(model, traced):
        for rank in range(walk.knn):
            cell = walk.cell(rank)
            assert walk.sums[cell] == pytest.approx(float(walk.scores[rank]), abs=1e-5)
            assert walk.needed[cell]


def test_the_sum_is_weight_times_value(model: MemoryModel, traced: Trace) -> None:
    for name, _, _, walk in walks(model, traced)[:6]:
        table = model.site(name).table.weight
        by_hand = sum(
            float(w) * table[int(slot)].numpy()
            for w, slot in zip(walk.weights, walk.slots, strict=True)
        )
        np.testing.assert_allclose(walk.total, by_hand, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("n", [1, 3, 16, 40])
def test_searching_every_key_agrees_ties_included(n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    for _ in range(10):
        query = torch.randint(-2, 3, (2, 2), generator=generator).float()
        half_keys = torch.randint(-2, 3, (2, n, 2), generator=generator).float()
        walk = walk_query(query, half_keys, torch.randn(n * n, 3, generator=generator), min(n, 3))
        found = search_all_keys(walk)
        assert (found.keys, found.equal) == (n * n, True)
        scores = [a + b for a in walk.half_scores[0] for b in walk.half_scores[1]]
        order = sorted(range(n * n), key=lambda slot: (-scores[slot], slot))
        assert list(found.slots) == order[: walk.knn]


def test_a_lookup_that_missed_a_key_is_found_out() -> None:
    query, half_keys = torch.ones(2, 2), torch.randn(2, 8, 2, generator=torch.Generator())
    walk = walk_query(query, half_keys, torch.randn(64, 3), 2)
    wrong = replace(walk, slots=np.array([walk.slots[0], (walk.slots[1] + 1) % 64]))
    assert not search_all_keys(wrong).equal


def test_steps_that_disagree_in_size_are_refused() -> None:
    walk = walk_query(torch.ones(2, 2), torch.randn(2, 8, 2), torch.randn(64, 3), 2)
    with pytest.raises(ValueError, match="grid"):
        replace(walk, sums=walk.sums[:1])
    with pytest.raises(ValueError, match="2 slots"):
        replace(walk, values=walk.values[:1])


def test_the_frame_has_a_row_for_each_read(model: MemoryModel, traced: Trace) -> None:
    _, _, _, walk = walks(model, traced)[0]
    frame = walk.to_frame()
    assert len(frame) == walk.knn
    assert (frame["slot"] == frame["i"] * walk.n + frame["j"]).all()
    np.testing.assert_allclose(frame["score"], frame["score_i"] + frame["score_j"], atol=1e-5)
