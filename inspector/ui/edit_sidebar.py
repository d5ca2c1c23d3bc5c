"""The list of edits at the left of every page: switches, undo, and a file to keep it in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from inspector.errors import EditError
from inspector.ui import edit_state
from inspector.ui.cache import Opened
from inspector.ui.edit_words import EXPLAINED, counted, place, title

if TYPE_CHECKING:
    from inspector.analyses.edit_files import EditHistory
    from inspector.analyses.edit_list import SlotEdit

_HELP = (
    "Edits of this session alone: they act on the passes that you start, and nobody else sees "
    "them. The checkpoint is never written to.  \n"
    + "  \n".join(f"**{kind}**: {text}" for kind, text in EXPLAINED.items())
)
_FILE, _FILE_PROBLEM = "edit file", "edit file problem"
_NOTE = 90  # characters of it that are shown
_SHOWN = 12  # slots of one edit that are listed


def show(opened: Opened) -> None:
    """The list; nothing where there never was an edit and there are no sites to edit."""
    if not opened.model.sites:
        return
    known = edit_state.history(opened)
    with st.container(border=True, key="edit list"):
        on = edit_state.on(opened)
        st.markdown("**Edits**", help=_HELP)
        _head(opened, known, on)
        for number, edit in enumerate(known.edits):
            _row(opened, number, edit)
        _buttons(opened, known)
        with st.expander("Save or load", expanded=False):
            _file(opened, known)


def _head(opened: Opened, known: EditHistory, on: edit_state.EditsOn) -> None:
    if edit_state.problem():
        st.error("The edits of this link were not taken over.", icon="⚠️")
        st.text(edit_state.problem())
    if not known.edits:
        st.caption("None. The model is as the checkpoint holds it.")
        return
    if on.problem:
        st.error("These edits do not fit this checkpoint: none of them acts.", icon="⚠️")
        st.text(on.problem)
        return
    slots = {(edit.table, slot) for edit in on.records for slot in edit.slots}
    reached = {name for edit in on.records for name in edit.sites_changed(opened.model)}
    sites = [name for name in opened.model.sites if name in reached]
    st.caption(
        f"{len(on.records)} of {len(known.edits)} on · {counted(len(slots), 'slot')}"
        + (f" at {', '.join(sites)}. They act on Trace and on Facts, Edit." if sites else "")
    )


def _row(opened: Opened, number: int, edit: SlotEdit) -> None:
    key = f"edit on {number}"
    st.session_state[key] = edit.on

    def switch() -> None:
        now = edit_state.history(opened)
        edit_state.keep(opened, now.switched(number, bool(st.session_state[key])))

    def remove() -> None:
        edit_state.keep(opened, edit_state.history(opened).removed(number))

    named, out = st.columns([5, 1], vertical_alignment="center")
    some = ", ".join(map(str, edit.slots[:_SHOWN])) + (" …" if len(edit.slots) > _SHOWN else "")
    named.toggle(title(edit), key=key, on_change=switch, help=f"{EXPLAINED[edit.kind]} {some}")
    out.button("✕", key=f"edit out {number}", on_click=remove, type="tertiary", help="Remove it.")
    note = edit.note if len(edit.note) <= _NOTE else f"{edit.note[: _NOTE - 1]}…"
    st.text(f"{place(edit, opened.model)}{' · ' if note else ''}{note}")


def _buttons(opened: Opened, known: EditHistory) -> None:
    if not (known.edits or known.past or known.future):
        return
    steps = (
        ("Undo", known.undone, bool(known.past)),
        ("Redo", known.redone, bool(known.future)),
        ("Clear", lambda: known.changed(()), bool(known.edits)),
    )
    with st.container(horizontal=True, gap="small"):
        for label, changed, possible in steps:
            st.button(
                label,
                key=f"edits {label}",
                type="tertiary",
                disabled=not possible,
                on_click=_change,
                args=(opened, changed),
            )


def _change(opened: Opened, changed: Callable[[], EditHistory]) -> None:
    edit_state.keep(opened, changed())


def _file(opened: Opened, known: EditHistory) -> None:
    from inspector.analyses.edit_files import edits_to_text

    if known.edits:
        if not edit_state.in_url(known.edits):
            st.caption("The list is too long for a link: save it as a file to keep it.")
        st.download_button(
            "Save the list",
            edits_to_text(known.edits, opened.model.fingerprint),
            file_name="edits.json",
            mime="application/json",
            on_click="ignore",
            key="edits download",
        )
    st.file_uploader(
        "Load a list", type="json", key=_FILE, on_change=_load, args=(opened,), max_upload_size=20
    )
    if said := st.session_state.get(_FILE_PROBLEM):
        st.error("The file was not loaded; the list is as it was.", icon="⚠️")
        st.text(said)


def _load(opened: Opened) -> None:
    """Put the edits of a file at the end of the list."""
    from inspector.analyses.edit_files import edits_from_text

    st.session_state.pop(_FILE_PROBLEM, None)
    file = st.session_state.get(_FILE)
    if file is None:
        return
    try:
        edits = edits_from_text(file.getvalue().decode("utf-8-sig"))
        edit_state.add(opened, *edits)
    except UnicodeDecodeError:
        st.session_state[_FILE_PROBLEM] = f"{file.name} is not UTF-8, expected a saved list."
    except EditError as error:
        st.session_state[_FILE_PROBLEM] = str(error)
