"""Where does this fact live, and can I prove or edit it?"""

import streamlit as st

from inspector.errors import InspectorError
from inspector.ui import (
    facts_choice,
    facts_edit,
    facts_locate,
    facts_overlap,
    facts_proof,
    facts_recall,
    facts_rewrite,
    facts_source,
    facts_view,
    frame,
)

SECTIONS = {
    "Locate": facts_locate.show,
    "Prove": facts_proof.show,
    "Overlap": facts_overlap.show,
    "Edit": facts_edit.show,
    "Make it say": facts_rewrite.show,
}
RECALL = "Fact set"

frame.guard("facts")
frame.page_title("Facts", "Where does this fact live, and can I prove or edit it?")
opened = frame.require()

with st.container(border=True):
    source, ablation = st.columns([1, 2])
    with ablation:
        scope, kind = facts_view.scope_picker()
    with source:
        facts_source.pick_source(opened)
    facts = facts_source.fact_set(opened)
    fact = None if facts is None else facts_choice.chosen(facts)
if facts is None:
    st.stop()

section = facts_view.section_picker([*SECTIONS, RECALL])
if section == RECALL:
    facts_recall.show(opened, facts)
    facts_recall.prove_some(opened, facts, scope)
elif fact is not None:
    try:
        view = facts_view.look(opened, facts, fact, scope, kind)
    except InspectorError as error:
        frame.problem("This fact could not be asked.", error)
        st.stop()
    facts_view.headline(view)
    SECTIONS[section](view)
