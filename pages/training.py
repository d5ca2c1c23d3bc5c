"""What does memory buy, and how does usage grow during training?"""

import streamlit as st

from inspector.ui import frame, training_view, training_watch

frame.guard("training")
frame.page_title(
    "Training", "What memory buys at equal steps, and how its use grows while a model trains."
)
with st.container(horizontal=True, horizontal_alignment="distribute"):
    view = training_view.choose()
    phrasing = training_view.phrasing() if view == training_view.BUYS else "seen"
if view == training_view.BUYS:
    training_view.sweep(phrasing)
else:
    training_watch.show()
