"""The map of a table's values: UMAP of value rows, or of what they write at a site."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from inspector.analyses import value_map_store
from inspector.analyses.cluster_names import name_clusters
from inspector.analyses.clusters import Clustering, default_count, dense_spots, kmeans
from inspector.analyses.gates import mean_gates
from inspector.analyses.map_layout import lay_out
from inspector.analyses.map_progress import Report, Tell, Watched
from inspector.analyses.map_sample import MapSample, draw_slots
from inspector.analyses.neighbours import Metric, neighbour_graph, prepared
from inspector.analyses.slot_vectors import check_table, slot_vectors
from inspector.analyses.trustworthiness import trustworthiness
from inspector.analyses.usage_measures import table_reads
from inspector.analyses.value_map_record import MapSettings, ValueMap
from inspector.capture.session import standing_edits
from inspector.capture.usage import Usage
from inspector.errors import SlotError
from inspector.families.base import MemoryModel

__all__ = ["MapSettings", "ValueMap", "stored_map", "value_map"]

TRUSTED_NEAR: Final = 15
_SHOWN: Final = 10  # slot numbers in a note


def value_map(  # noqa: PLR0913  what decides a map, and who watches
    model: MemoryModel,
    site: str | None = None,
    *,
    table: int | None = None,
    usage: Usage | None = None,
    points: int = 50_000,
    seed: int = 0,
    near: int = 15,
    min_dist: float = 0.1,
    metric: Metric = "cosine",
    clusters: Clustering = "kmeans",
    cluster_count: int | None = None,
    report: Report | None = None,
    cancel: Callable[[], bool] | None = None,
    cache: bool = True,
) -> ValueMap:
    """Lay the values of a table out in the plane; a map made before comes from the cache folder.

    Args:
        model: an opened checkpoint.
        site: show what the values write there; None shows the value rows.
        table: number of the value table; that of ``site`` by default, or else the first.
        usage: a scan, so that slots that were read are drawn first where not all have a place.
        points: how many slots at most; more are drawn at random (see ``draw_slots``).
        seed: of everything drawn at random; the same one gives the same map.
        near: neighbours of each point that the map is made from.
        min_dist: how close points may be packed.
        metric: what near means, ``cosine`` or ``euclidean``.
        clusters: regions of the map by ``kmeans``, or its dense spots by ``hdbscan``.
        cluster_count: of k-means; 32 for 16,384 points by default (see ``default_count``).
        report: is told what is being done, and the share of all work done.
        cancel: asked often whether to stop.
        cache: look in the cache folder, and keep the map there; never within standing edits.

    Raises:
        SlotError: no such table or site.
        CacheError: the site's gate depends on the input and no scan says how it gates.
        Cancelled: it was stopped; nothing is kept.
    """
    settings = MapSettings(
        table_of(model, site, table),
        *(site, points, seed, near, min_dist, metric, clusters, cluster_count),
    )
    cache = cache and not standing_edits(model)
    if cache and (found := value_map_store.find(model, settings, usage)) is not None:
        return found
    made = _make(model, settings, usage, Watched(report, cancel))
    return value_map_store.keep(model, made, usage) if cache else made


def stored_map(  # noqa: PLR0913  the parameters of value_map
    model: MemoryModel,
    site: str | None = None,
    *,
    table: int | None = None,
    usage: Usage | None = None,
    points: int = 50_000,
    seed: int = 0,
    near: int = 15,
    min_dist: float = 0.1,
    metric: Metric = "cosine",
    clusters: Clustering = "kmeans",
    cluster_count: int | None = None,
) -> ValueMap | None:
    """The map that ``value_map`` made of the same parameters before; None if there is none.

    Raises:
        SlotError: no such site.
    """
    settings = MapSettings(
        table_of(model, site, table),
        *(site, points, seed, near, min_dist, metric, clusters, cluster_count),
    )
    if standing_edits(model):
        return None
    return value_map_store.find(model, settings, usage)


def table_of(model: MemoryModel, site: str | None, table: int | None) -> int:
    """The table asked for: that of the site, or else the first.

    Raises:
        SlotError: there is no such table or site, or no memory at all.
    """
    if not model.tables:
        raise SlotError(f"{model.name} has no memory layers, and so no values to map.")
    if table is not None:
        check_table(model, table)
        return table
    return 0 if site is None else model.site(site).info.table


def _make(
    model: MemoryModel, settings: MapSettings, usage: Usage | None, watched: Watched
) -> ValueMap:
    gates = mean_gates(model)
    drawn = draw(model, settings, usage)
    tell = watched.stage("reading the values", 0.0, 0.05)
    slots, vectors, notes = _sound(
        drawn.slots,
        slot_vectors(model, settings.table, settings.site, drawn.slots, gates=gates, tell=tell),
    )
    tell = watched.stage("finding the nearest neighbours", 0.05, 0.25)
    graph = neighbour_graph(
        vectors,
        settings.near,
        settings.metric,
        seed=settings.seed,
        report=lambda _stage, share: tell(share),
    )
    rows = prepared(vectors, settings.metric)
    tell = watched.stage("laying out the map", 0.25, 0.8)
    xy = lay_out(graph, rows, min_dist=settings.min_dist, seed=settings.seed, tell=tell)
    labels = _clusters(settings, xy, watched.stage("finding clusters", 0.8, 0.85))
    tell = watched.stage("naming clusters", 0.85, 0.92)
    named = settings.table, settings.site, slots, labels
    names = name_clusters(model, *named, gates=gates, seed=settings.seed, tell=tell)
    trust_k = max(0, min(TRUSTED_NEAR, (len(slots) - 1) // 2))
    tell = watched.stage("measuring how far the map can be trusted", 0.92, 1.0)
    trust = trustworthiness(
        vectors, xy, trust_k, metric=settings.metric, seed=settings.seed, tell=tell
    )
    return ValueMap(
        fingerprint=model.fingerprint,
        settings=settings,
        slots=slots,
        xy=xy,
        neighbours=slots[graph.indices],
        distances=graph.distances,
        clusters=labels,
        cluster_names=names.names,
        named_by=names.by,
        graph=graph.method,
        trustworthiness=trust,
        trust_k=trust_k,
        total=model.tables[settings.table].slots,
        sampled=drawn.sampled,
        notes=notes,
    )


def draw(model: MemoryModel, settings: MapSettings, usage: Usage | None) -> MapSample:
    """The slots that go on the map."""
    every = np.arange(model.tables[settings.table].slots)
    scanned = usage is not None and settings.table in usage.tables
    reads = table_reads(usage, settings.table) if usage is not None and scanned else None
    return draw_slots(every, reads, settings.points, settings.seed)


def _sound(
    slots: np.ndarray, vectors: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Leave out what holds NaN, and say so."""
    sound = np.isfinite(vectors).all(1)
    if sound.all():
        return slots, vectors, ()
    lost = slots[~sound]
    if len(lost) == len(slots):
        raise SlotError("Every value holds NaN or infinite numbers: there is nothing to map.")
    listed = ", ".join(str(slot) for slot in lost[:_SHOWN])
    more = f" and {len(lost) - _SHOWN:,} more" if len(lost) > _SHOWN else ""
    note = f"{len(lost):,} slots hold NaN or infinite numbers and are left out: {listed}{more}."
    return slots[sound], vectors[sound], (note,)


def _clusters(settings: MapSettings, xy: np.ndarray, tell: Tell) -> np.ndarray:
    """Clusters of the map, not of the vectors, so that a name has a place on it.

    On a trained table k-means of the vectors agrees with the neighbours no better (29 % of them
    in the same of 32 clusters, 28 % with k-means of the map), but scatters over the whole map.
    """
    if settings.clusters == "hdbscan":
        return dense_spots(xy, tell=tell)
    count = settings.cluster_count or default_count(len(xy))
    return kmeans(xy, count, metric="euclidean", seed=settings.seed, tell=tell)
