"""Charts of a scan: what they draw is what was measured."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest

from inspector.analyses.coverage import Coverage, Richness
from inspector.analyses.usage_measures import (
    Of,
    comparison_frame,
    half_key_reads,
    lorenz,
    rank_frequency,
)
from inspector.figures.usage import (
    comparison_figure,
    coverage_figure,
    half_key_figure,
    lorenz_figure,
    rank_frequency_figure,
)
from tests.analyses.planted_usage import Planted

COUNTS = np.array([1, 0, 6, 3])


def line(figure: go.Figure, name: str) -> tuple[list[float], list[float]]:
    (trace,) = (trace for trace in figure.data if trace.name == name)
    return list(trace.x), list(trace.y)


def test_the_rank_frequency_curve_ends_where_slots_are_unread() -> None:
    figure = rank_frequency_figure(
        {"counted": rank_frequency(COUNTS), "weighted": rank_frequency(COUNTS[::-1] ** 2)}
    )
    assert line(figure, "by reads") == ([1, 2, 3], [0.6, 0.3, 0.1])
    assert line(figure, "by weight")[1] == pytest.approx([36 / 46, 9 / 46, 1 / 46])
    assert line(figure, "uniform use") == ([1, 4], [0.25, 0.25])
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", "log")


def test_the_lorenz_curve_is_drawn_against_the_diagonal() -> None:
    figure = lorenz_figure({"counted": lorenz(COUNTS)})
    assert line(figure, "by reads")[1] == pytest.approx([0, 0, 0.1, 0.4, 1])
    assert line(figure, "uniform use") == ([0, 1], [0, 1])


def coverage(richness: Richness | None) -> Coverage:
    tokens = np.array([10, 20, 40])
    return Coverage(0, 100, tokens, np.array([5, 8, 9]), np.array([9.5, 18.0, 33.0]), richness)


def test_coverage_shows_the_curve_uniform_use_and_the_bound_with_its_interval() -> None:
    figure = coverage_figure(coverage(Richness(30.0, 20.0, 55.0, 9, 4, 2, 7)))
    assert line(figure, "slots read") == ([10, 20, 40], [5, 8, 9])
    assert line(figure, "uniform use")[1] == [9.5, 18.0, 33.0]
    assert line(figure, "ever read, at least (Chao2)") == ([0, 40], [30, 30])
    assert line(figure, "95 % interval")[1] == [55, 55]
    low = figure.data[[trace.name for trace in figure.data].index("95 % interval") - 1]
    assert list(low.y) == [20, 20]  # the band is filled down to the trace before it
    assert figure.layout.annotations[0].text == "all 100 slots"
    assert figure.layout.yaxis.range[1] > 100


def test_without_an_estimate_coverage_shows_none() -> None:
    names = {trace.name for trace in coverage_figure(coverage(None)).data}
    assert names == {"slots read", "uniform use"}


@pytest.mark.parametrize("of", ["slots", "half-keys of set 1"])
def test_places_stand_side_by_side(of: Of) -> None:
    frame = comparison_frame(Planted().scan(3000))
    figure = comparison_figure(frame, "gini", of)
    counted, weighted = figure.data
    places = ["Table 0", "L1", "L1·H0", "L1·H1", "L3", "L3·H0", "L3·H1"]
    assert list(counted.y) == list(weighted.y) == places
    rows = frame[frame["of"] == of]
    assert list(counted.x) == rows[rows["by"] == "counted"]["gini"].tolist()
    assert list(weighted.x) == rows[rows["by"] == "weighted"]["gini"].tolist()
    assert figure.layout.xaxis.title.text == "Gini coefficient"


def test_half_keys_are_drawn_as_multiples_of_uniform_use() -> None:
    figure = half_key_figure(half_key_reads(COUNTS, 2))
    first, second = figure.data
    assert (first.base, second.base) == (1, 1)
    assert list(first.y) == pytest.approx([-0.8, 0.8])
    assert list(first.customdata) == pytest.approx([0.2, 1.8])
    assert list(second.customdata) == pytest.approx([1.4, 0.6])
    assert list(half_key_figure(np.zeros((2, 3))).data[0].customdata) == [0, 0, 0]
