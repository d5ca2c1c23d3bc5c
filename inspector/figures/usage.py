"""How evenly a memory is used, how much of it, and where: five charts of a scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from inspector.analyses.coverage import Coverage
from inspector.analyses.usage_measures import By, Lorenz, Of, RankFrequency

# Read alike on the light and the dark theme.
COUNTED, WEIGHTED, REFERENCE = "#6366f1", "#e08c3b", "#8b8d98"
_COLOURS: Final[Mapping[By, str]] = {"counted": COUNTED, "weighted": WEIGHTED}
_NAMES: Final[Mapping[By, str]] = {"counted": "by reads", "weighted": "by weight"}
_MEASURES: Final[Mapping[str, str]] = {
    "usage": "share of items read at least once",
    "unevenness": "unevenness, nats from uniform",
    "unevenness_share": "unevenness, share of its maximum",
    "effective": "effective number of items",
    "gini": "Gini coefficient",
    "top50": "items that take half of all reads",
    "top90": "items that take 90 % of all reads",
    "top99": "items that take 99 % of all reads",
}
_FLAT: Final = {"color": REFERENCE, "width": 1.5, "dash": "dash"}


def rank_frequency_figure(curves: Mapping[By, RankFrequency]) -> go.Figure:
    """Share of all reads against rank, both logarithmic; a line ends where slots are never read."""
    figure = go.Figure()
    for by, curve in curves.items():
        read = curve.share > 0
        figure.add_scatter(
            x=curve.rank[read],
            y=curve.share[read],
            mode="lines",
            name=_NAMES[by],
            line={"color": _COLOURS[by], "width": 2},
            hovertemplate="rank %{x:,}: %{y:.3%} of all<extra></extra>",
        )
    slots = max((curve.slots for curve in curves.values()), default=1)
    figure.add_scatter(
        x=[1, slots], y=[1 / slots] * 2, mode="lines", name="uniform use", line=_FLAT
    )
    figure.update_xaxes(type="log", title="slots, most read first", dtick=1)
    figure.update_yaxes(type="log", title="share of all reads", exponentformat="power", dtick=1)
    return _finished(figure)


def lorenz_figure(curves: Mapping[By, Lorenz]) -> go.Figure:
    """Share of reads that the least read slots take together; the diagonal is uniform use."""
    figure = go.Figure()
    for by, curve in curves.items():
        figure.add_scatter(
            x=curve.slots,
            y=curve.reads,
            mode="lines",
            name=_NAMES[by],
            line={"color": _COLOURS[by], "width": 2},
            hovertemplate="the least read %{x:.1%} take %{y:.2%}<extra></extra>",
        )
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="uniform use", line=_FLAT)
    figure.update_xaxes(
        title="share of slots, least read first", tickformat=".0%", range=[0, 1.005]
    )
    figure.update_yaxes(title="share of all reads", tickformat=".0%", range=[0, 1.005])
    return _finished(figure)


def coverage_figure(coverage: Coverage) -> go.Figure:
    """Distinct slots read against tokens, uniform use, and how many would ever be read at least."""
    figure = go.Figure()
    figure.add_scatter(
        x=coverage.tokens,
        y=coverage.slots_read,
        mode="lines",
        name="slots read",
        line={"color": COUNTED, "width": 2},
        hovertemplate="%{x:,} tokens: %{y:,} slots<extra></extra>",
    )
    figure.add_scatter(
        x=coverage.tokens, y=coverage.uniform, mode="lines", name="uniform use", line=_FLAT
    )
    _add_richness(figure, coverage)
    figure.add_hline(
        y=coverage.slots,
        line={"color": REFERENCE, "width": 1, "dash": "dot"},
        annotation={"text": f"all {coverage.slots:,} slots", "yanchor": "bottom"},
        annotation_position="top left",
    )
    figure.update_xaxes(title="tokens scanned", rangemode="tozero")
    figure.update_yaxes(title="distinct slots read", range=[0, coverage.slots * 1.12])
    return _finished(figure)


def _add_richness(figure: go.Figure, coverage: Coverage) -> None:
    """The lower bound of how many slots would ever be read, with its interval as a band."""
    richness = coverage.richness
    if richness is None or not len(coverage.tokens):
        return
    ends = [0, int(coverage.tokens[-1])]
    band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    figure.add_scatter(x=ends, y=[richness.low] * 2, showlegend=False, **band)
    figure.add_scatter(
        x=ends,
        y=[richness.high] * 2,
        fill="tonexty",
        fillcolor="rgba(224,140,59,0.18)",
        name="95 % interval",
        **band,
    )
    figure.add_scatter(
        x=ends,
        y=[richness.estimate] * 2,
        mode="lines",
        name="ever read, at least (Chao2)",
        line={"color": WEIGHTED, "width": 2},
        hovertemplate="at least %{y:,.0f} slots would ever be read<extra></extra>",
    )


def comparison_figure(frame: pd.DataFrame, measure: str, of: Of = "slots") -> go.Figure:
    """One measure of every table, site and head side by side, by reads and by weight.

    Args:
        frame: from ``comparison_frame``.
        measure: one of its columns: ``usage``, ``unevenness``, ``gini``, ``top90`` ...
        of: slots, or the half-keys of one set.
    """
    figure = go.Figure()
    places = 0
    for by, name in _NAMES.items():
        rows = frame[(frame["of"] == of) & (frame["by"] == by)]
        places = len(rows)
        figure.add_bar(
            x=rows[measure],
            y=[_place(row) for row in rows.to_dict("records")],
            orientation="h",
            name=name,
            marker={"color": _COLOURS[by], "cornerradius": 3},
            hovertemplate="%{y}, " + name + ": %{x:,.4~g}<extra></extra>",
        )
    figure.update_xaxes(title=_MEASURES.get(measure, measure), rangemode="tozero")
    figure.update_yaxes(autorange="reversed", ticksuffix="  ", type="category")
    return _finished(figure, height=max(240, 34 * places + 90))


def _place(row: Mapping[Any, Any]) -> str:
    if row["level"] == "table":
        return f"Table {row['table']}"
    return str(row["site"]) if row["level"] == "site" else f"{row['site']}·H{row['head']}"


def half_key_figure(reads: np.ndarray) -> go.Figure:
    """How often each half-key of one head takes part in reads, as a multiple of uniform use.

    Bars stand on uniform use: upwards where a half-key takes part more often, downwards where less.

    Args:
        reads: ``[half half_key]``, from ``half_key_reads``.
    """
    figure = make_subplots(
        rows=2, shared_xaxes=True, vertical_spacing=0.16, subplot_titles=("Set 1", "Set 2")
    )
    for half in (0, 1):
        times = reads[half] / (float(reads[half].sum()) or 1.0) * reads.shape[1]
        figure.add_bar(
            x=np.arange(reads.shape[1]),
            y=times - 1,
            base=1,
            customdata=times,
            marker={"color": COUNTED, "line": {"width": 0}},
            hovertemplate="half-key %{x}: %{customdata:.3~g} × uniform<extra></extra>",
            row=half + 1,
            col=1,
        )
        figure.add_hline(y=1, line=_FLAT, row=half + 1, col=1)
    figure.update_yaxes(title="× uniform", rangemode="tozero")
    figure.update_xaxes(title="half-key", row=2, col=1)
    figure.update_layout(bargap=0)
    return _finished(figure, height=380, legend=False, top=28)


def _finished(figure: go.Figure, height: int = 340, legend: bool = True, top: int = 4) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": 4, "r": 8, "t": top, "b": 36},
        showlegend=legend,
        legend={
            "orientation": "h",
            "yanchor": "bottom",
            "y": 1.01,
            "x": 0,
            "traceorder": "normal",  # a filled band would reverse it
        },
    )
    return figure
