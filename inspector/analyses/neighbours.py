"""Nearest neighbours of values: of one slot over its whole table, and of all as one graph.

Searches are exact and brute force (faiss's flat search), in blocks. A graph so large that this
would take minutes is made with umap-learn's own approximate search (nearest neighbour descent,
Dong et al. 2011) instead; it then says so, and its recall as measured on a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import faiss
import numpy as np
import pandas as pd
import torch

from inspector.analyses.gates import MeanGates
from inspector.analyses.map_progress import Report, Tell, Watched, untold
from inspector.analyses.slot_vectors import slot_vectors, table_blocks
from inspector.analyses.umap_alone import umap_alone
from inspector.errors import SlotError
from inspector.families.base import MemoryModel

Metric = Literal["cosine", "inner_product", "euclidean"]

EXACT_UP_TO: Final = 3e12  # products of coordinates: about a minute of one thread
_QUERIES: Final = 4_096
_RECALL_POINTS: Final = 500


@dataclass(frozen=True, eq=False)
class NeighbourGraph:
    """The nearest others of each vector, best first.

    ``distances`` are 1 - cosine, the Euclidean distance, or less the inner product. Of equally
    near ones the lower is taken, and a vector of zeros has cosine 0 with everything.
    """

    metric: Metric
    indices: np.ndarray  # [vector near] int64
    distances: np.ndarray  # [vector near] float32
    exact: bool
    recall: float  # share of the true neighbours found: 1 if exact, else as measured
    recall_points: int  # vectors drawn at random that it was measured on; 0 if exact

    def __post_init__(self) -> None:
        """Refuse parts that disagree."""
        if self.indices.shape != self.distances.shape:
            raise ValueError("a neighbour graph has as many distances as neighbours")

    @property
    def near(self) -> int:
        """Neighbours of each vector."""
        return int(self.indices.shape[1])

    @property
    def method(self) -> str:
        """How the neighbours were found, in words."""
        if self.exact:
            return f"exact, {self.metric.replace('_', ' ')}"
        return (
            f"approximate, {self.metric.replace('_', ' ')}: recall {self.recall:.3f} on "
            f"{self.recall_points:,} vectors drawn at random"
        )

    def to_frame(self) -> pd.DataFrame:
        """One row for each vector and neighbour; ``rank`` counts from 1."""
        vectors = len(self.indices)
        return pd.DataFrame(
            {
                "vector": np.repeat(np.arange(vectors), self.near),
                "rank": np.tile(np.arange(1, self.near + 1), vectors),
                "neighbour": self.indices.ravel(),
                "distance": self.distances.ravel(),
            }
        )


def neighbour_graph(
    vectors: np.ndarray,
    count: int,
    metric: Metric = "cosine",
    *,
    seed: int = 0,
    exact_up_to: float = EXACT_UP_TO,
    report: Report | None = None,
    cancel: Callable[[], bool] | None = None,
) -> NeighbourGraph:
    """The ``count`` nearest others of each of ``vectors [vector d]``; fewer if there are fewer.

    Args:
        vectors: finite numbers.
        count: neighbours of each.
        metric: what near means.
        seed: of the approximate search, and of the sample its recall is measured on.
        exact_up_to: the search is exact while vectors * vectors * d is at most this.
        report: is told the stage and the share done.
        cancel: asked between blocks; an approximate search can't be stopped halfway.

    Raises:
        ValueError: a number is not finite.
        Cancelled: it was stopped.
    """
    if not np.isfinite(vectors).all():
        raise ValueError("vectors with NaN or infinite numbers have no neighbours")
    rows = prepared(vectors, metric)
    near = max(min(count, len(rows) - 1), 0)
    watched = Watched(report, cancel)
    if near == 0 or metric == "inner_product" or len(rows) ** 2 * rows.shape[1] <= exact_up_to:
        tell = watched.stage("finding the nearest neighbours", 0.0, 1.0)
        found = exact_neighbours(rows, np.arange(len(rows)), near, metric, tell)
        return NeighbourGraph(metric, *found, exact=True, recall=1.0, recall_points=0)
    watched.stage("finding the nearest neighbours, approximately", 0.0, 0.9)
    indices, distances = _approximate(rows, near, metric, seed)
    tell = watched.stage("measuring the recall of the search", 0.9, 1.0)
    sample = np.random.default_rng(seed).permutation(len(rows))[:_RECALL_POINTS]
    truth, _ = exact_neighbours(rows, sample, near, metric, tell)
    return NeighbourGraph(
        metric,
        indices,
        distances,
        exact=False,
        recall=recall(indices[sample], truth),
        recall_points=len(sample),
    )


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of the true neighbours that were found; both ``[vector near]``."""
    hits = (found[:, :, None] == truth[:, None, :]).any(1)
    return float(hits.mean()) if hits.size else 1.0


def prepared(vectors: np.ndarray, metric: Metric) -> np.ndarray:
    """Rows as they are compared, float32: of unit length for cosine; zeros stay zeros."""
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if metric != "cosine":
        return rows
    # Scaled first, so that the squares of very small or large numbers stay within float32.
    rows = rows / np.maximum(np.abs(rows).max(1, keepdims=True, initial=0), np.float32(1e-38))
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norms > 0, norms, 1), dtype=np.float32)


