"""What did I open, and can I trust it?"""

import streamlit as st

from inspector.ui import checkpoint_view, frame, routing_choice

frame.guard("checkpoint")
frame.page_title(
    "Checkpoint", "What is open, what it costs, and whether its figures can be trusted."
)
opened = frame.require()

checkpoint_view.headline(opened)
with st.container(border=True):
    checkpoint_view.first_fact(opened)
checkpoint_view.figures(opened)
routing_choice.show(opened)
left, right = st.columns(2)
with left.container(border=True, height="stretch"):
    checkpoint_view.self_check(opened)
with right.container(border=True, height="stretch"):
    checkpoint_view.parameters(opened)
if opened.model.sites:
    with st.container(border=True):
        checkpoint_view.sites(opened)
with st.container(border=True):
    checkpoint_view.provenance(opened)
