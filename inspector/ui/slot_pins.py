"""Slots that were pinned, to compare with the one of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd
import streamlit as st

from inspector.errors import SlotError
from inspector.ui import slot_cache, state
from inspector.ui.cache import Opened
from inspector.ui.components import decoding_rows, sentence
from inspector.ui.slot_page import SlotView, go_to
from inspector.ui.slot_sections import decoding_row

if TYPE_CHECKING:
    from inspector.analyses.slot_address import SlotAddress
    from inspector.analyses.slot_report import SlotReport

_MOST: Final = 8


def pinned(opened: Opened) -> list[SlotAddress]:
    """The pinned slots of the URL; what can't be read there is left out."""
    from inspector.analyses.slot_address import parse_address

    found = []
    for entry in (state.read(state.PINS) or "").split("-")[:_MOST]:
        try:
            found.append(parse_address(opened.model, entry.replace("_", " ")))
        except SlotError:
            continue
    return found


def _write(pins: list[SlotAddress]) -> None:
    entries = [f"{pin.site}_{pin.slot}" for pin in pins]
    state.write(pins="-".join(entries) or None)


def _same(first: SlotAddress, second: SlotAddress) -> bool:
    return (first.site, first.slot) == (second.site, second.slot)


def compare(view: SlotView) -> None:
    """Pin this slot, and hold it against a pinned one."""
    pins = pinned(view.opened)
    held = [pin for pin in pins if _same(pin, view.address)]
    others = [pin for pin in pins if not _same(pin, view.address)]
    with st.container(border=True):
        st.subheader(
            "Compare",
            anchor=False,
            help=f"Pin a slot, open another, and see both side by side. Up to {_MOST} pins; they "
            "are part of the link.",
        )
        with st.container(horizontal=True):
            if held:
                st.button("Unpin this slot", on_click=_write, args=(others,))
            elif len(pins) < _MOST:
                st.button("Pin this slot", on_click=_write, args=([*pins, view.address],))
            if others:
                st.button("Clear the pins", on_click=_write, args=([],))
        if others:
            _side_by_side(view, others)


def _side_by_side(view: SlotView, others: list[SlotAddress]) -> None:
    names = [view.opened.model.site(o.site).info.address(o.slot) for o in others]
    chosen = st.selectbox("Held against", names, key="slot compared")
    other = others[names.index(chosen)] if chosen in names else others[0]
    report = slot_cache.report(view.opened, other, view.usage)
    for column, (name, each) in zip(
        st.columns(2), (("this", view.report), ("pinned", report)), strict=True
    ):
        with column:
            _summary(name, each)
    _figures(view.report, report)
    st.button("Open the pinned slot", on_click=go_to, args=(other.site, other.slot))


def _summary(name: str, report: SlotReport) -> None:
    from inspector.analyses.slot_report import headline

    sentence(headline(report), key=f"compared {name}")
    rows = [decoding_row(*each) for each in report.decodings() if not each[0].startswith("in ")]
    decoding_rows(rows, key=f"compared decodings {name}")


def _figures(first: SlotReport, second: SlotReport) -> None:
    if first.usage is None or second.usage is None:
        return
    uses = {first.text: first.usage, second.text: second.usage}
    st.dataframe(
        pd.DataFrame(
            {
                name: {
                    "reads": f"{use.total:,}",
                    "rank by reads": f"{use.by_reads.rank:,}",
                    "rank by weight": f"{use.by_weight.rank:,}",
                    "documents": f"{use.documents:,}",
                    "verdict": use.verdict.label,
                    "most read by": "·H".join(map(str, use.main_reader())) if use.total else "–",
                }
                for name, use in uses.items()
            }
        ),
        key="compared figures",
    )
