"""What is not alive: verdicts, evidence, causes and remedies, to filter and download."""

from __future__ import annotations

import io
from functools import partial

import pandas as pd
import streamlit as st

from inspector.ui.usage_view import Report

_SHOWN = 2_000  # rows a browser shows without delay; the files hold all of them
_COLUMNS = (
    "level",
    "site",
    "address",
    "verdict",
    "hits",
    "expected",
    "rate_bound",
    "tokens_to_decide",
    "cause",
    "remedy",
    "slots_concerned",
)


def show(report: Report) -> None:
    """The table of what is not alive, with its causes summed up above it."""
    from inspector.analyses import dead_keys

    st.subheader(
        "What is not alive",
        anchor=False,
        help="dead: the 95 % upper bound of its rate is below a tenth of uniform use, corrected "
        "for looking at many at once. not seen yet: no hit, but too few contexts to tell. rare: "
        "hit, but well below uniform use. Only distinct contexts count: equal prefixes give equal "
        "reads.",
    )
    frame = dead_keys.dead_key_frame(report.diagnosis)
    frame = frame[frame["table"] == report.table] if "table" in frame else frame
    causes = dead_keys.cause_summary(frame)
    st.dataframe(causes, hide_index=True, key="causes")
    for note in report.diagnosis.notes:
        st.caption(note)
    chosen = _filtered(frame)
    columns = [name for name in _COLUMNS if name in chosen]
    st.dataframe(
        chosen[columns].head(_SHOWN),
        hide_index=True,
        key="dead keys",
        column_config={
            "rate_bound": st.column_config.NumberColumn(
                "rate at most", format="%.3f", help="As a share of uniform use, 95 %."
            ),
            "expected": st.column_config.NumberColumn(
                "hits if uniform", format="%.1f", help="Under uniform use it would have as many."
            ),
        },
    )
    if len(chosen) > _SHOWN:
        st.caption(f"The first {_SHOWN:,} of {len(chosen):,} rows; the files hold all.")
    _downloads(chosen)


def _filtered(frame: pd.DataFrame) -> pd.DataFrame:
    columns = st.columns(4)
    for column, name in zip(columns, ("level", "verdict", "cause", "site"), strict=True):
        values = list(frame[name].dropna().unique())
        wanted = column.multiselect(name.capitalize(), values, key=f"dead {name}")
        if wanted:
            frame = frame[frame[name].isin(wanted)]
    return frame


def _downloads(frame: pd.DataFrame) -> None:
    with st.container(horizontal=True):
        st.download_button(
            "CSV",
            partial(_csv, frame),
            file_name="not_alive.csv",
            mime="text/csv",
            on_click="ignore",
            key="dead csv",
        )
        st.download_button(
            "Parquet",
            partial(_parquet, frame),
            file_name="not_alive.parquet",
            on_click="ignore",
            key="dead parquet",
        )


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()
