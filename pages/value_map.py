"""How do the values lie?"""

import streamlit as st

from inspector.ui import (
    edit_state,
    frame,
    map_card,
    map_controls,
    map_job,
    map_measures,
    map_search,
    map_table,
    map_toolbar,
    map_view,
)

frame.guard("value_map")
frame.page_title("Value map", "How the values lie: alike ones close together, groups by name.")
opened = frame.require()
if not opened.model.sites:
    st.info("This checkpoint has no memory layers: there are no values to map.")
    st.stop()

with st.container():  # there without edits too: the map below must not move
    if edit_state.on(opened):
        st.info(edit_state.NOT_HERE)
with st.container(border=True):
    asked, usage, tools = map_controls.controls(opened)
drawn = map_job.drawn_map(opened, asked, usage)
if drawn is None:
    st.stop()
made, drawn = drawn, map_job.with_rest(opened, asked, usage, drawn)

said = st.container()
with st.container():  # there without progress too: the map below must not move
    words = map_job.found_words(opened, asked)
found = map_search.find(opened, words, usage, asked.table)
measures = map_measures.measured(opened, asked.table, usage, words)
view = map_view.MapView(opened, drawn, usage, words, measures, found)
with said:
    map_view.headline(view, made)
    map_job.rest_control(opened, asked, usage, made)
with tools:
    colouring = map_toolbar.show(view)
picture, card = st.columns([5, 3])
with picture.container(border=True, height="stretch"):
    map_view.picture(view, colouring)
with card.container(border=True, height="stretch"):
    map_card.show(view)
with st.container(border=True):
    map_table.show(view)
