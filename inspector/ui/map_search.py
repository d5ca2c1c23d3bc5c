"""Searching a map: which tokens are meant, and which slots promote them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from inspector.capture.visible_text import visible_text
from inspector.errors import InspectorError
from inspector.ui import state
from inspector.ui.cache import Opened
from inspector.ui.map_words import TOP

if TYPE_CHECKING:
    from inspector.analyses.token_search import How
    from inspector.ui.map_words import Words

_HOWS = {"word": "word", "prefix": "prefix", "regex": "regex"}
_NAMED = 12  # tokens that are listed


@dataclass(frozen=True, eq=False)
class Found:
    """Tokens that a search means, and the slots that promote them: ``rank [slot]``.

    The rank is the best one of any of the tokens among the ``top`` that a slot promotes most,
    from 0 on; ``top`` where none of them is. ``note`` says what was searched for, where that
    isn't what was typed.
    """

    tokens: tuple[str, ...]  # as they are shown
    rank: np.ndarray
    top: int
    note: str

    @property
    def hits(self) -> np.ndarray:
        """Which slots promote any of the tokens, ``[slot]`` bool."""
        return self.rank < self.top


def search_box(disabled: bool) -> None:
    """Where a search is typed; it lives in the URL."""
    text, how = st.columns([4, 3], vertical_alignment="bottom")
    st.session_state["map search"] = state.read(state.SEARCH) or ""
    text.text_input(
        "Search",
        key="map search",
        placeholder="a token, such as Paris",
        disabled=disabled,
        on_change=lambda: state.write(search=st.session_state["map search"].strip() or None),
        help="Values that promote such a token among their first few stay lit, all others turn "
        "grey. Capitals count. A word is found with and without the space before it; a regular "
        "expression (RE2) is looked for in each token's text, with the space before it.",
    )
    st.session_state["map how"] = _how()
    how.segmented_control(
        "Search for a",
        list(_HOWS),
        key="map how",
        required=True,
        format_func=_HOWS.__getitem__,
        disabled=disabled,
        label_visibility="collapsed",
        on_change=lambda: state.write(how=st.session_state["map how"]),
    )


def _how() -> How:
    how = state.read(state.HOW)
    return how if how in _HOWS else "word"  # type: ignore[return-value]


def find(opened: Opened, words: Words | None) -> Found | None:
    """What the view's search finds; None without one. A search that can't be read is told so."""
    query = state.read(state.SEARCH)
    if not query or words is None:
        return None
    try:
        return _found(opened.key, opened.model.fingerprint, query, _how(), words.how, opened, words)
    except InspectorError as error:
        st.text(str(error))
        return None


@st.cache_resource(max_entries=64, show_spinner=False)
def _found(
    key: tuple[str, str],
    fingerprint: str,
    query: str,
    how: How,
    decoded: str,
    _opened: Opened,
    _words: Words,
) -> Found:
    from inspector.analyses.token_search import matching_tokens, search_note

    tokens = matching_tokens(_opened.model, query, how)
    match = np.isin(_words.promoted[:, :TOP], tokens)
    rank = np.where(match.any(1), match.argmax(1), match.shape[1])
    texts = tuple(visible_text(text) for text in _words.tables[0].texts(tokens))
    note = search_note(_opened.model, query, how, tokens)
    return Found(texts, rank, match.shape[1], note)


def tell(found: Found | None, slots: np.ndarray) -> None:
    """How many of the slots on the map were found, and what was searched for; as plain text."""
    if found is None:
        return
    if found.note:
        st.text(found.note)
    if not found.tokens:
        return
    hits = int(found.hits[slots].sum())
    named = " ".join(found.tokens[:_NAMED])
    more = f" and {len(found.tokens) - _NAMED:,} more" if len(found.tokens) > _NAMED else ""
    noun = "token" if len(found.tokens) == 1 else f"of {len(found.tokens):,} tokens"
    st.text(
        f"{hits:,} of {len(slots):,} values have the {noun} {named}{more} "
        f"among the {found.top} that they promote most."
    )
