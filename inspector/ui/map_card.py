"""The slot selected on the map: what its value says, who reads it, and what is near."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from inspector.errors import NotShown, SlotError
from inspector.ui import cache, state
from inspector.ui.components import token_chips
from inspector.ui.map_view import MapView
from inspector.ui.slot_card import quality

if TYPE_CHECKING:
    from inspector.analyses.decoding import Decoding

_NEAREST = 10
_MOST_SITES = 6  # whose decodings are shown


def show(view: MapView) -> None:
    """The selected slot, or how to select one."""
    st.subheader("Selected slot", anchor=False)
    slot = state.read_number(state.SLOT)
    if slot is None or not 0 <= slot < view.info.slots:
        st.caption("Click a point, a row of the table, or 🎲, to see what a value says.")
        return
    st.code(view.address(slot), language=None)
    st.text(f"slot {slot}{_whereabouts(view, slot)}")
    _usage(view, slot)
    _decodings(view, slot)
    _nearest(view, slot)
    _links(view, slot)


def _whereabouts(view: MapView, slot: int) -> str:
    point = view.points.of_slot(slot)
    if point is None:
        return " · not among those drawn for this map"
    cluster = int(view.map.clusters[point])
    return "" if cluster < 0 else f" · group: {view.map.cluster_names[cluster]}"


def _usage(view: MapView, slot: int) -> None:
    if view.usage is None or view.map.table not in view.usage.tables:
        st.caption("How often it is read is known after a scan: see Usage above.")
        return
    reads = {
        f"{name}·H{head}": int(count)
        for name in view.opened.model.sites_of(view.map.table)
        for head, count in enumerate(view.usage.sites[name].reads[:, slot])
        if count
    }
    by = ", ".join(f"{place} {count:,}" for place, count in reads.items())
    verdict = view.measures["verdict"].iloc[slot]
    st.text(f"{verdict} · {sum(reads.values()):,} reads{f': {by}' if by else ''}")


def _decodings(view: MapView, slot: int) -> None:
    """What the value says at each site that reads its table, the most telling first."""
    opened = view.opened
    names = opened.model.sites_of(view.map.table) if view.map.site is None else (view.map.site,)
    found = [decoding for name in names if (decoding := _static(view, slot, name)) is not None]
    found.sort(key=lambda decoding: (bool(decoding.fallback[0]), float(decoding.p_value[0])))
    for decoding in found[:_MOST_SITES]:
        st.markdown(
            f"**static, at {decoding.site}**",
            help="Through the site's projection with the mean gate of all tokens that read the "
            "slot in a scan.",
        )
        _chips(decoding)
    if not found:
        try:
            decoding = cache.decoded_slot(opened, slot, names[0], "raw")
        except SlotError as error:
            st.caption(str(error))
            return
        except NotShown as error:  # it names arguments, which Markdown would take for its own
            st.text(str(error))
            return
        st.markdown("**raw**", help="The value itself times the unembedding.")
        _chips(decoding)


def _static(view: MapView, slot: int, site: str) -> Decoding | None:
    gated = view.opened.model.site(site).info.gated
    gates = view.opened.gates
    if gated and (gates is None or site not in gates.sites):
        return None
    try:
        return cache.decoded_slot(view.opened, slot, site, "static")
    except NotShown:  # what the site writes is no sum of its reads, or has no tokens
        return None


def _chips(decoding: Decoding) -> None:
    row = decoding.to_frame().iloc[0]
    token_chips(
        list(zip(row["promoted"], row["promoted_logits"], strict=True)),
        list(zip(row["suppressed"], row["suppressed_logits"], strict=True)),
        key=f"map slot {decoding.site} {decoding.gate}",
    )
    if decoding.fallback[0]:
        st.caption("Never read here in the scan of gates: the site's mean gate stands in.")
    else:
        quality(float(decoding.p_value[0]))


def _nearest(view: MapView, slot: int) -> None:
    """The nearest values on the map; a click on one goes there."""
    slots, distances = view.nearest(slot)
    if not len(slots):
        return
    measure = view.map.settings.metric
    st.markdown(
        "**Nearest values**",
        help=f"By {measure} distance of the vectors themselves, among those on the map; ringed "
        "on it. A click goes there.",
    )
    slots, distances = slots[:_NEAREST], distances[:_NEAREST]
    frame = nearest_frame(view, slots, distances)
    picked = st.dataframe(
        frame,
        hide_index=True,
        height=36 * min(len(frame), 5) + 38,
        key=f"nearest {slot}",
        on_select="rerun",
        selection_mode="single-row",
        column_config={"distance": st.column_config.NumberColumn(format="%.3f")},
    )
    rows = picked["selection"]["rows"]
    if rows and rows[0] < len(slots):
        state.write(slot=int(slots[rows[0]]))
        st.rerun()


def nearest_frame(view: MapView, slots: np.ndarray, distances: np.ndarray) -> pd.DataFrame:
    """One row for each near value: its number, how far it is, and what it promotes."""
    frame = pd.DataFrame({"slot": slots, "distance": distances})
    if view.words is not None:
        frame["promotes"] = [view.words.texts(int(slot)) for slot in slots]
    return frame


def _links(view: MapView, slot: int) -> None:
    with st.container(horizontal=True):
        for page, label, icon in (
            ("slot", "Slot page", "🔬"),
            ("trace", "Trace", "🔎"),
            ("usage", "Usage", "📊"),
        ):
            if st.button(label, icon=icon, key=f"go {page}"):
                state.write(slot=slot, site=view.map.site or _own_site(view, slot))
                st.switch_page(f"pages/{page}.py", query_params=st.query_params.to_dict())


def _own_site(view: MapView, slot: int) -> str:
    """The site through which another page shows a value of the table."""
    return view.info.name if view.words is None else view.words.site_of(slot)
