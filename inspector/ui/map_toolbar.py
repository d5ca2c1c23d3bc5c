"""What stands above the map: its colours, the search, and a slot at random."""

from __future__ import annotations

import numpy as np
import streamlit as st

from inspector.ui import map_measures, map_search, state
from inspector.ui.components import Colouring
from inspector.ui.map_view import MapView


def show(view: MapView) -> Colouring:
    """Colours, search and chance, above the map; gives the colours chosen."""
    colour, search, random = st.columns([4, 10, 2.6], vertical_alignment="bottom")
    with colour:
        colouring = map_measures.pick_colouring(view)
    with search:
        map_search.search_box(disabled=view.words is None and view.usage is None)
    random.button(
        "Random",
        icon="🎲",
        key="random slot",
        width="stretch",
        help="Select a slot at random, of those that are lit.",
        on_click=lambda: state.write(slot=_random(view)),
    )
    return colouring


def _random(view: MapView) -> int:
    """Any slot that is lit, or any at all if none is: chance is what the user asked for."""
    offered = view.map.slots[view.lit] if view.lit.any() else view.map.slots
    return int(np.random.default_rng().choice(offered))
