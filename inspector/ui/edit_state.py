"""The list of edits of one session: where it is kept, how the URL gets it, and what is on.

Edits live in the session, one list for each checkpoint. The URL holds the list of the checkpoint
that is open, as long as it has room for it; a URL that was changed from outside wins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import streamlit as st

from inspector.errors import EditError, InspectorError
from inspector.ui import state
from inspector.ui.cache import UNEDITED, Edited, Opened

if TYPE_CHECKING:
    from inspector.analyses.edit_files import EditHistory
    from inspector.analyses.edit_list import SlotEdit

NOT_HERE: Final = (  # of pages about the checkpoint itself
    "This page shows the checkpoint as it is: the edits of this session don't act here."
)
_LISTS, _OPEN, _WRITTEN, _PROBLEM = "edit lists", "edits of", "edits in url", "edits problem"


@dataclass(frozen=True, eq=False)
class EditsOn:
    """What acts on this session's passes: the records that are on, and what makes them act.

    If they don't fit the checkpoint, nothing acts and ``problem`` says why.
    """

    records: tuple[SlotEdit, ...] = ()
    edited: Edited = UNEDITED
    problem: str = ""

    def __bool__(self) -> bool:
        """Whether anything acts."""
        return bool(self.edited.edits)


def history(opened: Opened) -> EditHistory:
    """The list of this session for the open checkpoint, with what it was before."""
    from inspector.analyses.edit_files import EditHistory

    lists: dict[str, EditHistory] = st.session_state.setdefault(_LISTS, {})
    fingerprint = opened.model.fingerprint
    in_url = state.read(state.EDITS)
    if st.session_state.get(_OPEN) != fingerprint:
        st.session_state[_OPEN] = fingerprint
        if in_url is None and fingerprint in lists:  # back at a checkpoint: its edits are, too
            _write(lists[fingerprint].edits)
        else:
            _take(lists, fingerprint, in_url)
    elif in_url != st.session_state.get(_WRITTEN):
        _take(lists, fingerprint, in_url)
    return lists.get(fingerprint, EditHistory())


def _take(lists: dict[str, EditHistory], fingerprint: str, in_url: str | None) -> None:
    """Let the list be what the URL says."""
    from inspector.analyses.edit_files import EditHistory, edits_from_url

    st.session_state[_WRITTEN] = in_url
    st.session_state.pop(_PROBLEM, None)
    try:
        found = edits_from_url(in_url or "")
    except EditError as error:
        st.session_state[_PROBLEM] = str(error)
        return
    lists[fingerprint] = lists.get(fingerprint, EditHistory()).changed(found)


def keep(opened: Opened, changed: EditHistory) -> None:
    """Let ``changed`` be the list, in the session and in the URL."""
    st.session_state.setdefault(_LISTS, {})[opened.model.fingerprint] = changed
    st.session_state[_OPEN] = opened.model.fingerprint
    st.session_state.pop(_PROBLEM, None)
    _write(changed.edits)


def _write(edits: Sequence[SlotEdit]) -> None:
    from inspector.analyses.edit_files import edits_to_url

    packed = edits_to_url(edits) or None
    st.session_state[_WRITTEN] = packed
    state.write(edits=packed)


def add(opened: Opened, *edits: SlotEdit) -> None:
    """Put edits at the end of the list."""
    keep(opened, history(opened).added(*edits))


def problem() -> str:
    """Why the edits of the URL could not be taken over; "" if they could."""
    return str(st.session_state.get(_PROBLEM, ""))


def in_url(edits: Sequence[SlotEdit]) -> bool:
    """Whether a link to this view holds the edits."""
    return not edits or st.session_state.get(_WRITTEN) is not None


def on(opened: Opened) -> EditsOn:
    """What acts in this session on the open checkpoint."""
    records = tuple(edit for edit in history(opened).edits if edit.on)
    if not records:
        return EditsOn()
    from inspector.analyses.edit_list import as_edits

    try:
        edits = as_edits(opened.model, records)
    except InspectorError as error:
        return EditsOn(records, problem=str(error))
    return EditsOn(records, Edited(_key(records), edits))


@lru_cache(maxsize=32)
def _key(records: tuple[SlotEdit, ...]) -> str:
    """Tells lists of edits apart."""
    from inspector.analyses.edit_files import edits_to_text

    return hashlib.sha256(edits_to_text(records).encode()).hexdigest()
