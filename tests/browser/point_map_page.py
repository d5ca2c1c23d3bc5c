"""A page with a point map, for test_point_map.py; run by Streamlit, imported by nobody."""

import numpy as np
import streamlit as st

from inspector.ui.components import Colouring, MapLabel, MapPoints, Tips, point_map
from inspector.ui.components.point_map_data import format_area, parse_area, points_inside

MARKUP = "<img src=x onerror=\"document.title='broken into'\">"
SIDE = int(st.query_params.get("side", "20"))  # points lie on a square of so many a side

st.set_page_config(page_title="point map", layout="wide")
row, column = np.divmod(np.arange(SIDE * SIDE), SIDE)
points = MapPoints(np.arange(SIDE * SIDE), np.stack([column, -row], 1).astype(np.float32))
halves = np.where(column < SIDE / 2, 1, 2).astype(np.uint8)
by_half = Colouring("half", "categories", halves, categories=("left", MARKUP))
by_row = Colouring(
    "row",
    "ramp",
    (1 + row * 254 // SIDE).astype(np.uint8),
    row.astype(np.float32),
    ticks=((0, "0"),),
)
labels = [MapLabel(*points.units[0].tolist(), text=MARKUP, points=SIDE)]
st.toggle("rows", key="rows")
st.toggle("search", key="search")
area = parse_area(st.query_params.get("area"))
slot = point_map(
    points,
    by_row if st.session_state["rows"] else by_half,
    key="map",
    half_keys=SIDE,
    prefix="L1",
    lit=row == 3 if st.session_state["search"] else None,
    area=area,
    tips=Tips((np.arange(SIDE * SIDE) % 2)[:, None], [" Paris", MARKUP]),
    labels=labels,
    height=500,
    on_area=lambda drawn: st.query_params.update(area=format_area(drawn) or ""),
)
inside = int(points_inside(points.units, area).sum()) if area else 0
st.text(f"slot {slot}, {inside} in the area")
