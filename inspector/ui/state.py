"""What a view is made of: the entries of the URL, named once.

A deep link holds everything that makes a view. The navigation drops all entries of the URL when it
changes the page, so within a session they are remembered and put back. An entry missing from a URL
that names a checkpoint was never there: Back and Forward in the browser lead to such URLs.
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
CORPUS = "corpus"
COLUMN = "column"
TOKENS = "tokens"  # of a scan, at most
VIEW = "view"  # of the lookup page: the model, or the tiny memory
STEP = "step"
HEAD = "head"
QUERY = "query"  # of the tiny memory
PAGE = "page"  # only while a first deep link is redirected through the frame

_REMEMBERED = "url"


def read(name: str) -> str | None:
    """The entry ``name`` of this view; None if it has none."""
    entries = st.query_params.to_dict()
    if CHECKPOINT in entries:
        st.session_state[_REMEMBERED] = entries
    elif _REMEMBERED in st.session_state:  # every view has one, so the navigation dropped it
        st.query_params.from_dict(st.session_state[_REMEMBERED] | entries)
    return st.query_params.get(name)


def read_number(name: str) -> int | None:
    """The entry ``name`` as a whole number; None if it isn't set or isn't one."""
    value = read(name)
    try:
        return int(value) if value is not None else None
    except ValueError:
        return None


def write(**entries: str | int | None) -> None:
    """Set entries of this view, in one step of the browser's history; None takes one out."""
    read(CHECKPOINT)  # a callback may be the first to see a URL that lost its entries
    before = st.query_params.to_dict()
    after = before | {name: str(value) for name, value in entries.items() if value is not None}
    after = {name: value for name, value in after.items() if entries.get(name, "") is not None}
    if after != before:
        st.query_params.from_dict(after)
    if CHECKPOINT in after:
        st.session_state[_REMEMBERED] = after
