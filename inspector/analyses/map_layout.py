"""Laying a neighbour graph out in the plane: UMAP (McInnes, Healy & Melville 2018).

umap-learn's own steps are called one by one rather than its UMAP class: the class makes its own
graph of fewer than 4,096 points whatever it's given, and can be neither watched nor stopped.
"""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
from scipy import sparse

from inspector.analyses.map_progress import Tell, untold
from inspector.analyses.neighbours import NeighbourGraph
from inspector.analyses.umap_alone import umap_alone

SPREAD: Final = 1.0
_NEGATIVES: Final = 5  # random others each point is pushed away from, as umap-learn does
_FEW: Final = 10_000  # up to so many points get more epochs, as in umap-learn
_JITTER: Final = 1e-4  # of the map's size: equal values must not start at the very same place


def lay_out(
    graph: NeighbourGraph,
    vectors: np.ndarray,
    *,
    min_dist: float = 0.1,
    seed: int = 0,
    tell: Tell = untold,
) -> np.ndarray:
    """Coordinates ``[vector 2]`` float32 of the vectors that ``graph`` was made of.

    Points start at their first two principal components, which keeps what is far apart in order
    (Kobak & Linderman 2021). The same seed gives the same map on the same machine.

    Args:
        graph: by cosine or Euclidean distance.
        vectors: ``[vector d]``.
        min_dist: how close points may be packed, in units of the map.
        seed: of the starting positions' jitter, and of the descent.
        tell: is told the share of epochs done, and may raise to stop.
    """
    random = np.random.RandomState(seed)
    start = _jittered(principal_components(vectors, 2), random)
    if len(vectors) <= 3 or graph.near == 0:  # nothing to learn: as they start
        return start if len(vectors) > 1 else np.zeros_like(start)
    with umap_alone(tell) as umap:
        edges, _, _ = umap.fuzzy_simplicial_set(
            vectors,
            graph.near + 1,
            random,
            "euclidean",  # not used: the graph is there
            knn_indices=_with_itself(graph.indices, np.arange(len(vectors))[:, None]),
            knn_dists=_with_itself(graph.distances, np.zeros((len(vectors), 1), np.float32)),
        )
        tell(0.0)
        a, b = umap.find_ab_params(SPREAD, min_dist)
        placed, _ = umap.simplicial_set_embedding(
            vectors,
            edges,
            n_components=2,
            initial_alpha=1.0,
            a=a,
            b=b,
            gamma=1.0,
            negative_sample_rate=_NEGATIVES,
            n_epochs=500 if len(vectors) <= _FEW else 200,
            init=start,
            random_state=random,
            metric="euclidean",
            metric_kwds={},
            densmap=False,
            densmap_kwds={},
            output_dens=False,
            tqdm_kwds=_watched_by(tell),
        )
    return np.asarray(placed, dtype=np.float32)


def lay_beside(
    xy: np.ndarray,
    indices: np.ndarray,
    distances: np.ndarray,
    *,
    min_dist: float = 0.1,
    seed: int = 0,
    tell: Tell = untold,
) -> np.ndarray:
    """Coordinates ``[new 2]`` float32 of new vectors on a map that stays as it is.

    As UMAP's ``transform``: each starts at the mean of its neighbours on the map, by strength,
    and is then moved by the same descent.

    Args:
        xy: the map, ``[point 2]``.
        indices: neighbours of the new ones among the points, ``[new near]``.
        distances: how far these are, ``[new near]``.
        min_dist: as of the map.
        seed: of the descent.
        tell: is told the share done, and may raise to stop.
    """
    if not len(indices):
        return np.empty((0, 2), dtype=np.float32)
    epochs = 100 if len(indices) <= _FEW else 30
    with umap_alone(tell) as umap:
        sigmas, rhos = umap.smooth_knn_dist(
            distances.astype(np.float32), float(indices.shape[1]), local_connectivity=0.0
        )
        rows, columns, strengths, _ = umap.compute_membership_strengths(
            indices.astype(np.int32), distances.astype(np.float32), sigmas, rhos, bipartite=True
        )
        edges = sparse.coo_matrix((strengths, (rows, columns)), shape=(len(indices), len(xy)))
        kept = edges.tocsr()
        kept.eliminate_zeros()
        start = umap.init_graph_transform(kept, xy).astype(np.float32)
        edges.data[edges.data < edges.data.max() / epochs] = 0.0
        edges.eliminate_zeros()
        a, b = umap.find_ab_params(SPREAD, min_dist)
        placed = umap.optimize_layout_euclidean(
            start,
            xy.astype(np.float32, copy=True),
            edges.row,
            edges.col,
            epochs,
            len(xy),
            umap.make_epochs_per_sample(edges.data, epochs),
            a,
            b,
            np.random.RandomState(seed).randint(-(2**31) + 1, 2**31 - 1, 3).astype(np.int64),
            1.0,
            0.25,
            _NEGATIVES,
            tqdm_kwds=_watched_by(tell),
        )
    return np.asarray(placed, dtype=np.float32)


def principal_components(vectors: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` principal components ``[vector count]``; zeros where there are fewer."""
    mean = vectors.mean(0, dtype=np.float64)
    covariance = np.zeros((vectors.shape[1],) * 2)
    for block in np.array_split(vectors, max(1, len(vectors) // 8_192)):
        centred = block - mean
        covariance += centred.T @ centred
    axes = np.linalg.eigh(covariance).eigenvectors[:, ::-1][:, :count]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    found = np.zeros((len(vectors), count), dtype=np.float32)
    found[:, : axes.shape[1]] = (vectors - mean.astype(np.float32)) @ axes.astype(np.float32)
    return found


def _jittered(start: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Scaled to 10 about the middle, each a little off its place; all apart even if all equal."""
    largest = np.abs(start).max(initial=0.0)
    scaled = start * (10 / largest) if largest > 0 else start
    return np.asarray(scaled + random.normal(scale=10 * _JITTER, size=start.shape), np.float32)


def _with_itself(neighbours: np.ndarray, itself: np.ndarray) -> np.ndarray:
    """UMAP counts a point as the first of its own neighbours."""
    kind = np.int32 if neighbours.dtype.kind == "i" else np.float32
    return np.concatenate([itself, neighbours], axis=1).astype(kind)


# --- watching ----------------------------------------------------------------------------------


class _Epochs:
    """Stands in for the file that umap-learn's progress bar is written to, epoch by epoch."""

    def __init__(self, tell: Tell) -> None:
        self._tell: Tell | None = tell

    def write(self, text: str) -> None:
        found = re.search(r"(\d+)/(\d+)", text)
        if found is None or self._tell is None:
            return
        try:
            self._tell(int(found[1]) / int(found[2]))
        except BaseException:
            self._tell = None  # the bar writes once more when it's closed
            raise

    def flush(self) -> None:
        """There is nothing to flush."""


def _watched_by(tell: Tell) -> dict[str, Any]:
    """Arguments for umap-learn's progress bar (tqdm), so that ``tell`` is called every epoch."""
    return {
        "file": _Epochs(tell),
        "disable": False,
        "bar_format": "{n}/{total}",
        "mininterval": 0,
        "miniters": 1,
        "ascii": True,
    }
