"""What fires on this text?"""

import streamlit as st

from inspector.errors import InspectorError
from inspector.ui import (
    edit_compare,
    edit_state,
    effects_card,
    frame,
    prompt,
    reads_view,
    slot_card,
    trace_view,
)

frame.guard("trace")
frame.page_title("Trace", "Which memory slots fire on each token, how strongly, and what they say.")
opened = frame.require()
edits = edit_state.on(opened)

with st.container(border=True):
    text, more = prompt.prompt_box(opened)
    try:
        view = trace_view.look(opened, text, more, edits.edited)
    except InspectorError as error:
        frame.problem("Nothing was traced.", error)
        st.stop()
    trace_view.strip(view)

if edits:
    with st.container(border=True):
        edit_compare.of_trace(view)
trace_view.headline(view)
predictions, effects = st.columns([2, 3])
with predictions.container(border=True, height="stretch"):
    trace_view.predictions(view)
with effects.container(border=True, height="stretch"):
    effects_card.show(view)

if not view.trace.sites:
    st.info("This checkpoint has no memory layers: there are no reads to show.")
    trace_view.downloads(view)
    st.stop()

site = reads_view.pick_site(view)
reads = reads_view.site_reads(view, site)
slot = trace_view.chosen_slot(view, site)
grid, card = st.columns([3, 2])
with grid.container(border=True, height="stretch"):
    reads_view.grid(view, reads, slot)
with card.container(border=True, height="stretch"):
    slot_card.show(view, reads, slot)
with st.container(border=True):
    reads_view.table(view, reads, slot)
trace_view.downloads(view)
