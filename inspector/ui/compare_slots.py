"""Slot by slot: what drifted, died or revived between two checkpoints, and for which text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from inspector.errors import InspectorError
from inspector.ui import compare_source, frame
from inspector.ui.compare_source import Pair
from inspector.ui.components import sentence

if TYPE_CHECKING:
    from inspector.analyses.slot_changes import SlotChanges, Specificity
    from inspector.capture.usage import Usage

_LISTED = 40


def show(pair: Pair, usages: tuple[Usage, Usage] | None) -> None:
    """The tables that both have, one at a time."""
    st.subheader(
        "Slots",
        anchor=False,
        help="Drift is the distance between a vector before and after, over its norm before. Keys "
        "and values drift apart: a slot may keep its value and be asked by others.",
    )
    tables = pair.sizes.tables
    if not tables:
        st.caption("These two have no slots that could be compared; see above why.")
        return
    table = tables[0]
    if len(tables) > 1:
        table = st.segmented_control(
            "Value table", tables, default=table, required=True, key="compare table"
        )
    try:
        found = compare_source.changes(pair, table, usages)
    except InspectorError as error:
        frame.problem("Their slots could not be compared.", error)
        return
    _said(found)
    _figures(found)
    _most_changed(pair, found)
    if found.touched is not None and usages is not None:
        _asked_for(pair, found, usages[0])


def _said(found: SlotChanges) -> None:
    parts: list[str | tuple[str, str]] = []
    if found.touched is not None:
        parts += [(f"{int(found.touched.sum()):,} of {found.slots:,}", "strong"), " values differ"]
    if found.key_drift is not None:
        moved = sum(int((drift > 0).sum()) for drift in found.half_key_drift.values())
        total = sum(drift.size for drift in found.half_key_drift.values())
        parts += [", " if parts else "", (f"{moved:,} of {total:,}", "strong"), " half-keys differ"]
    if found.verdicts is not None:
        died, revived = int(found.died.sum()), int(found.revived.sum())
        parts += [f"; {died:,} slots died and {revived:,} revived"]
    else:
        parts += ["; scan both above to see what died or revived"]
    sentence([*parts, "."], key="compare slots said")


def _figures(found: SlotChanges) -> None:
    from inspector.figures.comparison import drift_figure, usage_change_figure

    if found.reads is None:
        st.plotly_chart(drift_figure(found), key="compare drift")
        return
    left, right = st.columns(2)
    left.plotly_chart(drift_figure(found), key="compare drift")
    right.plotly_chart(usage_change_figure(found), key="compare reads")


def _most_changed(pair: Pair, found: SlotChanges) -> None:
    st.markdown("**Most changed slots**, and what their values said before and after")
    changed = found.to_frame(_LISTED)
    site, gate, decoded = _decodings(
        pair, tuple(int(slot) for slot in changed["slot"]), found.table
    )
    changed = pd.concat([changed, decoded], axis=1)
    st.dataframe(
        changed,
        hide_index=True,
        key="compare changed",
        column_config={
            "value_drift": st.column_config.NumberColumn(format="%.3g"),
            "value_cosine": st.column_config.NumberColumn(format="%.3f"),
            "key_drift": st.column_config.NumberColumn(format="%.3g"),
            "promoted_before": st.column_config.ListColumn(f"promoted before, {gate} at {site}"),
            "promoted_after": st.column_config.ListColumn("promoted after"),
        },
    )
    st.download_button(
        "All slots (CSV)",
        lambda: found.to_frame().to_csv(index=False).encode(),
        file_name="slot_changes.csv",
        mime="text/csv",
        on_click="ignore",
        key="compare csv",
    )


def _decodings(pair: Pair, slots: tuple[int, ...], table: int) -> tuple[str, str, pd.DataFrame]:
    """The site and gate decoded through, and both decodings of ``slots``; empty if there is none.

    Static where both know their mean gates, else raw: both sides are always decoded alike.
    """
    from inspector.analyses.decoding import decode

    name = pair.first.model.sites_of(table)[0]
    info = pair.first.model.site(name).info
    static = not info.gated or all(each.gates is not None for each in (pair.first, pair.second))
    gate = "static" if static else "raw"
    columns = {}
    for label, opened in (("before", pair.first), ("after", pair.second)):
        if name not in opened.model.sites:
            return name, gate, pd.DataFrame()
        try:
            decoding = decode(opened.model, slots, name, gate, gates=opened.gates)
        except InspectorError:  # values that have no raw meaning, and no gates known
            return name, gate, pd.DataFrame()
        columns[f"promoted_{label}"] = decoding.to_frame()["promoted"]
    return name, gate, pd.DataFrame(columns)


def _asked_for(pair: Pair, found: SlotChanges, background: Usage) -> None:
    """Whether the slots that changed are those that a fine-tune's text reads and others don't."""
    st.markdown("**Were the right slots touched?**")
    typed = st.text_area(
        "Texts of the fine-tune, one a line",
        key="compare texts",
        height=100,
        help="Their slots are ranked by TF-IDF against the scan above (Lin et al. 2025): what "
        "these texts read and others don't.",
    )
    texts = tuple(line for line in typed.splitlines() if line.strip())
    if not texts:
        return
    try:
        result = _specificity(pair, found, background, texts)
    except InspectorError as error:
        frame.problem("These texts cannot be held against the slots.", error)
        return
    auc = "" if result.auc is None else f"; AUC {result.auc:.3f}, where 0.5 is no more than chance"
    st.text(
        f"{result.read:.1%} of the {result.touched:,} touched slots are read by these texts, and "
        f"{result.among_best:.1%} are among the {result.touched:,} most specific to them{auc}."
    )


def _specificity(
    pair: Pair, found: SlotChanges, background: Usage, texts: tuple[str, ...]
) -> Specificity:
    from inspector.analyses.slot_changes import specificity
    from inspector.analyses.slot_tfidf import slot_tfidf
    from inspector.capture.scan import scan

    read = scan(pair.first.model, list(texts), cache=False)
    return specificity(found, slot_tfidf(read, background, found.table))
