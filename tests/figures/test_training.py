"""Charts of a sweep and of a training: what is drawn is what was measured."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from inspector.figures.training import (
    PUBLISHED,
    norms_figure,
    published_figure,
    steps_figure,
    sweep_figure,
)
from tests.analyses.planted_sweep import planted

RECALLS = {
    "dense": (0.5, 0.52),
    "memory-32": (0.6,),
    "memory-128": (0.7, 0.74),
    "dense-flops-128": (0.55, 0.57),
    "dense-params-32": (0.58,),
}


def traces(figure: object) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {}
    for trace in figure.data:  # type: ignore[attr-defined]
        found.setdefault(trace.name or "band", []).append(trace)
    return found


def test_the_curve_goes_through_the_means_of_the_seeds() -> None:
    found = traces(sweep_figure(planted(RECALLS), "recall", "seen"))
    (curve,) = found["memory in place of dense blocks"]
    assert list(curve.x) == [8.0, 14.0]  # none lies apart; log2 of 16,384 slots
    assert list(curve.y) == pytest.approx([0.51, 0.72])  # one with fewer seeds has but its runs
    runs, matched = found["each seed"]
    assert list(zip(runs.x, runs.y, strict=True)) == [
        (8.0, 0.5),
        (8.0, 0.52),
        (10.0, 0.6),
        (14.0, 0.7),
        (14.0, 0.74),
    ]
    assert list(matched.y) == [0.58]


def test_dense_models_lie_where_they_are_matched() -> None:
    found = traces(sweep_figure(planted(RECALLS), "recall", "seen"))
    (level,) = found["dense, arithmetic of 128\u00a0×\u00a0128"]
    assert list(level.y) == pytest.approx([0.56, 0.56])
    assert min(level.x) < 8
    assert max(level.x) > 14
    low, high = found["band"]
    assert (low.y[0], high.y[0]) == (0.55, 0.57)
    (diamond,) = found["dense, as many parameters"]
    assert (list(diamond.x), list(diamond.y)) == ([10.0], [0.58])


def test_likelihoods_and_held_out_phrasings_are_drawn_from_their_own_figures() -> None:
    for measure, value in (("recall", 0.3), ("nll", 2.7)):
        found = traces(sweep_figure(planted({"memory-32": (0.6,)}), measure, "heldout"))  # type: ignore[arg-type]
        (curve,) = found["memory in place of dense blocks"]
        assert list(curve.y) == pytest.approx([value])


def test_the_axis_has_room_for_what_is_still_missing() -> None:
    planned = [("dense", 0), ("memory-32", 0), ("memory-256", 0)]
    figure = sweep_figure(planted({"dense": (0.5,)}, planned), "recall", "seen")
    assert list(figure.layout.xaxis.ticktext) == [
        "none",
        "32 × 32<br>1,024",
        "256 × 256<br>65,536",
    ]
    assert list(figure.layout.xaxis.tickvals) == [8.0, 10.0, 16.0]
    assert sweep_figure(planted({}, planned), "nll", "seen").layout.xaxis.tickvals


def test_small_differences_look_small() -> None:
    figure = sweep_figure(planted({"dense": (0.5,), "memory-32": (0.501,)}), "recall", "seen")
    assert list(figure.layout.yaxis.range) == pytest.approx([0.4705, 0.5305])
    wide = sweep_figure(planted({"dense": (0.1,), "memory-32": (0.9,)}), "recall", "seen")
    low, high = wide.layout.yaxis.range
    assert low < 0.1
    assert high > 0.9


def test_steps_are_drawn_a_line_each() -> None:
    frame = pd.DataFrame({"step": [1, 50, 100], "usage": [0.1, 0.2, 0.3]})
    figure = steps_figure({"all sites": frame, "L1": frame.iloc[:2]}, "usage", "share", share=True)
    first, second = figure.data
    assert (list(first.x), list(first.y), first.mode) == ([1, 50, 100], [0.1, 0.2, 0.3], "lines")
    assert (second.name, second.mode) == ("L1", "lines+markers")  # a line of two points is short
    assert first.line.color != second.line.color
    many = {str(number): frame for number in range(8)}
    assert len(steps_figure(many, "usage", "share", points=True).data) == 8


def test_norms_are_a_median_and_two_bands() -> None:
    columns = {f"norm_{q}": [q / 10, q / 5] for q in (5, 25, 50, 75, 95)}
    figure = norms_figure(pd.DataFrame({"step": [1, 9], **columns}))
    named = {trace.name: trace for trace in figure.data if trace.name}
    assert list(named["median"].y) == [5.0, 10.0]
    assert list(named["5 to 95 %"].y) == [9.5, 19.0]
    assert list(named["middle half"].y) == [7.5, 15.0]
    assert named["middle half"].fill == "tonexty"


def test_the_published_figures_are_those_of_the_source() -> None:
    assert dict(PUBLISHED) == {
        "8B": 59.68,
        "8B with memory": 63.04,
        "Llama 3.1 8B, 15 × the tokens": 66.0,
    }
    (bars,) = published_figure().data
    assert list(bars.x) == [59.68, 63.04, 66.0]
    assert math.isclose(bars.x[1] - bars.x[0], 3.36)
