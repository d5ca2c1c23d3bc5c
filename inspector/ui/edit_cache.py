"""What a text comes to with and without edits, kept between runs.

Keyed by the text and by all that the edits hold: sessions with the same edits share a result, and
others never see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from inspector.ui import cache
from inspector.ui.cache import Edited, Opened

if TYPE_CHECKING:
    from inspector.analyses.side_by_side import Continuations, SideBySide


def both(opened: Opened, text: str, more: int, edited: Edited) -> SideBySide:
    """Traces of ``text`` and what the edited model writes after it, as it is and as edited.

    Raises:
        PromptError: the text cannot be read.
    """
    return _both(opened.key, opened.model.fingerprint, text, more, edited.key, opened, edited)


@st.cache_resource(max_entries=48, show_spinner=False)
def _both(
    key: tuple[str, str],
    fingerprint: str,
    text: str,
    more: int,
    edits: str,
    _opened: Opened,
    _edited: Edited,
) -> SideBySide:
    from inspector.analyses.side_by_side import trace_both

    ids = cache.traced(_opened, text, more, _edited)[0].ids
    return trace_both(_opened.model, edits=_edited.edits, ids=ids)


def written(opened: Opened, text: str, edited: Edited, tokens: int) -> Continuations:
    """How each writes on after ``text``.

    Raises:
        PromptError: the text cannot be read.
    """
    return _written(opened.key, opened.model.fingerprint, text, tokens, edited.key, opened, edited)


@st.cache_resource(max_entries=96, show_spinner=False)
def _written(
    key: tuple[str, str],
    fingerprint: str,
    text: str,
    tokens: int,
    edits: str,
    _opened: Opened,
    _edited: Edited,
) -> Continuations:
    from inspector.analyses.side_by_side import continue_both

    return continue_both(_opened.model, text, _edited.edits, tokens)
