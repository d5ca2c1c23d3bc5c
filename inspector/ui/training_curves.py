"""Four charts over the steps of a training, of its record and of its snapshots alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import streamlit as st

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

ALL_SITES: Final = "all sites"
_TABLE: Final = "run table"


def pick_table(tables: Sequence[int]) -> int:
    """The value table to look at; it is asked for where there are several."""
    if len(tables) < 2:
        return tables[0]
    return int(
        st.segmented_control(
            "Value table",
            list(tables),
            default=tables[0],
            required=True,
            key=_TABLE,
            format_func=lambda number: f"table {number}",
        )
    )


def four_charts(
    frames: dict[str, pd.DataFrame], whole: pd.DataFrame, *, points: bool, key: str
) -> None:
    """Usage, evenness, dead half-keys and value norms over the steps."""
    from inspector.figures.training import norms_figure, steps_figure

    dead = {
        name: each.assign(dead=each["half_keys_dead"] / each["half_keys"])
        for name, each in frames.items()
    }
    charts: list[tuple[str, str, Any]] = [
        (
            "Slots read",
            "Share of all slots that were read at least once.",
            steps_figure(frames, "usage", "share of slots", share=True, points=points),
        ),
        (
            "Effective slots",
            "As many evenly read slots would have the same entropy.",
            steps_figure(frames, "effective", "slots", points=points),
        ),
        (
            "Dead half-keys",
            "Share of half-keys read significantly less often than a tenth of uniform use.",
            steps_figure(dead, "dead", "share of half-keys", share=True, points=points),
        ),
        (
            "Norms of the values",
            "Over all values of the table: median and quantiles. Values that were never read "
            "keep the norm they began with.",
            norms_figure(whole, points=points),
        ),
    ]
    for row in (charts[:2], charts[2:]):
        for column, (title, about, figure) in zip(st.columns(2), row, strict=True):
            with column.container(border=True):
                st.subheader(title, anchor=False, help=about)
                st.plotly_chart(figure, key=f"{key} {title}")
