"""What a view is made of: the entries of the URL, named once.

A deep link holds everything that makes a view. The navigation drops all entries of the URL when it
changes the page, so within a session they are remembered and put back. An entry missing from a URL
that names a checkpoint was never there: Back and Forward in the browser lead to such URLs.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

CHECKPOINT = "checkpoint"
DEVICE = "device"
TOKENIZER = "tokenizer"  # its file, where the checkpoint doesn't bring one
ROUTING = "routing"  # of families where a token by itself is routed otherwise than in a full pass
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
MAP = "map"  # the site whose contributions the value map shows; value rows if there is none
COLOUR = "colour"  # of the points of the value map
SEARCH = "search"  # for tokens
HOW = "how"  # the search is meant: word, prefix, regex, or a text that is read
AREA = "area"  # selected on the value map
POINTS = "points"  # of the value map, at most
NEAR = "near"
MIN_DIST = "min_dist"
CLUSTERS = "clusters"
SEED = "seed"
TABLE = "table"
SINCE = "since"  # the snapshot that drift is measured from
SLOTS = "slots"  # sent to this page: their numbers, if they aren't too many for a URL
PINS = "pins"  # slots to compare: L1_5-L2_7
OTHER = "other"  # the checkpoint that this one is compared with
RUN = "run"  # the training that is watched: its folder
PHRASING = "phrasing"  # in which a sweep's models were asked
EDITS = "edits"  # the list of edits, packed; see ``edit_state``
RELATION = "relation"  # of the fact that is looked at
SUBJECT = "subject"
ROWS = "rows"  # facts that the user brought, packed
SET = "set"  # of facts: "mine" for the user's own, else the checkpoint's
GOOD_ROWS = "good_rows"  # whether the user said to leave out rows that can't be read
SCOPE = "scope"  # of an ablation: table, site, head, read
KIND = "kind"  # of an ablation: zero, mask
SECTION = "section"  # of the facts page
AMONG = "among"  # what core sets are held against: phrasings, relation, subject
ASKED = "asked"  # the phrasing whose token is selected
ANSWER = "answer"  # that the model is to give instead
FORGET = "forget"  # 1: the answer is to be forgotten
EDITED_TEXT = "edited_text"  # read by the model as it is and as edited
PAGE = "page"  # only while a first deep link is redirected through the frame

SELECTION = "selected slots"  # in the session: what was sent from the value map to other pages
_REMEMBERED = "url"
_MOST_IN_URL = 200


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


def select_slots(slots: Sequence[int]) -> None:
    """Hand slots to other pages: in the session, and in the URL where it has room for them."""
    st.session_state[SELECTION] = read(CHECKPOINT), tuple(int(slot) for slot in slots)
    listed = ",".join(str(int(slot)) for slot in slots) if len(slots) <= _MOST_IN_URL else None
    write(slots=listed or None)


def selected_slots() -> tuple[int, ...]:
    """The slots of this checkpoint handed over, by the URL or else in this session, if any."""
    listed = read(SLOTS)
    if listed is None:
        checkpoint, slots = st.session_state.get(SELECTION, (None, ()))
        return tuple(slots) if checkpoint == read(CHECKPOINT) else ()
    parts = (part for part in listed.split(",") if part.isascii() and part.isdigit())
    return tuple(int(part) for part in parts if len(part) < 19)  # no slot has a longer number
