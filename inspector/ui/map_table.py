"""What is lit on the map, as a table: to read, export, and send to other pages."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from inspector.capture.visible_text import visible_text
from inspector.ui import state
from inspector.ui.map_view import MapView

_SHOWN = 2_000  # rows a browser shows without delay; the file holds all of them
_LISTED = 5_000  # numbers in a text to copy
_FIRST = ("reads", "verdict")
_HIDDEN = ("weight", "slot")


def show(view: MapView) -> None:
    """The lit slots, the best hits or the most read first."""
    slots = in_order(view)
    st.subheader(_title(view, len(slots)), anchor=False, help=_HELP)
    frame = rows(view, slots[:_SHOWN])
    picked = st.dataframe(
        frame,
        hide_index=True,
        key=f"map rows {_digest(slots)}",  # other rows are another selection
        on_select="rerun",
        selection_mode="single-row",
        column_config=_columns(frame),
    )
    _select(picked["selection"]["rows"], slots)
    if len(slots) > _SHOWN:
        st.caption(f"The first {_SHOWN:,} of {len(slots):,} rows; the file holds all.")
    _send(view, slots)


def _digest(slots: np.ndarray) -> str:
    return hashlib.blake2b(slots.tobytes(), digest_size=6).hexdigest()


_HELP = (
    "The values that are lit on the map: those a search found, within the area if one is drawn. "
    "A click on a row selects its slot."
)


def _title(view: MapView, count: int) -> str:
    if count == len(view.map.slots):
        return f"All {count:,} values on the map"
    return f"{count:,} of {len(view.map.slots):,} values are lit"


def in_order(view: MapView) -> np.ndarray:
    """The lit slots ``[lit]``: by rank of the search's token, then reads, then number."""
    slots = view.map.slots[view.lit]
    keys = [slots]
    if "reads" in view.measures:
        keys.append(-view.measures["reads"].to_numpy()[slots])
    if view.found is not None:
        keys.append(view.found.rank[slots])
    return np.asarray(slots[np.lexsort(keys)])


def rows(view: MapView, slots: np.ndarray) -> pd.DataFrame:
    """One row for each of ``slots``: address, group, tokens, and its measures."""
    frame = pd.DataFrame({"slot": slots, "address": [view.address(int(s)) for s in slots]})
    if view.words is not None:
        frame["promotes"] = [view.words.texts(int(slot)) for slot in slots]
    measures = view.measures.iloc[slots].reset_index(drop=True)
    first = [name for name in _FIRST if name in measures]
    frame = frame.join(measures[first])
    if view.words is not None:
        frame["p"] = view.words.p_value[slots]
        if len(view.words.tables) > 1:
            frame["at"] = [view.words.site_of(int(slot)) for slot in slots]
    names = np.array([*view.map.cluster_names, ""], dtype=object)
    points = np.searchsorted(view.map.slots, slots)
    frame["group"] = [visible_name(name) for name in names[view.map.clusters[points]]]
    shown = {*first, *_HIDDEN}
    return frame.join(measures[[name for name in measures.columns if name not in shown]])


def visible_name(name: str) -> str:
    """A cluster's name; its spaces part tokens and stay as they are."""
    return " ".join(visible_text(part) for part in name.split(" ") if part)


def _columns(frame: pd.DataFrame) -> dict[str, Any]:
    number = st.column_config.NumberColumn
    shares = [str(name) for name in frame if str(name).startswith("share_")]
    progress = st.column_config.ProgressColumn
    columns: dict[str, Any] = {
        "slot": number(format="%d"),
        "promotes": st.column_config.ListColumn(
            "promotes", width="large", help="The tokens it promotes most, best first."
        ),
        "p": number(
            format="%.4f",
            help="Share of random values of this table as clear as this; where a slot is read at "
            "several sites, times their number, as it speaks where it is clearest.",
        ),
        "at": st.column_config.TextColumn(help="The site whose decoding is shown."),
        "norm": number("length", format="%.2f"),
        "drift": number(format="%.2f"),
        "token_class": "class of token",
        "weight_share": number("share of weight", format="percent"),
    }
    for name in shares:
        label = f"by {name.removeprefix('share_')}"
        columns[name] = progress(label, format="percent", min_value=0, max_value=1)
    if "reads" in frame:
        most = int(max(frame["reads"].max(), 1)) if len(frame) else 1
        columns["reads"] = progress(format="localized", min_value=0, max_value=most)
    return {name: config for name, config in columns.items() if name in frame}


def _select(picked: list[int], slots: np.ndarray) -> None:
    """A click on a row selects its slot, once: later clicks on the map are newer."""
    chosen = int(slots[picked[0]]) if picked and picked[0] < len(slots) else None
    key = "map row heeded"
    if chosen is not None and st.session_state.get(key) != chosen:
        st.session_state[key] = chosen
        state.write(slot=chosen)
        st.rerun()
    if chosen is None:
        st.session_state.pop(key, None)


def _send(view: MapView, slots: np.ndarray) -> None:
    """Take the lit slots elsewhere: a file, the clipboard, other pages."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "CSV",
            partial(_csv, view, slots),
            file_name="values.csv",
            mime="text/csv",
            on_click="ignore",
            icon="💾",
            key="map csv",
            help="One row for each lit value, with all that is known of it.",
        )
        with st.popover("Copy numbers", icon="📋"):
            st.caption("Slot numbers, to paste into other tools or pages.")
            st.code(",".join(str(slot) for slot in slots[:_LISTED]), language=None, height=220)
            if len(slots) > _LISTED:
                st.caption(f"The first {_LISTED:,} of {len(slots):,}; the file holds all.")
        sent = st.button(
            f"Hand {len(slots):,} slots to other pages",
            icon="📨",
            key="send slots",
            disabled=not len(slots),
            help="Facts and edits can then take them. Up to 200 are put into the URL too.",
        )
    if sent:
        state.select_slots(slots.tolist())
    handed = state.selected_slots()
    if handed:
        st.caption(f"{len(handed):,} slots are handed to other pages.")


def _csv(view: MapView, slots: np.ndarray) -> bytes:
    frame = rows(view, slots)
    if "promotes" in frame:
        frame["promotes"] = [" ".join(tokens) for tokens in frame["promotes"]]
    places = view.map.to_frame().set_index("slot")[["x", "y"]]
    return frame.join(places, on="slot").to_csv(index=False).encode()
