"""What a view is made of: the entries of the URL, named once.

A deep link holds everything that makes a view. Within a session an entry that the URL lost (the
navigation drops them) is remembered and put back.
"""

from __future__ import annotations

import streamlit as st

CHECKPOINT = "checkpoint"
DEVICE = "device"
TEXT = "text"
MORE = "more"  # tokens generated after the text
POS = "pos"
SITE = "site"
SLOT = "slot"
TOKEN = "token"  # whose logit is explained
AGAINST = "against"  # the token it is contrasted with, or "mean"
MEASURE = "measure"
PAGE = "page"  # only while a first deep link is redirected through the frame

_REMEMBERED = "url:"


def read(name: str) -> str | None:
    """The entry ``name`` of this view; None if nobody ever set it."""
    value = st.query_params.get(name)
    if value is None:
        value = st.session_state.get(_REMEMBERED + name)
        if value is not None:
            st.query_params[name] = value
    else:
        st.session_state[_REMEMBERED + name] = value
    return value


def read_number(name: str) -> int | None:
    """The entry ``name`` as a whole number; None if it isn't set or isn't one."""
    value = read(name)
    try:
        return int(value) if value is not None else None
    except ValueError:
        return None


def write(**entries: str | int | None) -> None:
    """Set entries of this view; None takes one out."""
    for name, value in entries.items():
        if value is None:
            st.session_state.pop(_REMEMBERED + name, None)
            st.query_params.pop(name, None)
        else:
            st.session_state[_REMEMBERED + name] = str(value)
            st.query_params[name] = str(value)
