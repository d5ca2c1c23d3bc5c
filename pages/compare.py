"""What changed between two checkpoints?"""

import streamlit as st

from inspector.ui import compare_slots, compare_source, compare_view, frame

frame.guard("compare")
frame.page_title("Compare", "What two checkpoints say, know and use, and which slots differ.")
opened = frame.require()
pair = compare_source.choose(opened)
if pair is None:
    st.stop()

compare_view.limits(pair)
with st.container(border=True):
    compare_view.predictions(pair)
with st.container(border=True):
    compare_view.recall(pair)
with st.container(border=True):
    usages = compare_view.usage(pair)
with st.container(border=True):
    compare_slots.show(pair, usages)
