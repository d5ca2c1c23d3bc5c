"""What does this one slot hold, and when does it fire?"""

import streamlit as st

from inspector.ui import (
    edit_state,
    frame,
    slot_evidence,
    slot_export,
    slot_page,
    slot_passes,
    slot_pins,
    slot_sections,
    slot_try,
)

frame.guard("slot")
frame.page_title("Slot", "What does this one slot hold, and when does it fire?")
opened = frame.require()
if not opened.model.sites:
    st.info("This checkpoint has no memory layers: there are no slots to open.")
    st.stop()

if edit_state.on(opened):
    st.info(edit_state.NOT_HERE)
top = st.container(border=True)
above, body, below = st.container(), st.container(), st.container()
usage = slot_page.scan_of(opened, above, below)
with top:
    address = slot_page.bar(opened, usage)
if address is None:
    st.stop()

view = slot_page.look(opened, address, usage)
reads = None if usage is None else slot_passes.reads_pass(opened, usage)
study = slot_evidence.study(view, reads)
facts = slot_passes.facts_of(opened)
asked = slot_passes.facts_pass(opened, facts) if facts else None

with body:
    slot_page.headline(view, study)
    slot_page.figures(view)
    with st.container(border=True):
        slot_sections.decodings(view)
    left, right = st.columns([3, 2])
    with left.container(border=True, height="stretch"):
        slot_evidence.contexts(view)
    with right.container(border=True, height="stretch"):
        slot_evidence.triggers(view, reads, study)
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        slot_evidence.ablation(study)
    with right.container(border=True, height="stretch"):
        slot_evidence.facts(view, asked)
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        slot_sections.readers(view)
    with right.container(border=True, height="stretch"):
        slot_evidence.weights(study)
    with st.container(border=True):
        slot_try.show(view)
    left, right = st.columns([6, 5])
    with left.container(border=True, height="stretch"):
        slot_sections.half_keys(view)
    with right.container(border=True, height="stretch"):
        slot_sections.nearest(view)
    slot_pins.compare(view)
    slot_export.download(view, study, asked)
