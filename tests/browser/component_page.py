"""A page with every component, for test_components.py; run by Streamlit, imported by nobody."""

import streamlit as st

from inspector.ui.components import (
    GridRead,
    ReadRow,
    key_grid,
    prediction_bars,
    read_table,
    token_chips,
    token_strip,
)

MARKUP = " <img src=x onerror=\"document.title='broken into'\">"
TOKENS = ["The", " tower", "\n", "\tin", MARKUP, " Paris", "\x00", "."]
N = 16
READS = [
    GridRead(slot=2 * N + 12, weight=0.6, group=0, label="L4·H0·(2,12)\nweight 0.6"),
    GridRead(slot=2 * N + 3, weight=0.3, group=1, label="L4·H1·(2,3)\nweight 0.3"),
    GridRead(slot=13 * N + 3, weight=0.1, group=1, label=f"L4·H1·(13,3)\n{MARKUP}"),
]
ROWS = [
    ReadRow("L4·H0·(2,12)", "L4", 0, 44, weight=0.2, effect=-0.5, promoted=((" Paris", 2.0),)),
    ReadRow("L4·H1·(2,3)", "L4", 1, 35, weight=0.7, effect=0.25, promoted=((MARKUP, 1.0),)),
    ReadRow("L4·H1·(13,3)", "L4", 1, 211, weight=0.1, effect=None, suppressed=((" Lyon", -1.0),)),
]

st.set_page_config(page_title="components", layout="wide")
state = st.session_state
st.button("jump", on_click=lambda: state.update(token=2, slot=N * N - 1, row=2))
st.button("nothing")
many = st.query_params.get("tokens")
tokens = [f" t{index}" for index in range(int(many))] if many else TOKENS
size = len(tokens)
token = token_strip(
    tokens,
    [index / (size - 1) for index in range(size)],
    [f"tip of {index}\n{text}" for index, text in enumerate(tokens)],
    key="strip",
    selected=state.get("token", 0),
    prompt_length=size - 2,
)
slot = key_grid(
    READS,
    key="grid",
    n=N,
    selected_slot=state.get("slot"),
    background=bytes(index % 256 for index in range(N * N)),
)
row = read_table(ROWS, key="rows", selected=state.get("row"))
prediction_bars([(" Paris", 0.625), (MARKUP, 0.125), ("\n", 0.0001)], key="bars")
token_chips([(" Paris", 2.0)], [(" Lyon", -1.0)], key="chips")
st.text(f"token {token}, slot {slot}, row {row}")
