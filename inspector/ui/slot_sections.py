"""What a slot holds: its decodings, its readers, its half-keys and the values like it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import streamlit as st

from inspector.errors import InspectorError
from inspector.ui import slot_cache
from inspector.ui.components import DecodingRow, ReadRow, decoding_rows, read_table
from inspector.ui.slot_page import SlotView, go_to

if TYPE_CHECKING:
    from inspector.analyses.decoding import Decoding

_EXPLAINED: Final = {
    "raw": "The value itself times the unembedding, as if nothing stood between.",
    "static": "Through this site's projection, with the mean gate of all tokens that read the "
    "slot there.",
    "in context": "Through this site's projection, with the gate of one token that read it: one "
    "of its strongest reads in the scan.",
}
_METRICS: Final = {"cosine": "cosine", "inner product": "inner_product"}


def decodings(view: SlotView) -> None:
    """The value decoded every way there is, side by side and named."""
    report = view.report
    st.subheader(
        "What it says",
        anchor=False,
        help="Tokens that the value makes more and less likely, strongest first. A gate may stand "
        "between the value and the residual stream, so that a value has no meaning of its own: "
        "raw leaves the gate out, static takes its mean, in context that of one token. A shared "
        "value says something else at each site. Quality: the top logit in standard deviations "
        "over the vocabulary, ticked where at most 5 % of random values with the table's "
        "covariance stand as high.",
    )
    decoding_rows([decoding_row(*named) for named in report.decodings()], key="slot decodings")
    for note in report.notes:
        st.text(note)
    if report.dropped:
        st.caption(f"{report.dropped} of its strongest contexts did not read it when run again.")


def decoding_row(name: str, decoding: Decoding) -> DecodingRow:
    """One decoding as a row."""
    row = decoding.to_frame().iloc[0]
    tip = _EXPLAINED[name.partition(" · ")[0]]
    if bool(row["fallback"]):
        tip += " It was never read there in the scan behind the gates: the site's mean stands in."
        name += " (site's mean)"
    return DecodingRow(
        name,
        tip,
        list(zip(row["promoted"], row["promoted_logits"], strict=True)),
        list(zip(row["suppressed"], row["suppressed_logits"], strict=True)),
        float(row["standing"]),
        float(row["p_value"]),
        bool(row["passes"]),
    )


def readers(view: SlotView) -> None:
    """Reads of the slot by site and head."""
    st.subheader(
        "Who reads it",
        anchor=False,
        help="Reads in the scan by each head of each site that reads the table.",
    )
    use = view.report.usage
    if use is None:
        st.caption("Known after a scan: start one above.")
        return
    from inspector.figures.slot import reader_figure

    readings, table = st.tabs(["Figure", "Table"])
    with readings:
        st.plotly_chart(reader_figure(use), key="slot readers", config={"displayModeBar": False})
    frame = use.to_frame()
    table.dataframe(frame, hide_index=True, key="slot readers table", height=260)


def half_keys(view: SlotView) -> None:
    """The half-keys of the slot, for each head, and those nearest to them."""
    from inspector.analyses.slot_half_keys import half_key_frame

    st.subheader(
        "Its half-keys",
        anchor=False,
        help="The key (i, j) pairs half-key i of set 1 with half-key j of set 2; each head of each "
        "site has half-keys of its own. norm_z: standard deviations from the mean norm of its set. "
        "In best k: how often it was among the best k of its half in the scan, beside the mean of "
        "its set. Nearest: other half-keys of the set by cosine.",
    )
    frame = half_key_frame(view.report.half_keys)
    if view.report.usage is None:
        frame = frame.drop(columns=["in_best_k", "usual"])
    st.dataframe(
        frame,
        hide_index=True,
        key="slot half-keys",
        height=390,
        column_config={
            "half_key": st.column_config.NumberColumn("half-key"),
            "norm": st.column_config.NumberColumn(format="%.2f"),
            "norm_z": st.column_config.NumberColumn(format="%+.1f"),
            "in_best_k": st.column_config.NumberColumn("in best k", format="localized"),
            "usual": st.column_config.NumberColumn("set's mean", format="%.0f"),
            "nearest": st.column_config.ListColumn("nearest (cosine)", width="medium"),
        },
    )


def nearest(view: SlotView) -> None:
    """The values like this one; a click opens the slot."""
    st.subheader(
        "Values like it",
        anchor=False,
        help="The nearest values of the whole table, found exactly: rows of the table, or what "
        "they write at the site of the address through their mean gates. A click opens the slot.",
    )
    left, right = st.columns(2)
    site = view.address.site
    compared = left.segmented_control(
        "Compared", ["value rows", f"at {site}"], default="value rows", required=True,
        key="slot nearest of", label_visibility="collapsed",
    )  # fmt: skip
    metric = right.segmented_control(
        "Metric", list(_METRICS), default="cosine", required=True, key="slot nearest by",
        label_visibility="collapsed",
    )  # fmt: skip
    try:
        found = slot_cache.nearest(
            view.opened, view.address.slot, site, compared != "value rows", _METRICS[metric]
        )
    except InspectorError as problem:
        st.text(str(problem))
        return
    if not len(found.slots):
        st.caption("The table holds no other value.")
        return
    _nearest_table(view, found.slots, found.similarity, metric)


def _nearest_table(view: SlotView, slots: np.ndarray, similarity: np.ndarray, metric: str) -> None:
    info = view.report.info
    decoding = slot_cache.decoded(view.opened, tuple(slots.tolist()), info.name)
    rows = []
    for number, slot in enumerate(slots.tolist()):
        row = None if decoding is None else decoding.to_frame().iloc[number]
        said = () if row is None else zip(row["promoted"], row["promoted_logits"], strict=True)
        rows.append(
            ReadRow(
                address=info.address(slot),
                site=info.name,
                head=None,
                slot=slot,
                score=float(similarity[number]),
                promoted=tuple(said),
            )
        )
    how = "" if decoding is None else f" {decoding.gate.capitalize()} at {info.name}."
    read_table(
        rows,
        key="slot nearest",
        selected=None,
        height=340,
        helps={"score": f"Its {metric} with this value.", "promoted": f"What it says.{how}"},
        titles={"score": metric.capitalize()},
        on_select=lambda number: go_to(info.name, rows[number].slot),
    )
