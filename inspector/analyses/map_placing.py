"""Placing slots on a map that was made without them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from inspector.analyses.gates import mean_gates
from inspector.analyses.map_layout import lay_beside
from inspector.analyses.map_progress import Report, Watched
from inspector.analyses.neighbours import prepared, search
from inspector.analyses.slot_vectors import check_slots, slot_vectors
from inspector.analyses.value_map_record import ValueMap
from inspector.errors import SlotError
from inspector.families.base import MemoryModel

_BLOCK = 4_096


@dataclass(frozen=True, eq=False)
class PlacedSlots:
    """Slots placed on a map afterwards, each among its nearest neighbours there.

    A slot of which nothing on the map says anything (NaN in its value) is at NaN.
    """

    slots: np.ndarray  # [slot] int64, as asked
    xy: np.ndarray  # [slot 2] float32
    neighbours: np.ndarray  # [slot near] int64 slot numbers on the map, nearest first
    distances: np.ndarray  # [slot near] float32, as on the map

    def __post_init__(self) -> None:
        """Refuse parts that disagree."""
        if any(len(part) != len(self.slots) for part in (self.xy, self.neighbours, self.distances)):
            raise ValueError("placed slots have parts of other lengths")

    def to_frame(self) -> pd.DataFrame:
        """One row for each slot placed."""
        return pd.DataFrame({"slot": self.slots, "x": self.xy[:, 0], "y": self.xy[:, 1]})


def place(
    value_map: ValueMap,
    model: MemoryModel,
    slots: np.ndarray | None = None,
    *,
    report: Report | None = None,
    cancel: Callable[[], bool] | None = None,
) -> PlacedSlots:
    """Place ``slots [slot]``, by default all that are not on the map; the map itself stays.

    The nearest neighbours on the map are found exactly, then UMAP's transform is made.

    Raises:
        SlotError: the map is of another checkpoint, or has no such slot.
        Cancelled: it was stopped.
    """
    if value_map.fingerprint != model.fingerprint:
        raise SlotError(f"The map is of another checkpoint than {model.name}: make one of this.")
    settings, gates = value_map.settings, mean_gates(model)
    if slots is None:
        slots = np.setdiff1d(np.arange(value_map.total), value_map.slots)
    slots = np.asarray(slots, dtype=np.int64)
    check_slots(model, settings.table, slots)
    watched = Watched(report, cancel)
    tell = watched.stage("reading the map's values", 0.0, 0.1)
    source = (model, settings.table, settings.site)
    mapped = slot_vectors(*source, value_map.slots, gates=gates, tell=tell)
    rows = prepared(mapped, settings.metric)
    near = min(settings.near, len(rows))
    indices = np.zeros((len(slots), near), dtype=np.int64)
    distances = np.full((len(slots), near), np.nan, dtype=np.float32)
    tell = watched.stage("finding neighbours on the map", 0.1, 0.6)
    for start in range(0, len(slots), _BLOCK):
        part = np.arange(start, min(start + _BLOCK, len(slots)))
        queries = prepared(slot_vectors(*source, slots[part], gates=gates), settings.metric)
        sound = np.isfinite(queries).all(1)
        if sound.any():
            found, far = search(queries[sound], rows, near, settings.metric)
            indices[part[sound]], distances[part[sound]] = found, far
        tell((part[-1] + 1) / len(slots))
    xy = np.full((len(slots), 2), np.nan, dtype=np.float32)
    sound = np.isfinite(distances).all(1)
    xy[sound] = lay_beside(
        value_map.xy,
        indices[sound],
        distances[sound],
        min_dist=settings.min_dist,
        seed=settings.seed,
        tell=watched.stage("placing", 0.6, 1.0),
    )
    return PlacedSlots(slots, xy, value_map.slots[indices], distances)


def with_placed(value_map: ValueMap, placed: PlacedSlots) -> ValueMap:
    """The map with the slots placed on it; those without a place (NaN) stay away.

    A slot placed is in the cluster that most of its neighbours are in, of equally many in that of
    the nearest. Trustworthiness stays what was measured of the map as it was made.
    """
    sound = np.isfinite(placed.xy).all(1)
    slots = np.concatenate([value_map.slots, placed.slots[sound]])
    order = np.argsort(slots, kind="stable")
    near = np.searchsorted(value_map.slots, placed.neighbours[sound])
    added = (
        (value_map.xy, placed.xy[sound]),
        (value_map.neighbours, placed.neighbours[sound, : value_map.neighbours.shape[1]]),
        (value_map.distances, placed.distances[sound, : value_map.distances.shape[1]]),
        (value_map.clusters, _prevailing(value_map.clusters[near])),
    )
    xy, neighbours, distances, clusters = (np.concatenate(parts)[order] for parts in added)
    return dataclasses.replace(
        value_map,
        slots=slots[order],
        xy=xy.astype(np.float32),
        neighbours=neighbours,
        distances=distances.astype(np.float32),
        clusters=clusters.astype(np.int32),
        sampled=f"the map was made of {value_map.sampled}; {int(sound.sum()):,} slots were then "
        "placed on it, each among its nearest neighbours there and in their group",
    )


def _prevailing(clusters: np.ndarray) -> np.ndarray:
    """The cluster that most of a slot's neighbours are in: ``[slot near]`` to ``[slot]``."""
    found = np.empty(len(clusters), dtype=clusters.dtype)
    for start in range(0, len(clusters), _BLOCK):
        part = clusters[start : start + _BLOCK]
        votes = sum((part == part[:, [other]]).astype(np.int32) for other in range(part.shape[1]))
        best = np.argmax(votes, axis=1)[:, None]
        found[start : start + _BLOCK] = np.take_along_axis(part, best, 1)[:, 0]
    return found
