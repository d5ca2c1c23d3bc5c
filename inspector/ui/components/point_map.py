"""A map of slots: points to pan, zoom, hover, click and select by box or lasso."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import streamlit as st

from inspector.ui.components.assets import register
from inspector.ui.components.point_map_data import (
    Area,
    Colouring,
    MapLabel,
    MapPoints,
    Tips,
    check_area,
    packed_part,
)
from inspector.ui.components.selection import (
    OnSelect,
    click_callback,
    current_selection,
    subject_of,
)

_PARTS = ("points", "colours", "lit", "tips")
OnArea = Callable[[Area], None]

_MAP = register(
    "point_map",
    "tooltip",
    "selection",
    "theme",
    "point_map_colors",
    "point_map_index",
    "point_map_view",
    "point_map_gl",
    "point_map_density",
    "point_map_overlay",
    "point_map_legend",
    "point_map_parts",
    "point_map_events",
    "point_map_keys",
)
_STORE = register("point_map_store")


def point_map(  # noqa: PLR0913  each is one thing the map can show
    points: MapPoints,
    colouring: Colouring,
    *,
    key: str,
    half_keys: int,
    prefix: str = "",
    selected_slot: int | None = None,
    marked_slots: Sequence[int] = (),
    lit: np.ndarray | None = None,
    area: Area = (),
    tips: Tips | None = None,
    labels: Sequence[MapLabel] = (),
    height: int = 560,
    on_select: OnSelect | None = None,
    on_area: OnArea | None = None,
) -> int | None:
    """Show slots as points and return the selected slot, if any.

    Colours come from ``colouring``. Points that aren't ``lit [point]`` (bool), or lie outside the
    ``area``, turn grey and stay. The selected slot has a ring, ``marked_slots`` have thin ones.
    Hovering tells a point's address (``prefix`` before its half-keys), tokens and value. Up to
    50,000 points in view are drawn one by one, more as a density picture in the mean colour of
    what lies there. Places, colours, light and tips travel apart, each only when it changes.

    The wheel zooms, dragging moves, a box or a lasso selects an area (Shift and drag draws a box);
    ``0`` or a double click shows everything. Arrow keys move to the next point, page keys through
    the lit ones, Enter selects. ``on_area`` is told of a new area, the empty one when it's taken
    back; the page passes it in again as ``area``. ``selected_slot`` wins over earlier clicks when
    it differs from the last run's, or when the map does.

    Raises ValueError for parts that disagree in length.
    """
    _check(points, colouring, lit, tips)
    count = half_keys**2
    parts = _parts(key, points, colouring, lit, tips)
    subject = subject_of([key, parts["points"][0]])
    asked = selected_slot if points.of_slot(selected_slot) is not None else None
    chosen = current_selection(key, asked, subject, count)
    with st.container(gap=None):  # the map first: it must not move when parts come and go
        _MAP(
            key=key,
            data={
                "map": key,
                "parts": {name: parts[name][0] if name in parts else None for name in _PARTS},
                "points": len(points.slots),
                "half_keys": half_keys,
                "prefix": prefix,
                "colouring": _plain_colouring(colouring),
                "labels": [asdict(label) for label in labels],
                "area": [list(corner) for corner in area],
                "area_nonce": _area_nonce(key),
                "marked": [int(slot) for slot in marked_slots],
                "height": height,
                "selected": chosen.value,
                "subject": subject,
                "nonce": chosen.nonce,
            },
            on_pick_change=click_callback(key, count, on_select),
            on_area_change=_area_callback(key, subject, on_area),
        )
        for name, (_, message) in parts.items():
            _STORE(key=f"{key}/{name}", data=message)
    return chosen.value


def _parts(
    key: str,
    points: MapPoints,
    colouring: Colouring,
    lit: np.ndarray | None,
    tips: Tips | None,
) -> dict[str, tuple[str, bytes]]:
    """The digest and the message of each part: they travel in messages of their own."""
    parts = {
        "points": packed_part(key, "points", points.packed, count=len(points.slots)),
        "colours": packed_part(
            key, "colours", colouring.packed, values=colouring.values is not None
        ),
    }
    if lit is not None:
        bits = np.packbits(lit, bitorder="little").tobytes()
        parts["lit"] = packed_part(key, "lit", bits)
    if tips is not None:
        more = {"top": tips.tokens.shape[1], "vocabulary": tips.texts}
        parts["tips"] = packed_part(key, "tips", tips.packed, **more)
    return parts


def _plain_colouring(colouring: Colouring) -> dict[str, object]:
    return {
        "name": colouring.name,
        "kind": colouring.kind,
        "categories": list(colouring.categories),
        "ticks": [[float(place), text] for place, text in colouring.ticks],
        "none": colouring.none,
    }


def _drawn_area(key: str) -> Mapping[str, object]:
    """What the browser last sent as an area."""
    state = st.session_state.get(key)
    drawn = state.get("area") if isinstance(state, Mapping) else None
    return drawn if isinstance(drawn, Mapping) else {}


def _area_nonce(key: str) -> object:
    """The number of the last area drawn, so that the browser knows it has been heeded."""
    return _drawn_area(key).get("nonce", 0)


def _area_callback(key: str, subject: str, on_area: OnArea | None) -> Callable[[], None]:
    """What Streamlit calls before the run that follows a new area."""

    def announce() -> None:
        drawn = _drawn_area(key)
        if on_area is not None and drawn.get("subject") == subject:
            on_area(check_area(drawn.get("corners")))

    return announce


def _check(
    points: MapPoints, colouring: Colouring, lit: np.ndarray | None, tips: Tips | None
) -> None:
    parts = {"colours": len(colouring.levels)}
    if colouring.values is not None:
        parts["values"] = len(colouring.values)
    if lit is not None:
        parts["lit"] = len(lit)
    if tips is not None:
        parts["tips"] = len(tips.tokens)
    for name, length in parts.items():
        if length != len(points.slots):
            raise ValueError(f"{len(points.slots):,} points have {length:,} {name}.")
