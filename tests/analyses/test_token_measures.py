"""One number a token, worked out by hand on a trace of three tokens."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from inspector.analyses.token_measures import entropy, next_token_probability, weight_on_slot
from inspector.capture.trace import Reads, Residual, Trace
from inspector.families.base import SiteInfo

CHANCES = [[[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [1.0, 1e-30, 1e-30]]]
IDS = [[0, 2, 1]]
SLOTS = {  # [batch pos head knn]
    "L0": [[[[3, 1], [3, 0]], [[1, 2], [0, 2]], [[3, 2], [1, 0]]]],
    "L2": [[[[0, 1], [2, 0]], [[3, 2], [3, 2]], [[0, 2], [1, 0]]]],
}
WEIGHTS = [[[[0.75, 0.25], [0.5, 0.5]], [[0.875, 0.125], [0.625, 0.375]], [[1.0, 0.0], [0.5, 0.5]]]]


def site(layer: int) -> SiteInfo:
    return SiteInfo(
        layer=layer,
        table=0,
        heads=2,
        knn=2,
        half_keys=2,
        d_model=4,
        d_key=4,
        d_value=4,
        gated=False,
        normalisation="softmax",
    )


@pytest.fixture
def trace() -> Trace:
    weights = torch.tensor(WEIGHTS)
    nothing = torch.zeros(1, 3, 4)
    return Trace(
        ids=torch.tensor(IDS),
        texts=(("a", "c", "b"),),
        logits=torch.tensor(CHANCES).log() + 7.0,  # a shift of all logits changes no chance
        reads={
            name: Reads(torch.tensor(slots), weights, weights, weights)
            for name, slots in SLOTS.items()
        },
        inputs={},
        residual=Residual(nothing, {}, {}, {}, nothing),
        sites={"L0": site(0), "L2": site(2)},
        token_text=str,
    )


def test_a_token_is_judged_by_the_prediction_before_it(trace: Trace) -> None:
    given = next_token_probability(trace)
    assert math.isnan(given[0])
    assert given[1:] == pytest.approx([0.25, 0.2])


def test_entropy_in_nats(trace: Trace) -> None:
    second = -(0.1 * math.log(0.1) + 0.2 * math.log(0.2) + 0.7 * math.log(0.7))
    assert entropy(trace) == pytest.approx([1.5 * math.log(2), second, 0.0], abs=1e-6)


def test_entropy_of_an_impossible_token_is_a_number(trace: Trace) -> None:
    trace.logits[0, 0, 1] = -torch.inf
    assert entropy(trace)[0] == pytest.approx(
        -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)), abs=1e-6
    )


@pytest.mark.parametrize(
    ("slot", "name", "expected"),
    [
        (3, "L0", [1.25, 0.0, 1.0]),
        (3, "L2", [0.0, 1.5, 0.0]),
        (3, None, [1.25, 1.5, 1.0]),
        (9, None, [0.0, 0.0, 0.0]),
    ],
)
def test_weight_on_a_slot_is_summed_over_its_reads(
    trace: Trace, slot: int, name: str | None, expected: list[float]
) -> None:
    assert weight_on_slot(trace, slot, name) == pytest.approx(expected)


def test_measures_are_one_number_a_token(trace: Trace) -> None:
    for values in (next_token_probability(trace), entropy(trace), weight_on_slot(trace, 0)):
        assert isinstance(values, np.ndarray)
        assert values.shape == (3,)
