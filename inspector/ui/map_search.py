"""Searching a map: which slots promote the tokens that are meant, or are read by a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import streamlit as st

from inspector.capture.visible_text import visible_text
from inspector.errors import InspectorError, SearchError
from inspector.ui import state
from inspector.ui.cache import Opened
from inspector.ui.map_words import TOP
from inspector.ui.text_slots import of_text

if TYPE_CHECKING:
    from inspector.analyses.token_search import How
    from inspector.capture.usage import Usage
    from inspector.ui.map_words import Words

_HOWS = {"word": "word", "prefix": "prefix", "regex": "regex", "text": "text"}
_NAMED = 12  # tokens that are listed


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found: ``rank [slot]``, from 0 on, and ``top`` for slots that it didn't find.

    For tokens the rank is the best one of any of them among the ``top`` that a slot promotes
    most. For a text it is that of TF-IDF among the slots that the text reads. ``what`` ends the
    sentence that counts the values found, and is empty where nothing could be looked for;
    ``note`` says what was searched for, where that isn't what was typed.
    """

    rank: np.ndarray
    top: int
    what: str
    note: str

    @property
    def hits(self) -> np.ndarray:
        """Which slots were found, ``[slot]`` bool."""
        return self.rank < self.top


def search_box(disabled: bool) -> None:
    """Where a search is typed; it lives in the URL."""
    text, how = st.columns([1, 1], vertical_alignment="bottom")
    st.session_state["map search"] = state.read(state.SEARCH) or ""
    text.text_input(
        "Search",
        key="map search",
        placeholder="a token, such as Paris; or a text",
        disabled=disabled,
        on_change=lambda: state.write(search=st.session_state["map search"].strip() or None),
        help="Values that promote such a token among their first few stay lit, all others turn "
        "grey. Capitals count. A word is found with and without the space before it; a regular "
        "expression (RE2) is looked for in each token's text, with the space before it. A text is "
        "run through the model, and the values that it reads stay lit, the most specific first.",
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


def _how() -> How | Literal["text"]:
    how = state.read(state.HOW)
    return how if how in _HOWS else "word"  # type: ignore[return-value]


def find(opened: Opened, words: Words | None, usage: Usage | None, table: int) -> Found | None:
    """What the view's search finds; None without one. A search that can't be read is told so."""
    query, how = state.read(state.SEARCH), _how()
    if not query:
        return None
    try:
        if how == "text":
            return _read_by(opened, query, usage, table)
        if words is None:
            return None
        asked = (query, how, words.how)
        return _promoting(opened.key, opened.model.fingerprint, *asked, opened, words)
    except InspectorError as error:
        st.text(str(error))
        return None


def _read_by(opened: Opened, text: str, usage: Usage | None, table: int) -> Found:
    """The slots that a text reads, those first that the scanned corpus reads least."""
    if usage is None or table not in usage.tables:
        raise SearchError(
            "Which of the values a text reads are specific to it is known after a scan: see Usage "
            "above."
        )
    found = of_text(opened, usage, text, table)
    slots = found.to_frame()["slot"].to_numpy()
    rank = np.full(len(found.reads), len(slots))
    rank[slots] = np.arange(len(slots))
    what = "are read by this text; in the table below, those come first that others read least."
    return Found(rank, len(slots), what, "")


@st.cache_resource(max_entries=64, show_spinner=False)
def _promoting(
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
    texts = [visible_text(text) for text in _words.tables[0].texts(tokens)]
    named = " ".join(texts[:_NAMED])
    more = f" and {len(texts) - _NAMED:,} more" if len(texts) > _NAMED else ""
    noun = "token" if len(texts) == 1 else f"of {len(texts):,} tokens"
    top = match.shape[1]
    what = f"have the {noun} {named}{more} among the {top} that they promote most."
    note = search_note(_opened.model, query, how, tokens)
    return Found(rank, top, what if texts else "", note)


def tell(found: Found | None, slots: np.ndarray) -> None:
    """How many of the slots on the map were found, and what was searched for; as plain text."""
    if found is None:
        return
    if found.note:
        st.text(found.note)
    if found.what:
        st.text(f"{int(found.hits[slots].sum()):,} of {len(slots):,} values {found.what}")
