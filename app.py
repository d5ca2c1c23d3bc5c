"""The frame: page configuration, navigation, checkpoint and device. Start it with

streamlit run app.py
"""

import streamlit as st

from inspector.ui import frame

st.set_page_config(
    page_title="Memory Layer Inspector", page_icon="🗝️", layout="wide", initial_sidebar_state=250
)

SECTIONS = {
    "Inspect": {
        "checkpoint": st.Page("pages/checkpoint.py", title="Checkpoint", icon="🗂️", default=True),
        "trace": st.Page("pages/trace.py", title="Trace", icon="🔎"),
        "usage": st.Page("pages/usage.py", title="Usage", icon="📊"),
        "value_map": st.Page("pages/value_map.py", title="Value map", icon="🗺️"),
        "slot": st.Page("pages/slot.py", title="Slot", icon="🎯"),
        "facts": st.Page("pages/facts.py", title="Facts", icon="🧭"),
    },
    "Compare": {
        "compare": st.Page("pages/compare.py", title="Compare", icon="⚖️"),
        "training": st.Page("pages/training.py", title="Training", icon="📈"),
    },
    "Teach": {
        "lookup": st.Page("pages/lookup.py", title="Lookup", icon="🎓"),
    },
}
page = st.navigation({title: list(pages.values()) for title, pages in SECTIONS.items()})
frame.redirect({name: page for pages in SECTIONS.values() for name, page in pages.items()})
frame.sidebar()
page.run()
