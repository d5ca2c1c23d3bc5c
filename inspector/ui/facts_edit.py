"""Editing slots by hand, from a core set or from a selection, and seeing what it does to a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import streamlit as st

from inspector.errors import InspectorError
from inspector.ui import edit_compare, edit_state, frame, state
from inspector.ui.edit_form import EditAsked, make_edits
from inspector.ui.edit_words import EXPLAINED, counted

if TYPE_CHECKING:
    import pandas as pd

    from inspector.analyses.ablations import Ablation
    from inspector.analyses.core_sets import CoreSet
    from inspector.analyses.edit_list import SlotEdit
    from inspector.ui.facts_view import FactView

_SLOTS, _KIND, _FACTOR = "edit slots", "edit kind", "edit factor"
_SITES, _HEAD, _FROM, _NUMBERS = "edit sites", "edit head", "edit from", "edit numbers"
_PROBLEM, _TEXT = "edit problem", "edit text"
_MOST: Final = 2_000  # slots that a box can hold


def core_edits(core: CoreSet, kind: Ablation, note: str = "") -> tuple[SlotEdit, ...]:
    """A core set as edits, one for each table, site and head it names.

    At the scope *read* they act at every position: an edit of a text doesn't know which answer.
    """
    from inspector.analyses.edit_list import SlotEdit

    places: dict[tuple[int, str | None, int | None], list[int]] = {}
    for member in core.members:
        places.setdefault((member.table, member.site, member.head), []).append(member.slot)
    return tuple(
        SlotEdit(kind, tuple(slots), table, (site,) if site else (), head, note=note)
        for (table, site, head), slots in places.items()
    )


def offer_core(view: FactView, core: CoreSet) -> None:
    """Buttons that put a core set on the list, or into the boxes of the section Edit."""
    note = f"core set: {view.fact.relation} of {view.fact.subject}"
    edits = core_edits(core, view.kind, note)

    def otherwise() -> None:
        st.session_state[_SLOTS] = " ".join(map(str, core.slots))
        state.write(section="Edit")

    with st.container(horizontal=True):
        st.button(
            f"Add to edits: {view.kind} {counted(len(core.slots), 'slot')}",
            key="edit core",
            icon="✏️",
            on_click=edit_state.add,
            args=(view.opened, *edits),
            help=EXPLAINED[view.kind],
        )
        st.button("Scale, swap or replace them …", key="edit core otherwise", on_click=otherwise)
    if core.scope == "read":
        st.caption("As an edit they act at every position of a text, not only at the answer's.")


def offer_slots(view: FactView, reads: pd.DataFrame) -> None:
    """A button that puts the slots of chosen reads on the list."""
    from inspector.analyses.edit_list import SlotEdit

    sites = view.opened.model.sites
    table = sites[reads["site"].iloc[0]].info.table
    same = [sites[name].info.table == table for name in reads["site"]]
    slots = tuple(dict.fromkeys(int(slot) for slot in reads["slot"][same]))
    st.button(
        f"Add to edits: {view.kind} {counted(len(slots), 'slot')}",
        key="edit reads",
        icon="✏️",
        on_click=edit_state.add,
        args=(view.opened, SlotEdit(view.kind, slots, table)),
        help=EXPLAINED[view.kind],
    )


def show(view: FactView) -> None:
    """The boxes for a new edit, and a text under the edits that are on."""
    if not view.opened.model.sites:
        st.info("This checkpoint has no memory layers: there is nothing to edit.")
        return
    with st.container(border=True):
        _new(view)
    with st.container(border=True):
        _try(view)


def _new(view: FactView) -> None:
    st.subheader(
        "New edit",
        anchor=False,
        help="It goes to the list at the left, acts in this session alone and is never written to "
        "the checkpoint.  \n"
        + "  \n".join(f"**{kind}**: {text}" for kind, text in EXPLAINED.items()),
    )
    st.session_state.setdefault(_KIND, "zero")
    kind = str(st.segmented_control("Kind", list(EXPLAINED), key=_KIND, required=True))
    _slots_box(view)
    if kind == "scale":
        st.slider("Factor", -2.0, 3.0, 0.5, 0.05, key=_FACTOR, help=EXPLAINED["scale"])
    if kind == "replace":
        _replacement()
    elif kind != "swap":
        _where(view)
    else:
        st.caption("Name two slots. They hold each other's value at every site of the table.")
    st.button("Add to edits", type="primary", key="add edit", on_click=_add, args=(view,))
    if said := st.session_state.pop(_PROBLEM, ""):
        st.error("This edit cannot be made.", icon="⚠️")
        st.text(said)


def _slots_box(view: FactView) -> None:
    core = view.report.cores.get(view.kind)
    handed = state.selected_slots()[:_MOST]
    box, first, second = st.columns([6, 2, 2], vertical_alignment="bottom")
    box.text_input(
        "Slots",
        key=_SLOTS,
        placeholder="55245, (431,77), L4·(431,77)",
        help="Numbers or addresses, with commas or spaces between them.",
    )

    def fill(slots: tuple[int, ...]) -> None:
        st.session_state[_SLOTS] = " ".join(map(str, slots))

    own = core.slots if core is not None else ()
    first.button(
        f"Core set ({len(own)})",
        key="slots of core",
        disabled=not own,
        on_click=fill,
        args=(own,),
        width="stretch",
    )
    second.button(
        f"From the map ({len(handed)})",
        key="slots of map",
        disabled=not handed,
        on_click=fill,
        args=(handed,),
        width="stretch",
        help="Slots selected on the value map.",
    )


def _replacement() -> None:
    left, right = st.columns(2)
    left.text_input(
        "By the value of slot",
        key=_FROM,
        placeholder="55245",
        help="All slots named above get this slot's value.",
    )
    right.text_area(
        "Or by these numbers",
        key=_NUMBERS,
        height=80,
        placeholder="0.12 -0.5 …",
        help="One value: as many numbers as a value has, with spaces or commas between them.",
    )


def _where(view: FactView) -> None:
    sites, head = st.columns([3, 1])
    sites.multiselect(
        "At these memory layers",
        list(view.opened.model.sites),
        key=_SITES,
        placeholder="all that read the table",
    )
    most = max(site.info.heads for site in view.opened.model.sites.values())
    head.number_input("Head", 0, most - 1, None, key=_HEAD, placeholder="all")


def _add(view: FactView) -> None:
    """Put the new edit on the list, or keep what is wrong with it."""
    kind = st.session_state[_KIND]
    narrowed = kind in ("zero", "mask", "scale")
    head = st.session_state.get(_HEAD) if narrowed else None
    asked = EditAsked(
        kind,
        st.session_state.get(_SLOTS, ""),
        tuple(st.session_state.get(_SITES, ())) if narrowed else (),
        None if head is None else int(head),
        float(st.session_state[_FACTOR]) if kind == "scale" else None,
        st.session_state.get(_FROM, "") if kind == "replace" else "",
        st.session_state.get(_NUMBERS, "") if kind == "replace" else "",
    )
    try:
        edit_state.add(view.opened, *make_edits(view.opened.model, asked))
    except InspectorError as error:
        st.session_state[_PROBLEM] = str(error)


def _try(view: FactView) -> None:
    st.subheader(
        "Original and edited",
        anchor=False,
        help="The same text, read by the model as the checkpoint holds it and as the edits at the "
        "left make it. Choose a token to see both predictions after it.",
    )
    text = state.read(state.EDITED_TEXT) or view.fact.prompts[0]
    if st.session_state.get(f"{_TEXT} shown") != text or _TEXT not in st.session_state:
        st.session_state[_TEXT] = st.session_state[f"{_TEXT} shown"] = text
    with st.form("edited text", border=False):
        box, submit = st.columns([8, 1.4], vertical_alignment="bottom")
        box.text_input("Text", key=_TEXT)
        submit.form_submit_button(
            "Compare",
            type="primary",
            width="stretch",
            on_click=lambda: state.write(edited_text=st.session_state[_TEXT], pos=None),
        )
    on = edit_state.on(view.opened)
    if not on:
        st.caption("No edit is on: add one, or switch one on at the left.")
        return
    try:
        edit_compare.of_text(view.opened, text, on.edited)
    except InspectorError as error:
        frame.problem("This text cannot be read with these edits.", error)
        return
    if st.button("Open this text in Trace", icon="🔎", key="trace edited"):
        state.write(text=text, more=None, pos=None)
        st.switch_page("pages/trace.py")
