"""One lookup in pictures, large enough for the back row: a figure for each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from inspector.analyses.lookup_costs import LookupCost
from inspector.analyses.lookup_walk import LookupWalk

# Read alike on the light and the dark theme.
FIRST, SECOND, CHOSEN, OTHER = "#6366f1", "#0d9488", "#e08c3b", "#9aa0ae"
_SIZE: Final = 17  # pixels
_MOST_BARS = 260  # beyond, a bar is thinner than a pixel and a line is drawn
_SIGNED: Final = [[0, "#e5484d"], [0.5, "rgba(140,140,160,0.10)"], [1, "#6366f1"]]
_HEIGHT: Final = 330
_FEW: Final = 8  # half-keys, whose scores are written beside their bars
_IN_THE_RACE: Final = [[0, "rgba(99,102,241,0.25)"], [1, "rgba(99,102,241,0.9)"]]
_OUT_OF_IT: Final = [[0, "rgba(140,140,160,0.07)"], [1, "rgba(140,140,160,0.16)"]]


def query_figure(walk: LookupWalk, *, split: bool) -> go.Figure:
    """The query's numbers as bars; once split, each half in the colour of its set."""
    query, figure = walk.query.ravel(), go.Figure()
    half = walk.query.shape[1]
    colours = [FIRST] * half + [SECOND] * half if split else [OTHER] * (2 * half)
    figure.add_bar(
        x=np.arange(2 * half),
        y=query,
        marker={"color": colours, "cornerradius": 2},
        text=_numbers(query) if 2 * half <= 16 else None,
        textposition="outside",
        cliponaxis=False,
        hovertemplate="dimension %{x}: %{y:.3f}<extra></extra>",
    )
    if split:
        figure.add_vline(x=half - 0.5, line={"color": OTHER, "dash": "dash", "width": 2})
        for text, centre, colour in (
            ("half for set 1", half / 2 - 0.5, FIRST),
            ("half for set 2", 1.5 * half - 0.5, SECOND),
        ):
            figure.add_annotation(
                x=centre, y=1.12, yref="paper", text=text, showarrow=False, font={"color": colour}
            )
    figure.update_xaxes(title="dimension of the query")
    return _finished(figure, top=44 if split else 16)


def half_scores_figure(walk: LookupWalk, kept: int = 0) -> go.Figure:
    """Scores of both sets of half-keys; the ``kept`` best of each stand out, with their numbers."""
    figure = make_subplots(rows=2, cols=1, vertical_spacing=0.2)
    for half, colour in enumerate((FIRST, SECOND)):
        scores = walk.half_scores[half]
        best = walk.best[half][:kept]
        _scores(figure, scores, OTHER if kept else colour, half + 1)
        if kept:
            figure.add_bar(
                x=best,
                y=scores[best],
                width=max(0.85, walk.n / 220),
                marker={"color": colour},
                text=[str(i) for i in best],
                textposition="outside",
                textfont={"size": 16},
                textangle=0,
                constraintext="none",
                cliponaxis=False,
                hovertemplate="half-key %{x}: %{y:.3f}<extra></extra>",
                row=half + 1,
                col=1,
            )
        figure.update_yaxes(title=f"set {half + 1}", row=half + 1, col=1)
        if walk.n <= _FEW:
            figure.update_xaxes(dtick=1, row=half + 1, col=1)
            low, high = min(0.0, float(scores.min())), max(0.0, float(scores.max()))
            room = 0.3 * (high - low) or 1.0  # for the numbers at the bars' ends
            figure.update_yaxes(range=[low - room, high + room], row=half + 1, col=1)
    figure.update_xaxes(title="half-key", row=2, col=1)
    figure.update_layout(barmode="overlay")
    return _finished(figure, height=_HEIGHT + 24, top=22)


def _scores(figure: go.Figure, scores: np.ndarray, colour: str, row: int) -> None:
    x, hover = np.arange(len(scores)), "half-key %{x}: %{y:.3f}<extra></extra>"
    if len(scores) > _MOST_BARS:
        line = {"color": colour, "width": 1}
        trace: Any = go.Scatter(x=x, y=scores, mode="lines", line=line, hovertemplate=hover)
    else:
        labels = _numbers(scores) if len(scores) <= _FEW else None
        trace = go.Bar(
            x=x,
            y=scores,
            marker={"color": colour},
            text=labels,
            textposition="outside",
            textangle=0,
            cliponaxis=False,
            hovertemplate=hover,
        )
    figure.add_trace(trace, row=row, col=1)


