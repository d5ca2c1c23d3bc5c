"""When one model of a sweep is better than another: over shared seeds, and beyond their spread."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from inspector.analyses.sweep_comparison import Seeds, compare, comparisons, summaries
from tests.analyses.planted_sweep import finished, planted

DENSE = (0.60, 0.61, 0.62)


def test_a_mean_and_its_deviation() -> None:
    seeds = Seeds((1.0, 2.0, 6.0))
    assert seeds.mean == 3.0
    assert seeds.deviation == pytest.approx(7**0.5)
    assert Seeds((4.0,)).deviation is None


@pytest.mark.parametrize(
    ("recalls", "verdict"),
    [
        ((0.70, 0.71, 0.72), "better"),
        ((0.50, 0.51, 0.52), "worse"),
        ((0.61, 0.62, 0.63), "within the spread"),  # they overlap
        ((0.625, 0.63, 0.635), "within the spread"),  # apart, but by 2 deviations at most
        ((0.70, 0.90, 0.75), "within the spread"),  # apart, but one deviation is large
        ((0.90, 0.91), "not judged"),
        ((0.90,), "not judged"),
    ],
)
def test_a_difference_counts_beyond_the_spread_alone(
    recalls: tuple[float, ...], verdict: str
) -> None:
    results = planted({"dense": DENSE, "memory-32": recalls})
    dense, memory = summaries(results)
    found = compare(memory, dense, "recall", "seen")
    assert found.verdict == verdict
    both = len(recalls)  # seeds that both have
    assert found.difference == pytest.approx(sum(recalls) / both - sum(DENSE[:both]) / both)


def test_of_likelihoods_less_is_better() -> None:
    results = planted({"dense": DENSE, "memory-32": (0.70, 0.71, 0.72)})
    dense, memory = summaries(results)
    found = compare(memory, dense, "nll", "seen")  # planted: nll = 3 - recall
    assert (found.verdict, found.difference) == ("better", pytest.approx(-0.10))


def test_memories_meet_the_dense_of_their_own_size() -> None:
    names = ("dense", "memory-32", "memory-64", "dense-flops-64", "dense-params-32")
    results = planted(dict.fromkeys(names, (0.5,)))
    pairs = [
        (c.memory.model, c.baseline.model)
        for c in comparisons(results, "seen")
        if c.measure == "nll"
    ]
    assert pairs == [
        ("memory-32", "dense"),
        ("memory-64", "dense"),
        ("memory-32", "dense-flops-64"),
        ("memory-64", "dense-flops-64"),
        ("memory-32", "dense-params-32"),
    ]


def test_models_without_a_seed_in_common_are_not_compared() -> None:
    results = planted({"dense": DENSE})
    later = finished("memory-32", 7, 0.9)
    dense, memory = summaries(replace(results, runs=(*results.runs, later)))
    found = compare(memory, dense, "recall", "seen")
    assert (found.verdict, math.isnan(found.difference)) == ("not judged", True)
    assert (found.seeds, found.ahead) == (0, 0)


def test_seeds_are_set_against_each_other_one_by_one() -> None:
    results = planted({"dense": DENSE, "memory-32": (0.605, 0.605, 0.63, 0.1)})
    dense, memory = summaries(results)
    assert compare(memory, dense, "recall", "seen").seeds == 3
    assert compare(memory, dense, "recall", "seen").ahead == 2
    assert compare(memory, dense, "nll", "seen").ahead == 2  # planted: nll = 3 - recall
    assert compare(dense, memory, "nll", "seen").ahead == 1


def test_held_out_phrasings_are_read_apart() -> None:
    results = planted({"dense": DENSE, "memory-32": (0.70, 0.71, 0.72)})
    (found,) = [c for c in comparisons(results, "heldout") if c.measure == "recall"]
    assert found.difference == pytest.approx(0.05)  # planted: half of what is seen
