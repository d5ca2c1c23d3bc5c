"""One slot in pictures: who reads it, how strongly, and what its ablation does."""

from __future__ import annotations

from typing import Final

import numpy as np
import plotly.graph_objects as go

from inspector.analyses.slot_ablation import SlotAblation
from inspector.analyses.slot_usage import SlotUsage

# Read alike on the light and the dark theme.
OWN, OTHER, REFERENCE = "#6366f1", "#e08c3b", "#8b8d98"
_MEANINGS: Final = {"zero": OWN, "mask": OTHER}
_BINS: Final = 40
_BARS_SHARED: Final = 0.28


def reader_figure(usage: SlotUsage) -> go.Figure:
    """Reads of the slot by each head of each site."""
    frame = usage.to_frame()
    figure = go.Figure()
    for site, rows in frame.groupby("site", sort=False):
        figure.add_bar(
            x=rows["reads"],
            y=[f"{site}·H{head}" for head in rows["head"]],
            orientation="h",
            marker={"color": OWN, "cornerradius": 3},
            customdata=rows[["weight", "contexts"]],
            hovertemplate="%{y}: %{x:,} reads, summed weight %{customdata[0]:.2f}, in "
            "%{customdata[1]:,} distinct contexts<extra></extra>",
        )
    figure.update_xaxes(title="reads in the scan", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", ticksuffix="  ", type="category", dtick=1)
    figure.update_layout(bargap=_BARS_SHARED)
    return _finished(figure, height=max(200, 20 * len(frame) + 64))


def weight_figure(own: np.ndarray, every: np.ndarray) -> go.Figure:
    """Density of the |coefficients| of a slot's reads on a log scale, beside that of all reads.

    Args:
        own: coefficients of the slot's reads, ``[read]``.
        every: those of all reads of its table, or a sample of them, ``[read]``.
    """
    figure = go.Figure()
    sizes = [np.abs(each[each != 0]) for each in (every, own)]
    known = np.concatenate(sizes)
    if len(known):
        edges = np.geomspace(known.min() * 0.999, known.max() * 1.001, _BINS + 1)
        names = (("all reads of the table", REFERENCE), ("this slot", OWN))
        for (name, colour), size in zip(names, sizes, strict=True):
            _add_density(figure, size, edges, (name, colour))
    figure.update_xaxes(type="log", title="|coefficient| of a read", exponentformat="power")
    figure.update_yaxes(title="share of reads", tickformat=".0%", rangemode="tozero")
    return _finished(figure, height=330, legend=True)


def _add_density(
    figure: go.Figure, sizes: np.ndarray, edges: np.ndarray, name: tuple[str, str]
) -> None:
    """A histogram as a filled outline; ``edges [bin + 1]`` are even on a log scale."""
    counts = np.histogram(sizes, edges)[0]
    figure.add_scatter(
        x=np.sqrt(edges[:-1] * edges[1:]),
        y=counts / max(counts.sum(), 1),
        mode="lines",
        name=name[0],
        line={"color": name[1], "width": 2, "shape": "hvh"},
        fill="tozeroy",
        opacity=0.9,
        hovertemplate="near %{x:.2~g}: %{y:.1%}<extra>" + name[0] + "</extra>",
    )


def ablation_figure(ablation: SlotAblation) -> go.Figure:
    """Mean KL of the next-token prediction by group of contexts, zeroed and masked."""
    frame = ablation.to_frame()
    figure = go.Figure()
    for meaning, colour in _MEANINGS.items():
        rows = frame[frame["ablation"] == meaning] if len(frame) else frame
        if not len(rows):
            continue
        figure.add_bar(
            x=rows["kl"],
            y=rows["group"],
            orientation="h",
            name=meaning,
            marker={"color": colour, "cornerradius": 3},
            text=[f"{kl:.3g}" for kl in rows["kl"]],
            textposition="outside",
            cliponaxis=False,
            customdata=rows[["contexts", "kl_median", "change"]],
            hovertemplate="%{y}, " + meaning + ": mean KL %{x:.4f} nats over %{customdata[0]} "
            "contexts (median %{customdata[1]:.4f})<extra></extra>",
        )
    top = float(frame["kl"].max()) if len(frame) else 1.0
    figure.update_xaxes(title="mean KL of the prediction, nats", range=[0, top * 1.18 or 1.0])
    figure.update_yaxes(autorange="reversed", ticksuffix="  ", type="category")
    figure.update_layout(bargap=_BARS_SHARED, barmode="group")
    return _finished(figure, height=250, legend=True)


def standalone(figure: go.Figure, *, with_library: bool) -> str:
    """A figure as HTML that needs no server and reads on light and dark grounds.

    ``with_library`` puts plotly.js beside it (4.5 MB): once a page.
    """
    figure.update_layout(
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": REFERENCE},
        template="none",
    )
    grid = {"gridcolor": "rgba(139,141,152,0.25)", "zerolinecolor": "rgba(139,141,152,0.5)"}
    figure.update_xaxes(automargin=True, **grid)
    figure.update_yaxes(automargin=True, **grid)
    text = figure.to_html(
        full_html=False,
        include_plotlyjs=with_library,
        include_mathjax=False,
        config={"displayModeBar": False, "displaylogo": False, "responsive": True},
    )
    return str(text)


def _finished(figure: go.Figure, height: int, legend: bool = False) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": 4, "r": 8, "t": 4, "b": 36},
        showlegend=legend,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.01, "x": 0},
    )
    return figure
