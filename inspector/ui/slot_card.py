"""One slot at one token: what its value says, three ways, and how it was read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from inspector.errors import NotShown, SlotError
from inspector.ui import cache, state
from inspector.ui.components import ReadRow, token_chips
from inspector.ui.reads_view import SiteReads, replaced
from inspector.ui.trace_view import View

if TYPE_CHECKING:
    from inspector.analyses.decoding import Decoding

_EXPLAINED = {
    "in context": "The value through this very token's gate and the site's projection: what the "
    "read wrote here.",
    "static": "Through the site's projection with the mean gate of all tokens that read the slot "
    "in a scan.",
    "raw": "The value itself times the unembedding, as if nothing stood between.",
}


def show(view: View, reads: SiteReads, slot: int) -> None:
    """The selected slot."""
    site = reads.site
    own = reads.of_slot(slot)
    st.subheader("Selected slot", anchor=False)
    st.code(own[0].address if own else site.address(slot), language=None)
    if slot in replaced(view, site.name):
        st.caption("An edit replaced this value; decoded below is the checkpoint's own.")
    if own:
        heads = ", ".join(f"head {row.head}: {row.weight:.3f}{_multiplied(row)}" for row in own)
        known = [row.effect for row in own if row.effect is not None]
        effect = f" · direct effect {sum(known):+.3f} logits" if known else ""
        st.text(f"slot {slot} · weight by {heads}{effect}")
        if reads.p_values is not None:
            _section("in context")
            token_chips(own[0].promoted, own[0].suppressed, key="slot context")
            quality(float(reads.p_values[reads.rows.index(own[0])]))
    else:
        st.text(f"slot {slot} · not read at this token")
    _static(view, site.name, slot)
    _raw(view, site.name, slot)
    if st.button("Open this slot", key="trace open slot", icon="🎯"):
        state.write(site=site.name, slot=slot, head=own[0].head if own else None)
        st.switch_page("pages/slot.py")


def _multiplied(row: ReadRow) -> str:
    """What multiplied the value, where that isn't the weight."""
    return "" if row.coefficient is None else f" (coefficient {row.coefficient:+.3f})"


def _section(name: str) -> None:
    st.markdown(f"**{name}**", help=_EXPLAINED[name])


def _static(view: View, site: str, slot: int) -> None:
    gated = view.trace.sites[site].gated
    _section("static")
    if gated and view.opened.gates is None:
        if view.opened.gates_problem:
            st.text(view.opened.gates_problem)
        else:
            st.caption("Known only after a scan, which this checkpoint does not ship.")
        return
    try:
        decoding = cache.decoded_slot(view.opened, slot, site, "static")
    except NotShown as error:
        st.text(str(error))
        return
    if decoding.fallback[0]:
        st.caption("Never read in the scan: the site's mean gate stands in.")
    _chips(decoding, "slot static")


def _raw(view: View, site: str, slot: int) -> None:
    _section("raw")
    try:
        decoding = cache.decoded_slot(view.opened, slot, site, "raw")
    except SlotError as error:
        st.caption(str(error))
        return
    except NotShown as error:  # it names arguments, which Markdown would take for its own signs
        st.text(str(error))
        return
    _chips(decoding, "slot raw")


def _chips(decoding: Decoding, key: str) -> None:
    row = decoding.to_frame().iloc[0]
    token_chips(
        list(zip(row["promoted"], row["promoted_logits"], strict=True)),
        list(zip(row["suppressed"], row["suppressed_logits"], strict=True)),
        key=key,
    )
    quality(float(decoding.p_value[0]))


def quality(p_value: float) -> None:
    """Whether a decoding stands out, in one line."""
    from inspector.analyses.value_quality import TESTED_AT, p_in_words

    stands_out = p_value <= TESTED_AT
    told = "✓ stands out from random values of this table"
    if not stands_out:
        told = "no clearer than a random value of this table would be"
    st.caption(f"{told} ({p_in_words(p_value)})")
