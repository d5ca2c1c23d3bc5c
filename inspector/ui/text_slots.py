"""Which slots does a text read that the rest of a corpus rarely reads?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from inspector.errors import InspectorError
from inspector.ui import frame, prompt
from inspector.ui.cache import Opened
from inspector.ui.components import sentence, visible_text
from inspector.ui.usage_view import Report, open_slot

if TYPE_CHECKING:
    from inspector.analyses.decoding import Decoding
    from inspector.analyses.slot_tfidf import SlotTfidf
    from inspector.capture.usage import Usage

_LISTED = 60


def of_text(opened: Opened, usage: Usage, text: str, table: int) -> SlotTfidf:
    """The slots of ``table`` that ``text`` reads, weighed by how rarely the scanned corpus does.

    Raises:
        InspectorError: the text is empty, or cannot be run.
    """
    return _of_text(opened.key, usage.identity, text, table, opened, usage)


@st.cache_resource(max_entries=32, show_spinner="Reading the text …")
def _of_text(
    key: tuple[str, str],
    scanned: str,
    text: str,
    table: int,
    _opened: Opened,
    _usage: Usage,
) -> SlotTfidf:
    from inspector.analyses.token_search import slots_for_text

    return slots_for_text(_opened.model, text, _usage, table)


def show(report: Report) -> None:
    """A box for a text, and the slots that it reads most specifically."""
    st.subheader(
        "What does a text read that others don't?",
        anchor=False,
        help="TF-IDF (Lin et al. 2025): a slot's share of the text's reads, times "
        "log((|B| + 1) / (1 + b)), where b of the corpus's |B| documents read it. A slot that "
        "every document reads scores 0. Reads of all sites and heads of this table count.",
    )
    text = prompt.one_line(report.opened, key="specific", button="Find")
    try:
        found = of_text(report.opened, report.usage, text, report.table)
    except InspectorError as error:
        frame.problem("This text cannot be run.", error)
        return
    _said(found)
    _table(report, found.to_frame(_LISTED), text)


def _said(found: SlotTfidf) -> None:
    read = found.reads > 0
    few = int((read & (found.background * 100 <= found.background_documents)).sum())
    sentence(
        [
            "This text reads ",
            (f"{int(read.sum()):,} slots", "strong"),
            ", of which ",
            (f"{few:,}", "strong"),
            f" are read by no more than 1 % of the {found.background_documents:,} documents.",
        ],
        key="specific said",
    )


def _table(report: Report, listed: pd.DataFrame, text: str) -> None:
    """The most specific slots; a click on a row selects one in the picture above."""
    slots = [int(slot) for slot in listed["slot"]]
    how, decoding = _decoded(report, slots)
    info = report.opened.model.site(report.opened.model.sites_of(report.table)[0]).info
    listed.insert(1, "address", ["({}, {})".format(*info.pair(slot)) for slot in slots])
    if decoding is not None:
        texts = decoding.to_frame()["promoted"]
        listed.insert(2, "promotes", [[visible_text(text) for text in row] for row in texts])
        listed.insert(3, "p", decoding.p_value)
    number = st.column_config.NumberColumn
    picked = st.dataframe(
        listed,
        hide_index=True,
        key=f"specific slots {text}",  # other rows are another selection
        on_select="rerun",
        selection_mode="single-row",
        height=320,
        column_config={
            "promotes": st.column_config.ListColumn(f"promotes, {how}", width="medium"),
            "reads": number(format="localized", help="By the text: tokens, sites and heads."),
            "share": number(format="percent", help="Of all reads by the text."),
            "background_documents": number(
                "documents", format="localized", help="Documents of the corpus that read it."
            ),
            "score": st.column_config.ProgressColumn(
                "TF-IDF",
                format="%.4f",
                min_value=0.0,
                max_value=max(float(listed["score"].max()), 1e-9),
            ),
            "p": number(format="%.4f", help="Share of random values of this table as clear."),
        },
    )
    rows = picked["selection"]["rows"]
    if rows and rows[0] < len(slots):
        slot = slots[rows[0]]
        if st.button(f"Open slot {slot}", key="specific open", icon="🎯"):
            open_slot(report, slot)
    st.caption(
        f"The {len(slots):,} most specific. The value map lights them all: search there for a text."
    )


def _decoded(report: Report, slots: list[int]) -> tuple[str, Decoding | None]:
    """What the values of ``slots`` say, and how they were decoded; None if nothing can be told."""
    from inspector.analyses.decoding import decode

    opened = report.opened
    name = opened.model.sites_of(report.table)[0]
    gate = "static" if opened.gates is not None or not opened.model.site(name).info.gated else "raw"
    try:
        found = decode(opened.model, slots, name, gate, gates=opened.gates)
    except InspectorError:  # values without a raw meaning, and no gates known; or no tokens
        return "", None
    return f"{gate} at {name}", found
