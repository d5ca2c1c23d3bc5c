"""What changed between two checkpoints, as two pictures."""

from __future__ import annotations

from typing import Final

import numpy as np
import plotly.graph_objects as go

from inspector.analyses.slot_changes import SlotChanges

BEFORE, AFTER, REFERENCE = "#8b8d98", "#6366f1", "#8b8d98"
_BINS: Final = 60
_MOST_POINTS: Final = 20_000


def drift_figure(changes: SlotChanges) -> go.Figure:
    """How many values, and how many keys, drifted how far; those that didn't are in the title."""
    figure = go.Figure()
    for name, drift, colour in (
        ("values", changes.value_drift, AFTER),
        ("keys", changes.key_drift, "#e08c3b"),
    ):
        moved = drift[np.isfinite(drift) & (drift > 0)] if drift is not None else np.empty(0)
        if not len(moved):
            continue
        counts, edges = np.histogram(np.log10(moved), bins=_BINS)
        figure.add_scatter(
            x=10 ** ((edges[:-1] + edges[1:]) / 2),
            y=counts,
            mode="lines",
            line={"color": colour, "width": 2, "shape": "hvh"},
            fill="tozeroy",
            name=f"{name}: {len(moved):,} moved, {changes.slots - len(moved):,} did not",
            hovertemplate="drift about %{x:.2~g}: %{y:,} slots<extra></extra>",
        )
    figure.update_xaxes(
        type="log", title="drift: distance over norm before", dtick=1, exponentformat="power"
    )
    figure.update_yaxes(title="slots")
    return _finished(figure)


def usage_change_figure(changes: SlotChanges, seed: int = 0) -> go.Figure:
    """Reads before against reads after, one point a slot, both on log scales from zero.

    Of more than 20,000 slots that many are drawn at random with ``seed``; the title says so.

    Raises:
        ValueError: there are no scans to compare.
    """
    if changes.reads is None:
        raise ValueError("usage can be drawn only with two scans")
    read = np.flatnonzero(changes.reads.any(0))
    shown = read
    if len(read) > _MOST_POINTS:
        chosen = np.random.default_rng(seed).choice(read, _MOST_POINTS, replace=False)
        shown = np.sort(chosen)
    before, after = changes.reads[0, shown], changes.reads[1, shown]
    figure = go.Figure(
        go.Scattergl(
            x=before + 1,
            y=after + 1,
            mode="markers",
            marker={"size": 4, "color": AFTER, "opacity": 0.35},
            customdata=np.stack([shown, before, after], axis=-1),
            hovertemplate="slot %{customdata[0]}: %{customdata[1]:,} reads before, "
            "%{customdata[2]:,} after<extra></extra>",
        )
    )
    top = float(changes.reads.max()) + 1
    figure.add_scatter(
        x=[1, top],
        y=[1, top],
        mode="lines",
        line={"color": REFERENCE, "dash": "dash", "width": 1.5},
        hoverinfo="skip",
    )
    sampled = (
        f"{len(shown):,} of {len(read):,} slots, drawn at random" if len(shown) < len(read) else ""
    )
    figure.update_xaxes(type="log", title="reads before, plus one", dtick=1, exponentformat="power")
    figure.update_yaxes(type="log", title="reads after, plus one", dtick=1, exponentformat="power")
    figure = _finished(figure)
    figure.update_layout(showlegend=False, title={"text": sampled, "font": {"size": 13}})
    return figure


def _finished(figure: go.Figure) -> go.Figure:
    figure.update_layout(
        height=360,
        margin={"l": 8, "r": 8, "t": 36, "b": 44},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure
