"""P-values of values against null vectors: valid, and as fine as it takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from inspector.analyses.value_quality import (
    CONTEXT_NULLS,
    FINER,
    NULLS,
    finer_p_values,
    nulls_of,
    own_p_values,
    shared_p_values,
    significant,
)
from inspector.memory.values import ValueTable


class Drawn:
    """Null standings known beforehand, and how many were asked for."""

    def __init__(self, nulls: Tensor) -> None:
        self.nulls = nulls  # [slot null]
        self.asked = torch.zeros(len(nulls), dtype=torch.long)

    def __call__(self, slots: Tensor, part: slice) -> Tensor:
        found = self.nulls[slots, part]
        self.asked[slots] += found.shape[1]
        return found


def reached(places: list[int], count: int = NULLS) -> Tensor:
    """Null standings of 1 at ``places``, counted from 1, and of 0 elsewhere: ``[1 null]``."""
    nulls = torch.zeros(1, count, dtype=torch.float64)
    nulls[0, [place - 1 for place in places]] = 1.0
    return nulls


HALF = torch.tensor([0.5], dtype=torch.float64)


@pytest.mark.parametrize(
    ("places", "p_value", "asked"),
    [
        ([1, 2, 3, 4, 5], 1.0, 10),  # all that were drawn
        ([2, 5, 7, 11, 13], 5 / 13, 20),  # the fifth stands as high as the 13th drawn
        ([1, 2, 3, 4, 99], 5 / 99, 99),  # just too many
        ([1, 2, 3, 4, 100], 5 / 100, 99),  # four of 99
        ([50], 2 / 100, 99),
        ([100, 200, 300], 4 / 500, 499),  # none of the first 99, so 400 more
        ([*range(100, 130)], 1 / 100, 499),  # more than that cannot raise it
        ([], 1 / 500, 499),
    ],
)
def test_null_vectors_are_drawn_until_it_is_clear(
    places: list[int], p_value: float, asked: int
) -> None:
    draw = Drawn(reached(places))
    assert float(own_p_values(HALF, draw)) == pytest.approx(p_value)
    assert int(draw.asked) == asked


def test_p_values_of_noise_are_valid_at_every_level() -> None:
    """20,000 values like their own nulls: at most a share a has a p-value of at most a.

    The bound allows three standard deviations of a binomial.
    """
    generator = torch.Generator().manual_seed(3)
    slots = 20_000
    nulls = torch.randn(slots, 499, generator=generator, dtype=torch.float64)
    draw = Drawn(nulls)
    standing = torch.randn(slots, generator=generator, dtype=torch.float64).exp()
    draw.nulls = nulls.exp()
    p_values = own_p_values(standing, draw)
    for level in (0.002, 0.004, 0.01, 0.02, 0.05, 0.1, 0.3, 0.7):
        share = float((p_values <= level).double().mean())
        assert share <= level + 3 * (level * (1 - level) / slots) ** 0.5
    assert float((p_values <= 0.05).double().mean()) > 0.04
    assert draw.asked.double().mean() < 40  # 499 each without stopping early


def test_passing_is_decided_as_if_all_99_had_been_drawn() -> None:
    nulls = torch.rand(5_000, 499, dtype=torch.float64)
    standing = 0.85 + 0.15 * torch.rand(5_000, dtype=torch.float64)
    p_values = own_p_values(standing, Drawn(nulls))
    of_99 = (1 + (nulls[:, :99] >= standing[:, None]).sum(1)) / 100
    assert torch.equal(p_values <= 0.05, of_99 <= 0.05)


def test_p_values_get_finer_only_where_many_slots_ask_for_it() -> None:
    """One of 1,000 slots that no null reaches: 1/500 says nothing then, 1/10,000 does."""
    nulls = torch.ones(1_000, NULLS, dtype=torch.float64)
    nulls[7] = 0.0
    draw = Drawn(nulls)
    standing = HALF.expand(1_000)
    rough = own_p_values(standing, draw)
    assert not significant(rough.numpy()).any()
    before = draw.asked.clone()
    finer = finer_p_values(rough, standing, draw)
    assert float(finer[7]) == 1 / (1 + NULLS)
    assert int(draw.asked[7]) == NULLS
    others = torch.arange(1_000) != 7
    assert torch.equal(draw.asked[others], before[others])
    assert torch.equal(finer[others], rough[others])


def test_p_values_that_suffice_stay() -> None:
    draw = Drawn(torch.zeros(3, NULLS, dtype=torch.float64))
    rough = own_p_values(HALF.expand(3), draw)
    assert significant(rough.numpy()).all()
    assert torch.equal(finer_p_values(rough, HALF.expand(3), draw), rough)
    assert draw.asked.tolist() == [499] * 3


def test_finer_p_values_count_what_is_reached_later() -> None:
    """One null among the next 2,000 reaches the value: 2/2,500, and it's left at that."""
    nulls = torch.ones(1_000, NULLS, dtype=torch.float64)
    nulls[7] = reached([600])[0]
    draw = Drawn(nulls)
    rough = own_p_values(HALF.expand(1_000), draw)
    finer = finer_p_values(rough, HALF.expand(1_000), draw)
    assert float(finer[7]) == 2 / (1 + FINER[0])
    assert int(draw.asked[7]) == FINER[0]


def test_shared_p_values_are_shares_of_all_nulls_and_the_value() -> None:
    nulls = torch.tensor([3.0, 1.0, 2.0, 2.0], dtype=torch.float64)
    standing = torch.tensor([0.5, 1.5, 2.0, 3.5], dtype=torch.float64)
    assert shared_p_values(standing, nulls).tolist() == [5 / 5, 4 / 5, 4 / 5, 1 / 5]


def test_what_all_nulls_say_does_not_stand_out() -> None:
    """Standings that differ by float32's rounding only are equal."""
    standing = torch.full((3,), 2.0 * (1 + 1e-7), dtype=torch.float64)
    nulls = torch.full((NULLS,), 2.0, dtype=torch.float64)
    assert shared_p_values(standing, nulls).tolist() == [1.0] * 3
    assert own_p_values(standing, Drawn(nulls.expand(3, -1))).tolist() == [1.0] * 3


def by_hand(p_values: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's procedure: the largest k whose k-th p-value is at most 0.05 k/N."""
    ordered = np.sort(p_values)
    within = [k for k in range(1, len(ordered) + 1) if ordered[k - 1] <= 0.05 * k / len(ordered)]
    return p_values <= (ordered[within[-1] - 1] if within else -1.0)


@pytest.mark.parametrize("planted", [0, 3, 40, 200])
def test_benjamini_hochberg_by_hand(planted: int) -> None:
    generator = np.random.default_rng(planted)
    p_values = generator.random(200)
    p_values[:planted] = generator.random(planted) * 1e-3
    assert np.array_equal(significant(p_values), by_hand(p_values))
    assert significant(np.empty(0)).shape == (0,)


def test_nulls_are_made_once_for_a_table() -> None:
    table = ValueTable(64, 8)
    torch.nn.init.normal_(table.weight)
    assert nulls_of(table) is nulls_of(table)
    assert nulls_of(table).shape == (NULLS, 8)
    assert CONTEXT_NULLS < NULLS
