"""Who wrote this prediction: direct effects of all parts as signed bars."""

from __future__ import annotations

import plotly.graph_objects as go

from inspector.analyses.direct_effect import DirectEffect

PROMOTES, SUPPRESSES = "#6366f1", "#e5484d"  # read alike on the light and the dark theme
_FADED = {"reads": 1.0}


def direct_effect_figure(effect: DirectEffect) -> go.Figure:
    """Bars in the order the parts write to the residual stream; the memory's stand out."""
    parts = effect.parts
    figure = go.Figure(
        go.Bar(
            x=[part.effect for part in parts],
            y=[part.label for part in parts],
            orientation="h",
            marker={
                "color": [PROMOTES if part.effect >= 0 else SUPPRESSES for part in parts],
                "opacity": [_FADED.get(part.kind, 0.45) for part in parts],
                "cornerradius": 3,
            },
            text=[f"{part.effect:+.2f}" for part in parts],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:+.4f} logits<extra></extra>",
        )
    )
    low = min([0.0, *(part.effect for part in parts)])
    high = max([0.0, *(part.effect for part in parts)])
    room = 0.16 * (high - low) or 1.0  # for the figures beside the bars
    figure.update_layout(
        height=max(220, 27 * len(parts) + 60),
        margin={"l": 4, "r": 8, "t": 4, "b": 36},
        showlegend=False,
        bargap=0.28,
        xaxis={
            "title": "direct effect, logits",
            "range": [low - room, high + room],
            "zeroline": True,
        },
        yaxis={"autorange": "reversed", "ticksuffix": "  "},
    )
    return figure
