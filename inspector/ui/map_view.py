"""What the value map page shows: one sentence, the map with its colours, and what is lit on it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from inspector.ui import map_search, state
from inspector.ui.cache import Opened
from inspector.ui.components import Colouring, MapLabel, MapPoints, Tips, point_map, sentence
from inspector.ui.components.point_map_data import (
    Area,
    format_area,
    parse_area,
    points_inside,
)

if TYPE_CHECKING:
    from inspector.analyses.value_map_record import ValueMap
    from inspector.capture.usage import Usage
    from inspector.families.base import SiteInfo
    from inspector.ui.map_words import Words

_MARKED = 8  # nearest values that get a ring


@dataclass(frozen=True, eq=False)
class MapView:
    """A map with all that colours, lights and explains its points."""

    opened: Opened
    map: ValueMap
    usage: Usage | None
    words: Words | None
    measures: pd.DataFrame  # row i is slot i
    found: map_search.Found | None

    @property
    def info(self) -> SiteInfo:
        """The site shown, or the first that reads the value rows."""
        names = self.opened.model.sites_of(self.map.table)
        return self.opened.model.site(self.map.site or names[0]).info

    @cached_property
    def points(self) -> MapPoints:
        """Where the slots lie."""
        return _points(self.map)

    @cached_property
    def identity(self) -> str:
        """Tells this map's areas from those of other maps, in a URL."""
        return hashlib.blake2b(self.points.packed, digest_size=3).hexdigest()

    @cached_property
    def area(self) -> Area:
        """The area selected, if it's one of this map."""
        text = state.read(state.AREA) or ""
        own, _, corners = text.partition(":")
        return parse_area(corners) if own == self.identity else ()

    def set_area(self, area: Area) -> None:
        """Put an area into the URL; the empty one takes it out."""
        corners = format_area(area)
        state.write(area=f"{self.identity}:{corners}" if corners else None)

    @cached_property
    def searched(self) -> np.ndarray | None:
        """Which points a search found, ``[point]`` bool; None without one."""
        return None if self.found is None else self.found.hits[self.map.slots]

    @cached_property
    def lit(self) -> np.ndarray:
        """Which points a search found and the area holds, ``[point]`` bool."""
        lit = np.ones(len(self.map.slots), dtype=bool)
        if self.searched is not None:
            lit &= self.searched
        if self.area:
            lit &= points_inside(self.points.units, self.area)
        return lit

    def address(self, slot: int) -> str:
        """What the page calls a slot: with its site, or by its half-keys alone for value rows."""
        i, j = self.info.pair(slot)
        return f"{self.map.site}·({i},{j})" if self.map.site else f"({i},{j})"

    def nearest(self, slot: int | None) -> tuple[np.ndarray, np.ndarray]:
        """The values nearest to that of a slot, and how far they are; empty if it's not shown."""
        point = self.points.of_slot(slot)
        if point is None:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        return self.map.neighbours[point], self.map.distances[point]


@st.cache_resource(max_entries=16, show_spinner=False)
def _kept_points(digest: str, _map: ValueMap) -> MapPoints:
    return MapPoints(_map.slots, _map.xy)