def exact_neighbours(
    rows: np.ndarray, queries: np.ndarray, near: int, metric: Metric, tell: Tell = untold
) -> tuple[np.ndarray, np.ndarray]:
    """The ``near`` nearest others of ``rows[queries]`` among all ``rows`` (see ``prepared``).

    Returns:
        Indices int64 and distances float32, both ``[query near]``.
    """
    indices = np.empty((len(queries), near), dtype=np.int64)
    distances = np.empty((len(queries), near), dtype=np.float32)
    for start in range(0, len(queries) if near else 0, _QUERIES):
        own = queries[start : start + _QUERIES]
        part = slice(start, start + len(own))
        found, far = search(rows[own], rows, near + 1, metric)
        itself = found == own[:, None]
        itself[~itself.any(1), -1] = True  # more equals than places: any of them may go
        indices[part] = found[~itself].reshape(len(own), near)
        distances[part] = far[~itself].reshape(len(own), near)
        tell((start + len(own)) / len(queries))
    return indices, distances


def search(
    queries: np.ndarray, rows: np.ndarray, near: int, metric: Metric
) -> tuple[np.ndarray, np.ndarray]:
    """The ``near`` best of ``rows`` for each query: indices and distances ``[query near]``."""
    kind = faiss.METRIC_L2 if metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
    with as_many_threads_as_torch():
        found, indices = faiss.knn(queries, rows, near, metric=kind)
    if metric == "inner_product":
        return indices, -found
    if metric == "cosine":
        return indices, np.maximum(1 - found, 0)
    # faiss subtracts large squares, which leaves near ones imprecise: once more, pair by pair.
    far = np.linalg.norm(queries[:, None] - rows[indices], axis=-1)
    order = np.argsort(far, axis=1, kind="stable")
    return np.take_along_axis(indices, order, 1), np.take_along_axis(far, order, 1)


@contextmanager
def as_many_threads_as_torch() -> Iterator[None]:
    """faiss takes every core unless it's told; the app tells torch how many to use."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(min(before, torch.get_num_threads()))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _approximate(
    rows: np.ndarray, near: int, metric: Metric, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """umap-learn's own search, with its many trees and sweeps; it can't be watched."""
    sound = np.flatnonzero(rows.any(1)) if metric == "cosine" else np.arange(len(rows))
    if len(sound) <= near:
        return exact_neighbours(rows, np.arange(len(rows)), near, metric)
    # Vectors of one length have the same neighbours by angle and by distance. Zeros have no angle:
    # all others are equally far from them.
    indices = np.tile(np.arange(near, dtype=np.int64), (len(rows), 1))
    indices += indices >= np.arange(len(rows))[:, None]
    distances = np.ones((len(rows), near), dtype=np.float32)
    with umap_alone() as umap:
        found, far, _ = umap.nearest_neighbors(
            rows[sound],
            *(near + 1, "euclidean", {}, False),
            np.random.RandomState(seed),
            n_jobs=1,
        )
    itself = found == np.arange(len(sound))[:, None]
    itself[~itself.any(1), -1] = True
    indices[sound] = sound[found[~itself].reshape(len(sound), near)]
    far = far[~itself].reshape(len(sound), near)
    distances[sound] = far**2 / 2 if metric == "cosine" else far
    lost = sound[(found < 0).any(1)]  # of which it found too few
    indices[lost], distances[lost] = exact_neighbours(rows, lost, near, metric)
    return indices, distances


# --- one slot -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class NearestValues:
    """The values nearest to that of one slot, best first; itself is left out.

    Of value rows where ``site`` is None, else of contributions at that site (``slot_vectors``).
    """

    slot: int
    table: int
    site: str | None
    metric: Literal["cosine", "inner_product"]
    slots: np.ndarray  # [near] int64
    similarity: np.ndarray  # [near] float32, cosine or inner product

    def __post_init__(self) -> None:
        """Refuse parts that disagree."""
        if self.slots.shape != self.similarity.shape:
            raise ValueError("there are as many similarities as nearest slots")

    def to_frame(self) -> pd.DataFrame:
        """One row for each of the nearest slots."""
        return pd.DataFrame({"slot": self.slots, self.metric: self.similarity})


def nearest_values(
    model: MemoryModel,
    slot: int,
    *,
    table: int | None = None,
    site: str | None = None,
    metric: Literal["cosine", "inner_product"] = "cosine",
    count: int = 10,
    gates: MeanGates | None = None,
) -> NearestValues:
    """The ``count`` values most similar to that of ``slot``, exactly, over its whole table.

    Args:
        model: an opened checkpoint.
        slot: whose neighbours are wanted.
        table: number of the value table; that of ``site`` by default, or else the first.
        site: compare what the values write there; None compares the value rows.
        metric: what similar means. A value that holds NaN is similar to none.
        count: how many, where the table has as many others.
        gates: mean gates from a scan; those that the checkpoint ships by default.

    Raises:
        SlotError: no such slot, table or site, or the slot's own value holds NaN.
        CacheError: the site's gate depends on the input and no scan says how it gates.
    """
    if table is None:
        table = 0 if site is None else model.site(site).info.table
    own = np.array([slot], dtype=np.int64)
    query = prepared(slot_vectors(model, table, site, own, gates=gates), metric)
    if not np.isfinite(query).all():
        raise SlotError(
            f"The value of slot {slot} holds NaN or infinite numbers: nothing is near it."
        )
    slots, similarity = np.empty(0, np.int64), np.empty(0, np.float32)
    for first, rows in table_blocks(model, table, site, gates):
        compared = prepared(rows, metric)
        sound = np.flatnonzero(
            np.isfinite(compared).all(1) & (first + np.arange(len(rows)) != slot)
        )
        if not len(sound):
            continue
        index, far = search(query, compared[sound], min(count, len(sound)), metric)
        like = -far[0] if metric == "inner_product" else 1 - far[0]
        slots = np.concatenate([slots, first + sound[index[0]]])
        similarity = np.concatenate([similarity, like])
        best = np.lexsort((slots, -similarity))[:count]
        slots, similarity = slots[best], similarity[best]
    return NearestValues(slot, table, site, metric, slots, similarity)