def candidates_figure(walk: LookupWalk, kept: int, chosen: int = 0) -> go.Figure:
    """The sums of the best half-keys of both sets as a grid; the best ``chosen`` are framed.

    Of ``kept`` by ``kept`` sums, those that cannot be among the best are left pale.
    """
    rows = [str(i) for i in walk.best[0][:kept]]
    columns = [str(j) for j in walk.best[1][:kept]]
    sums = walk.sums[:kept, :kept]
    figure = go.Figure()
    needed = walk.needed[:kept, :kept]
    low, high = float(sums.min()), max(float(sums.max()), float(sums.min()) + 1e-9)
    for here, colours in ((needed, _IN_THE_RACE), (~needed, _OUT_OF_IT)):
        figure.add_heatmap(
            z=np.where(here, sums, np.nan),
            x=columns,
            y=rows,
            zmin=low,
            zmax=high,
            colorscale=colours,
            showscale=False,
            xgap=3,
            ygap=3,
            text=[
                [_number(v) if h else "" for v, h in zip(*row, strict=True)]
                for row in zip(sums, here, strict=True)
            ],
            texttemplate="%{text}" if kept <= 12 else None,
            hovertemplate="key (%{y}, %{x}): %{z:.3f}<extra></extra>",
            hoverongaps=False,
        )
    for rank in range(min(chosen, walk.knn)):
        row, column = walk.cell(rank)
        if row < kept and column < kept:
            figure.add_shape(
                type="rect",
                x0=column - 0.47,
                x1=column + 0.47,
                y0=row - 0.46,
                y1=row + 0.46,
                line={"color": CHOSEN, "width": 4},
            )
    figure.update_xaxes(title="half-key j of set 2, best first", type="category", side="top")
    figure.update_yaxes(title="half-key i of set 1", type="category", autorange="reversed")
    return _finished(figure, height=_HEIGHT + 10, top=60)


def weights_figure(walk: LookupWalk, upto: int, labels: Sequence[str]) -> go.Figure:
    """What each read counts, best first; those beyond ``upto`` are pale."""
    plain = np.allclose(walk.weights, walk.coefficients)
    figure = go.Figure(
        go.Bar(
            x=walk.coefficients,
            y=list(labels),
            orientation="h",
            marker={
                "color": CHOSEN,
                "opacity": [1.0 if rank < upto else 0.25 for rank in range(walk.knn)],
                "cornerradius": 3,
            },
            text=[f"{weight:.3f}" for weight in walk.coefficients],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:.4f}<extra></extra>",
        )
    )
    low, high = min(0.0, walk.coefficients.min()), max(walk.coefficients.max(), 1e-9)
    title = "weight" if plain else "coefficient: weight times activation"
    figure.update_xaxes(title=title, range=[1.15 * low, 1.18 * high])
    figure.update_yaxes(autorange="reversed", type="category", ticksuffix="  ")
    return _finished(figure, height=max(160, min(_HEIGHT, 46 * walk.knn + 70)))


def vectors_figure(
    rows: Sequence[tuple[str, np.ndarray]], *, own_scales: bool = False
) -> go.Figure:
    """Named vectors of one width as stripes, red where negative.

    On one scale, or on ``own_scales``: then a stripe is as strong as its largest number makes it,
    and its name tells that number.
    """
    matrix = np.stack([vector for _, vector in rows]).astype(np.float32)
    reach = np.maximum(np.abs(matrix).max(1, keepdims=True), 1e-9)
    names = [name for name, _ in rows]
    if own_scales:
        names = [f"{name}, up to {top:.3g}" for name, top in zip(names, reach[:, 0], strict=True)]
    else:
        reach[:] = reach.max()
    figure = go.Figure(
        go.Heatmap(
            z=matrix / reach,
            customdata=matrix,
            y=names,
            zmin=-1,
            zmax=1,
            colorscale=_SIGNED,
            ygap=6,
            showscale=False,
            hovertemplate="%{y}, dimension %{x}: %{customdata:.4f}<extra></extra>",
        )
    )
    figure.update_xaxes(title="dimension")
    figure.update_yaxes(autorange="reversed", type="category", ticksuffix="  ")
    return _finished(figure, height=max(150, min(_HEIGHT, 52 * len(rows) + 80)))


def costs_figure(costs: Sequence[LookupCost], n: int, *, measured: bool) -> go.Figure:
    """Price of one query against n, both ways, on logarithmic axes; this ``n`` is marked."""
    product, flat = (
        ("milliseconds", "flat_milliseconds")
        if measured
        else ("multiplications", "flat_multiplications")
    )
    figure = go.Figure()
    for field, name, colour in ((flat, "every key", OTHER), (product, "product keys", FIRST)):
        figure.add_scatter(
            x=[cost.n for cost in costs],
            y=[getattr(cost, field) for cost in costs],
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": 3},
            marker={"size": 8},
            hovertemplate="n = %{x:,}: %{y:,.3~s}<extra>" + name + "</extra>",
        )
    figure.add_vline(x=n, line={"color": CHOSEN, "dash": "dash", "width": 2})
    figure.update_xaxes(
        type="log",
        title="half-keys per set, n",
        tickvals=[16, 64, 256, 1000, 4096],
        ticktext=["16", "64", "256", "1,000", "4,096"],
    )
    title = "milliseconds, measured here" if measured else "multiplications"
    figure.update_yaxes(type="log", title=title, exponentformat="power", dtick=2)
    figure = _finished(figure, top=34)
    figure.update_layout(
        showlegend=True, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    )
    return figure


def _number(value: float) -> str:
    return f"{value:g}" if float(value).is_integer() else f"{value:.2f}"


def _numbers(values: np.ndarray) -> list[str]:
    return [_number(value) for value in values]


def _finished(figure: go.Figure, *, height: int = _HEIGHT, top: int = 16) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 12, "t": top, "b": 48},
        font={"size": _SIZE},
        showlegend=False,
        bargap=0.15,
        hoverlabel={"font": {"size": 15}},
    )
    figure.update_xaxes(tickfont={"size": 15}, title_font={"size": 16})
    figure.update_yaxes(tickfont={"size": 15}, title_font={"size": 16})
    if any(trace.type == "heatmap" for trace in figure.data):
        figure.update_xaxes(showgrid=False, ticks="")
        figure.update_yaxes(showgrid=False, ticks="")
    return figure
