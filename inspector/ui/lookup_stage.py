"""Which lookup the teaching page walks through: one of the open model, or the tiny memory's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from inspector.ui import cache, prompt, state
from inspector.ui.cache import Opened
from inspector.ui.components import visible_text

if TYPE_CHECKING:
    from inspector.analyses.lookup_effect import LookupEffect
    from inspector.analyses.lookup_walk import LookupWalk
    from inspector.capture.trace import Trace
    from inspector.families.base import SiteInfo

MODEL, TINY = "model", "tiny"
_NAMES = {MODEL: "This model", TINY: "4 × 4"}
_QUERY = (3, 1, 2, 0)  # see ``tiny_memory.QUERY``


@dataclass(frozen=True, eq=False)
class Stage:
    """One lookup on show. ``effect`` is None for the tiny memory, whose values are its logits."""

    walk: LookupWalk
    effect: LookupEffect | None
    opened: Opened | None
    text: str
    token: str  # whose lookup it is
    site: str
    head: int
    heads: int
    d_key: int

    @property
    def tiny(self) -> bool:
        """Whether it is the memory that one can check by hand."""
        return self.effect is None

    @property
    def info(self) -> SiteInfo | None:
        """How the site differs from others; None of the tiny memory, which is plain."""
        return self.opened.model.site(self.site).info if self.opened and not self.tiny else None

    def address(self, slot: int) -> str:
        """``(i, j)`` of a slot, as the figures label it."""
        i, j = divmod(slot, self.walk.n)
        return f"({i}, {j})"


def choose(opened: Opened) -> Stage | None:
    """The pickers in the sidebar, and the lookup they choose; None if the model has no memory."""
    key = "lookup view"
    asked = state.read(state.VIEW)
    st.session_state[key] = asked if asked in _NAMES else MODEL
    with st.sidebar.container(border=True):
        chosen = st.segmented_control(
            "Lookup in",
            list(_NAMES),
            key=key,
            format_func=lambda name: _NAMES[name],
            required=True,
            on_change=lambda: state.write(view=st.session_state[key]),
            help="A lookup of the open model with its real numbers, or one in a memory so small "
            "that every number can be checked by hand.",
        )
        return tiny_stage() if chosen == TINY else _of_model(opened)


def tiny_stage() -> Stage:
    """The lookup in the tiny memory, whose query the user sets."""
    from inspector.analyses.tiny_memory import COUNTRIES, RELATIONS, walk_tiny

    query = _query()
    st.caption("The query's four numbers: an arrow for what is asked, and one for whom.")
    axes = (
        f"{RELATIONS[0]} ↔ {RELATIONS[2]}",
        f"{RELATIONS[1]} ↔ {RELATIONS[3]}",
        f"{COUNTRIES[0]} ↔ {COUNTRIES[2]}",
        f"{COUNTRIES[1]} ↔ {COUNTRIES[3]}",
    )
    keys = [f"tiny query {number}" for number in range(4)]

    def write() -> None:
        state.write(query=",".join(str(st.session_state[key]) for key in keys))

    for key, axis, number in zip(keys, axes, query, strict=True):
        st.session_state[key] = number
        st.slider(axis, -3, 3, key=key, on_change=write)
    walk = walk_tiny(query)
    return Stage(walk, None, None, "", "", "the tiny memory", 0, 1, 4)


def _query() -> tuple[int, int, int, int]:
    """The query in the URL, four whole numbers from -3 to 3; else the one that is shown first."""
    try:
        a, b, c, d = (int(number) for number in (state.read(state.QUERY) or "").split(","))
    except ValueError:
        return _QUERY
    return (a, b, c, d) if all(-3 <= x <= 3 for x in (a, b, c, d)) else _QUERY


def _of_model(opened: Opened) -> Stage | None:
    if not opened.model.sites:
        return None
    text = _text()
    trace, _ = cache.traced(opened, text)
    pos = _token(trace)
    site = _site(trace, list(trace.sites))
    head = _head(trace.sites[site].heads)
    walk, effect = walked(opened, text, pos, site, head)
    info = trace.sites[site]
    token = trace.tokens[pos]
    return Stage(walk, effect, opened, text, token, site, head, info.heads, info.d_key)


def _text() -> str:
    key = "lookup text"
    st.session_state[key] = state.read(state.TEXT) or prompt.DEFAULT
    st.text_input(
        "Text",
        key=key,
        on_change=lambda: state.write(text=st.session_state[key], more=None, pos=None),
    )
    return str(st.session_state[key])


def _token(trace: Trace) -> int:
    key, last = "lookup token", len(trace.tokens) - 1
    asked = state.read_number(state.POS)
    st.session_state[key] = last if asked is None else min(max(asked, 0), last)
    st.selectbox(
        "Token whose lookup it is",
        range(last + 1),
        key=key,
        format_func=lambda pos: f"{pos}  {visible_text(trace.tokens[pos])}",
        on_change=lambda: state.write(pos=st.session_state[key]),
    )
    return int(st.session_state[key])


def _site(trace: Trace, names: list[str]) -> str:
    key, asked = "lookup site", state.read(state.SITE)
    st.session_state[key] = asked if asked in names else names[-1]
    st.segmented_control(
        "Memory layer",
        names,
        key=key,
        required=True,
        on_change=lambda: state.write(site=st.session_state[key]),
    )
    return str(st.session_state[key])


def _head(heads: int) -> int:
    key, asked = "lookup head", state.read_number(state.HEAD)
    st.session_state[key] = asked if asked is not None and 0 <= asked < heads else 0
    st.segmented_control(
        "Head",
        list(range(heads)),
        key=key,
        required=True,
        on_change=lambda: state.write(head=st.session_state[key]),
        help="Every head has a query and half-keys of its own, and all read the same table.",
    )
    return int(st.session_state[key])


def walked(
    opened: Opened, text: str, pos: int, site: str, head: int
) -> tuple[LookupWalk, LookupEffect]:
    """The steps of one lookup, and what it comes to."""
    fingerprint = opened.model.fingerprint
    return _walked(opened.key, fingerprint, text, pos, site, head, opened)


@st.cache_resource(max_entries=64, show_spinner=False)
def _walked(
    key: tuple[str, str],
    fingerprint: str,
    text: str,
    pos: int,
    site: str,
    head: int,
    _opened: Opened,
) -> tuple[LookupWalk, LookupEffect]:
    from inspector.analyses.lookup_effect import lookup_effect
    from inspector.analyses.lookup_walk import walk_trace

    trace, _ = cache.traced(_opened, text)
    model = _opened.model
    return walk_trace(model, trace, site, pos, head), lookup_effect(model, trace, site, pos, head)