def _points(value_map: ValueMap) -> MapPoints:
    """The same object on every run, so that its bytes are made once."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (value_map.slots, value_map.xy):
        digest.update(np.ascontiguousarray(part).data)
    return _kept_points(digest.hexdigest(), value_map)


def headline(view: MapView, made: ValueMap) -> None:
    """How the values lie, in one sentence; then how far the map can be trusted.

    ``made`` is the map before slots were placed on it: those were put into their neighbours'
    groups, so that they tell nothing about how far neighbours share one.
    """
    drawn = view.map
    sizes = np.bincount(drawn.clusters[drawn.clusters >= 0], minlength=len(drawn.cluster_names))
    by = "by their rows" if drawn.site is None else f"by what they write at {drawn.site}"
    how = "K-means" if drawn.settings.clusters == "kmeans" else "HDBSCAN"
    own, chance = shared_neighbours(made)
    parts: list[str | tuple[str, str]] = [
        f"{how} parts this map of {len(drawn.slots):,} values, {by}, into ",
        (f"{len(sizes):,} groups", "strong"),
        ". Of a value's nearest neighbours ",
        (f"{own:.0%} are in its group", "strong"),
        f" ({chance:.0%} would by chance)",
    ]
    if len(sizes):
        largest = int(sizes.argmax())
        parts += [f"; the largest, {sizes[largest]:,} values, says ", _quoted(view, largest)]
    sentence([*parts, "."], key="map headline")
    _trust(view)


def _quoted(view: MapView, cluster: int) -> tuple[str, str]:
    return view.map.cluster_names[cluster], "quote"


def shared_neighbours(value_map: ValueMap) -> tuple[float, float]:
    """How many nearest neighbours are of a point's own cluster, and how many would be by chance.

    Shares of 1, over the points that are in a cluster; chance is that of a random other point.
    """
    clusters = value_map.clusters
    inside = np.flatnonzero(clusters >= 0)
    if not len(inside) or not value_map.neighbours.shape[1] or len(clusters) < 2:
        return 0.0, 0.0
    near = np.searchsorted(value_map.slots, value_map.neighbours[inside])
    own = (clusters[near] == clusters[inside, None]).mean()
    sizes = np.bincount(clusters[inside])
    chance = (sizes * (sizes - 1)).sum() / (len(inside) * (len(clusters) - 1))
    return float(own), float(chance)


def _trust(view: MapView) -> None:
    drawn = view.map
    words = "" if view.words is None else f" · decoded {view.words.how}"
    st.caption(
        f"Trustworthiness {drawn.trustworthiness:.3f} at {drawn.trust_k} neighbours: "
        f"{trust_in_words(drawn.trustworthiness)} · neighbours {drawn.graph}{words}",
        help="How far what is close on the map is close in truth: 1 if no point has a false "
        "neighbour, about 0.5 if the picture were drawn by chance. Taken on up to 2,000 points "
        "drawn at random, against all on the map. Distances between far groups mean little.",
    )
    if drawn.sampled:
        st.caption(f"🎲 Sampled: {drawn.sampled}")
    for note in drawn.notes:
        st.caption(note)


def trust_in_words(trustworthiness: float) -> str:
    """What a map of such trustworthiness is good for: chance is about 0.5, perfect 1."""
    if not np.isfinite(trustworthiness):
        return "too few points to tell"
    if trustworthiness >= 0.9:
        return "what is close here is close in truth"
    if trustworthiness >= 0.75:
        return "a rough picture of what is close"
    if trustworthiness >= 0.6:
        return "a faint picture; trust the lists of nearest values instead"
    return "hardly better than chance; trust the lists of nearest values instead"


def picture(view: MapView, colouring: Colouring) -> None:
    """The map, and what a search found on it."""
    with st.container():  # there without a search too: the map below must not move
        map_search.tell(view.found, view.map.slots)
    selected = state.read_number(state.SLOT)
    point_map(
        view.points,
        colouring,
        key="value map",
        half_keys=view.info.half_keys,
        prefix=view.map.site or "",
        selected_slot=selected,
        marked_slots=view.nearest(selected)[0][:_MARKED].tolist(),
        lit=view.searched,
        area=view.area,
        tips=_tips(view),
        labels=labels(view.map, view.points),
        height=640,
        on_select=lambda slot: state.write(slot=slot),
        on_area=view.set_area,
    )


def _tips(view: MapView) -> Tips | None:
    return None if view.words is None else view.words.tips(view.map.slots)


def labels(value_map: ValueMap, points: MapPoints) -> list[MapLabel]:
    """The names of clusters, each at the member nearest to the median of its points."""
    found = []
    for number, name in enumerate(value_map.cluster_names):
        members = points.units[value_map.clusters == number].astype(np.int64)
        if not len(members):
            continue
        middle = np.median(members, axis=0)
        x, y = members[np.abs(members - middle).sum(1).argmin()].tolist()
        found.append(MapLabel(x, y, name, len(members)))
    return found
