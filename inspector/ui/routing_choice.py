"""Which of two routings is shown, where a full pass routes otherwise than a token by itself."""

from __future__ import annotations

import streamlit as st

from inspector.ui import state
from inspector.ui.cache import Opened

_KEY = "routing choice"
_NAMES = {"token": "Token by token, as it writes", "full": "One full pass over the text"}


def show(opened: Opened) -> None:
    """The choice for checkpoints of Doge; nothing for others."""
    if opened.model.provenance.family != "doge" or not opened.model.sites:
        return
    chosen = state.read(state.ROUTING)
    st.session_state[_KEY] = chosen if chosen in _NAMES else "token"

    def pick() -> None:
        state.write(routing=st.session_state[_KEY], pos=None, slot=None, token=None)

    with st.container(border=True):
        st.segmented_control(
            "Routing",
            list(_NAMES),
            key=_KEY,
            format_func=_NAMES.__getitem__,
            required=True,
            on_change=pick,
            help="In a full pass of Doge the tokens of a text choose each other's slots, so a "
            "token's reads depend on what follows it. When it writes, each token is by itself. "
            "The two give other reads and other logits.",
        )
        st.caption(opened.model.provenance.notes[0])
