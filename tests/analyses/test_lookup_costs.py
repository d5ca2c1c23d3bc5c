"""The price of a lookup: counted on paper, and timed for real."""

from __future__ import annotations

import itertools

import pytest

from inspector.analyses.lookup_costs import costs_frame, count_costs, measure_costs_by_size


def test_a_million_slots_from_two_sets_of_a_thousand() -> None:
    ours, compared, flat, flat_compared = count_costs(1000, d_key=128, knn=32)
    assert (ours, flat) == (2 * 1000 * 64, 1000 * 1000 * 128)
    assert compared == 2 * 1000 + 119  # of 1,024 candidates, 119 can be among the best 32
    assert flat_compared == 1_000_000


@pytest.mark.parametrize(("n", "knn"), [(4, 2), (4, 9), (16, 4), (3, 9)])
def test_candidates_are_those_that_can_win(n: int, knn: int) -> None:
    ranks = range(1, min(n, knn) + 1)
    by_hand = sum(a * b <= knn for a, b in itertools.product(ranks, ranks))
    assert count_costs(n, 8, knn)[1] == 2 * n + by_hand


def test_times_are_measured_for_every_size_and_the_flat_search_grows_faster() -> None:
    costs = measure_costs_by_size(16, 2, sizes=(16, 1000))
    assert [cost.slots for cost in costs] == [256, 1_000_000]
    assert all(cost.milliseconds > 0 and cost.flat_milliseconds > 0 for cost in costs)
    small, large = costs
    growth = large.milliseconds / small.milliseconds
    assert large.flat_milliseconds / small.flat_milliseconds > growth
    assert list(costs_frame(costs)["n"]) == [16, 1000]
