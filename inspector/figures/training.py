"""What memory buys, and how usage grows: charts of a sweep and of a training's record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go

from inspector.analyses.sweep_comparison import Measure, ModelSummary, Phrasing, summaries
from inspector.analyses.sweep_results import SweepResults

# Read alike on the light and the dark theme.
MEMORY, FLOPS, PARAMETERS, REFERENCE = "#6366f1", "#e08c3b", "#14a38b", "#8b8d98"
SITES: Final = ("#6366f1", "#e08c3b", "#14a38b", "#d9539b", "#3a96d8", "#84a82f")
_MEASURES: Final[Mapping[str, str]] = {
    "recall": "exact recall",
    "nll": "NLL, nats an answer",
}
_LEAST_SPAN: Final[Mapping[str, float]] = {"recall": 0.06, "nll": 0.3}
_NO_MEMORY_GAP: Final = 2.0  # on the log2 axis, how far left of the smallest memory none lies


def sweep_figure(results: SweepResults, measure: Measure, phrasing: Phrasing) -> go.Figure:
    """Recall or NLL against memory size: points are seeds, the line their means, dense beside.

    The axis is the logarithm of the number of slots; "none" stands left of it, apart.
    """
    known = summaries(results)
    figure = go.Figure()
    axis = _Axis(results, known)
    for summary in known:
        if summary.kind == "dense-flops":
            _add_level(figure, summary, measure, phrasing, axis)
    curve = [s for s in known if s.kind in ("dense", "memory")]
    _add_curve(figure, curve, measure, phrasing, axis)
    matched = [s for s in known if s.kind == "dense-params"]
    if matched:
        _add_matched(figure, matched, measure, phrasing, axis)
    figure.update_xaxes(
        title="slots",
        tickvals=list(axis.places.values()),
        ticktext=[_tick(half_keys) for half_keys in axis.places],
        range=[min(axis.places.values()) - 0.7, max(axis.places.values()) + 0.7],
        showgrid=False,
    )
    figure.update_yaxes(
        title=_MEASURES[measure],
        tickformat=".1~%" if measure == "recall" else None,
        range=_range(known, measure, phrasing),
    )
    return _finished(figure)


def _range(
    known: Sequence[ModelSummary], measure: Measure, phrasing: Phrasing
) -> list[float] | None:
    """From the least to the largest, and wide enough that a small difference looks small."""
    values = [value for summary in known for value in summary.seeds(measure, phrasing).values]
    if not values:
        return None
    middle = (min(values) + max(values)) / 2
    half = max(0.56 * (max(values) - min(values)), _LEAST_SPAN[measure] / 2)
    return [max(middle - half, 0.0), middle + half]


class _Axis:
    """Where each memory size lies: log2 of its slots; 0 stands for no memory."""

    def __init__(self, results: SweepResults, known: Sequence[ModelSummary]) -> None:
        planned = [int(name.split("-")[1]) for name, _ in results.planned if "memory-" in name]
        sizes = {*planned, *(s.half_keys for s in known if s.kind == "memory")} or {32}
        self.places = {0: 2 * math.log2(min(sizes)) - _NO_MEMORY_GAP}
        self.places |= {size: 2 * math.log2(size) for size in sorted(sizes)}

    def of(self, summary: ModelSummary) -> float:
        return self.places.get(summary.half_keys, 2 * math.log2(max(summary.half_keys, 1)))


def _tick(half_keys: int) -> str:
    return "none" if half_keys == 0 else f"{half_keys} × {half_keys}<br>{half_keys**2:,}"


def _number(value: float, measure: Measure) -> str:
    return f"{value:.1%}" if measure == "recall" else f"{value:.3f} nats"


def _add_curve(
    figure: go.Figure,
    curve: Sequence[ModelSummary],
    measure: Measure,
    phrasing: Phrasing,
    axis: _Axis,
) -> None:
    """Means over the seeds as a line, every run as a point of its own.

    A mean over fewer seeds than the others' is not theirs to compare with: it has no line.
    """
    most = max((len(summary.runs) for summary in curve), default=0)
    points = [summary for summary in curve if len(summary.runs) == most]
    means = [summary.seeds(measure, phrasing).mean for summary in points]
    figure.add_scatter(
        x=[axis.of(summary) for summary in points],
        y=means,
        mode="lines+markers",
        name="memory in place of dense blocks",
        legendrank=1,
        line={"color": MEMORY, "width": 2.5},
        marker={"size": 9},
        customdata=[
            [summary.label, _number(mean, measure), len(summary.runs)]
            for summary, mean in zip(points, means, strict=True)
        ],
        hovertemplate="%{customdata[0]}: mean of %{customdata[2]} %{customdata[1]}<extra></extra>",
    )
    _add_runs(figure, curve, measure, phrasing, axis, MEMORY)


def _add_runs(
    figure: go.Figure,
    chosen: Sequence[ModelSummary],
    measure: Measure,
    phrasing: Phrasing,
    axis: _Axis,
    colour: str,
) -> None:
    points = [
        (axis.of(summary), value, f"{summary.label}, seed {run.seed}: {_number(value, measure)}")
        for summary in chosen
        for run, value in zip(summary.runs, summary.seeds(measure, phrasing).values, strict=True)
    ]
    figure.add_scatter(
        x=[place for place, _, _ in points],
        y=[value for _, value, _ in points],
        mode="markers",
        name="each seed",
        showlegend=False,
        marker={"color": colour, "size": 7, "symbol": "circle-open", "line": {"width": 1.5}},
        text=[text for _, _, text in points],
        hovertemplate="%{text}<extra></extra>",
    )


def _add_level(
    figure: go.Figure, summary: ModelSummary, measure: Measure, phrasing: Phrasing, axis: _Axis
) -> None:
    """A dense model as a level: memory has to lie above it (of recall) to be worth its arithmetic.

    The band spans its seeds.
    """
    seeds = summary.seeds(measure, phrasing)
    places = list(axis.places.values())
    ends = [min(places) - 0.7, max(places) + 0.7]
    if len(seeds.values) > 1:
        band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        figure.add_scatter(x=ends, y=[min(seeds.values)] * 2, **band)
        figure.add_scatter(
            x=ends,
            y=[max(seeds.values)] * 2,
            fill="tonexty",
            fillcolor="rgba(224,140,59,0.16)",
            **band,
        )
    figure.add_scatter(
        x=ends,
        y=[seeds.mean] * 2,
        mode="lines",
        name=summary.label,
        line={"color": FLOPS, "width": 2, "dash": "dash"},
        hovertemplate=f"{summary.label}: mean of {len(seeds.values)} "
        f"{_number(seeds.mean, measure)}<extra></extra>",
    )


def _add_matched(
    figure: go.Figure,
    matched: Sequence[ModelSummary],
    measure: Measure,
    phrasing: Phrasing,
    axis: _Axis,
) -> None:
    """Dense models with as many parameters as a memory, at the place of that memory."""
    means = [summary.seeds(measure, phrasing).mean for summary in matched]
    figure.add_scatter(
        x=[axis.of(summary) for summary in matched],
        y=means,
        mode="markers",
        name="dense, as many parameters",
        marker={"color": PARAMETERS, "size": 11, "symbol": "diamond"},
        text=[
            f"{summary.label}: mean of {len(summary.runs)} {_number(mean, measure)}"
            for summary, mean in zip(matched, means, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
    )
    _add_runs(figure, matched, measure, phrasing, axis, PARAMETERS)


PUBLISHED: Final = (
    ("8B", 59.68),
    ("8B with memory", 63.04),
    ("Llama 3.1 8B, 15 × the tokens", 66.0),
)
"""MMLU accuracy, %, from "Memory Layers at Scale" (Berges et al. 2024); not measured here."""


def published_figure() -> go.Figure:
    """The source's own figures as bars: 8B models without and with memory, and a longer trained."""
    figure = go.Figure()
    figure.add_bar(
        x=[value for _, value in PUBLISHED],
        y=[name for name, _ in PUBLISHED],
        orientation="h",
        marker={"color": [REFERENCE, MEMORY, REFERENCE], "cornerradius": 3},
        text=[f"{value:g}" for _, value in PUBLISHED],
        textposition="inside",
        textfont={"color": "white"},
        hovertemplate="%{y}: %{x} %<extra></extra>",
    )
    figure.update_xaxes(title="MMLU, %", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", ticksuffix="  ")
    return _finished(figure, height=190)


# --- over the steps of a training ---------------------------------------------------------------


def steps_figure(
    curves: Mapping[str, pd.DataFrame],
    column: str,
    title: str,
    *,
    share: bool = False,
    points: bool = False,
) -> go.Figure:
    """One measure over the steps of a training, a line each.

    Args:
        curves: by the name in the legend, frames with ``step`` and ``column``.
        column: what to draw.
        title: of the vertical axis.
        share: the measure is a share from 0 to 1.
        points: mark every step: there are few, as of snapshots.
    """
    figure = go.Figure()
    for (name, frame), colour in zip(curves.items(), _cycled(len(curves)), strict=True):
        number = "%{y:.2%}" if share else "%{y:,.4~g}"
        figure.add_scatter(
            x=frame["step"],
            y=frame[column],
            mode="lines+markers" if points or len(frame) < 3 else "lines",
            name=name,
            line={"color": colour, "width": 2},
            marker={"size": 9},
            hovertemplate=f"{name}, step %{{x:,}}: {number}<extra></extra>",
        )
    figure.update_xaxes(title="steps", rangemode="tozero")
    figure.update_yaxes(title=title, rangemode="tozero", tickformat=".0%" if share else None)
    return _finished(figure, height=290)


def norms_figure(frame: pd.DataFrame, *, points: bool = False) -> go.Figure:
    """Quantiles of the values' norms over the steps: median, middle half, and 5 % to 95 %.

    Args:
        frame: with ``step`` and the columns ``norm_5`` to ``norm_95``.
        points: mark every step: there are few, as of snapshots.
    """
    figure = go.Figure()
    for low, high, shade, name in (
        ("norm_5", "norm_95", 0.14, "5 to 95 %"),
        ("norm_25", "norm_75", 0.30, "middle half"),
    ):
        band: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        figure.add_scatter(x=frame["step"], y=frame[low], showlegend=False, **band)
        figure.add_scatter(
            x=frame["step"],
            y=frame[high],
            fill="tonexty",
            fillcolor=f"rgba(99,102,241,{shade})",
            name=name,
            **band,
        )
    figure.add_scatter(
        x=frame["step"],
        y=frame["norm_50"],
        mode="lines+markers" if points or len(frame) < 3 else "lines",
        name="median",
        line={"color": MEMORY, "width": 2},
        marker={"size": 9},
        hovertemplate="step %{x:,}: %{y:.3f}<extra></extra>",
    )
    figure.update_xaxes(title="steps", rangemode="tozero")
    figure.update_yaxes(title="norm of a value", rangemode="tozero")
    return _finished(figure, height=290)


def _cycled(count: int) -> list[str]:
    return [SITES[number % len(SITES)] for number in range(count)]


def _finished(figure: go.Figure, height: int = 380) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": 4, "r": 8, "t": 4, "b": 36},
        legend={
            "orientation": "h",
            "yanchor": "bottom",
            "y": 1.01,
            "x": 0,
            "traceorder": "normal",  # a filled band would reverse it
        },
        hovermode="closest",
    )
    return figure
