"""Facts in pictures: what a core set's ablation does beside its controls, and how sets overlap."""

from __future__ import annotations

from html import escape
from typing import Final

import numpy as np
import plotly.graph_objects as go

from inspector.analyses.core_overlap import Overlap
from inspector.analyses.proof import Proof

# Read alike on the light and the dark theme.
OWN, OTHER, REFERENCE = "#6366f1", "#e08c3b", "#8b8d98"
_LONGEST: Final = 34  # characters of a label
_ROW: Final = 22  # pixels
_TALLEST: Final = 720
_NUMBERED: Final = 12  # sets, up to which the cells hold their numbers


def proof_figure(proof: Proof) -> go.Figure:
    """Mean probability of the answer: before, with the core set ablated, and under the control.

    Diamonds are single phrasings. The control's whisker spans 95 % of its draws.
    """
    control = proof.control_probability
    low, high = proof.control_interval()
    names = ("before", f"core set, {proof.core.kind}", "matched other reads")
    means = [float(np.mean(each)) for each in (proof.before, proof.ablated, control)]
    figure = go.Figure(
        go.Bar(
            x=means,
            y=names,
            orientation="h",
            marker={"color": [REFERENCE, OWN, OTHER], "cornerradius": 3},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [0, 0, max(0.0, high - means[2])],
                "arrayminus": [0, 0, max(0.0, means[2] - low)],
                "thickness": 1.5,
                "color": REFERENCE,
            },
            hovertemplate="%{y}: %{x:.1%}<extra></extra>",
        )
    )
    for name, chances in zip(names, (proof.before, proof.ablated, control.mean(0)), strict=True):
        figure.add_scatter(
            x=chances,
            y=[name] * len(chances),
            mode="markers",
            marker={"symbol": "diamond-open", "size": 8, "color": REFERENCE},
            customdata=[short(prompt) for prompt in proof.prompts],
            hovertemplate="%{customdata}: %{x:.1%}<extra></extra>",
        )
    figure.update_xaxes(title="probability of the answer", range=[0, 1.02], tickformat=".0%")
    figure.update_yaxes(autorange="reversed", ticksuffix="  ", type="category")
    figure.update_layout(showlegend=False, bargap=0.35, height=230)
    figure.update_layout(margin={"l": 4, "r": 12, "t": 8, "b": 40})
    return figure


def overlap_figure(found: Overlap) -> go.Figure:
    """Members in common over members of either, for every pair of sets."""
    numbers = list(range(len(found.labels)))
    labels = [short(label) for label in found.labels]
    hover = [[f"{a}<br>{b}" for b in labels] for a in labels]
    figure = go.Figure(
        go.Heatmap(
            z=found.jaccard.astype(np.float32),
            x=numbers,
            y=numbers,
            zmin=0,
            zmax=1,
            colorscale=[[0, "rgba(99,102,241,0.05)"], [1, OWN]],
            hovertext=hover,
            customdata=found.shared,
            hovertemplate="%{hovertext}<br>shared: %{customdata} slots, overlap %{z:.0%}"
            "<extra></extra>",
            texttemplate="%{z:.0%}" if len(numbers) <= _NUMBERED else None,
            xgap=1,
            ygap=1,
            colorbar={"tickformat": ".0%", "thickness": 12, "title": {"text": "overlap"}},
        )
    )
    ticks = {"tickmode": "array", "tickvals": numbers, "ticktext": labels}
    figure.update_xaxes(showticklabels=False, showgrid=False, ticks="", zeroline=False)
    figure.update_yaxes(
        **ticks, autorange="reversed", ticksuffix=" ", showgrid=False, zeroline=False
    )
    height = min(_TALLEST, max(240, _ROW * len(numbers) + 60))
    figure.update_layout(height=height, margin={"l": 4, "r": 4, "t": 8, "b": 12})
    return figure


def short(label: str) -> str:
    """A label as Plotly may have it: no longer than there is room for, and never read as HTML."""
    cut = label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"
    return escape(cut, quote=False)
