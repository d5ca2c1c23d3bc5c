"""Which keys are used, which are dead, and why?"""

import streamlit as st

from inspector.ui import dead_view, frame, scans, text_slots, usage_view

frame.guard("usage")
frame.page_title("Usage", "Which keys are used, which are dead, and on what evidence.")
opened = frame.require()
if not opened.model.sites:
    st.info("This checkpoint has no memory layers: there is no usage to scan.")
    st.stop()

with st.container(border=True):
    scan = scans.control(opened)
if scan is None:
    st.stop()

report = usage_view.look(opened, scan)
usage_view.headline(report)
heat, curve = st.columns([3, 2])
with heat.container(border=True, height="stretch"):
    usage_view.heat_map(report)
with curve.container(border=True, height="stretch"):
    usage_view.curves(report)
with st.container(border=True):
    usage_view.comparison(report)
with st.container(border=True):
    text_slots.show(report)
with st.container(border=True):
    dead_view.show(report)
