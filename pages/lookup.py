"""How does one lookup work?"""

import streamlit as st

from inspector.errors import InspectorError
from inspector.ui import frame, lookup_stage, lookup_view

frame.guard("lookup")
opened = frame.require()
try:
    stage = lookup_stage.choose(opened)
except InspectorError as error:
    frame.problem("There is no lookup to show.", error)
    st.stop()
if stage is None:
    st.info("This checkpoint has no memory layers. Choose 4 × 4 at the left.")
    st.stop()
lookup_view.show(stage)
