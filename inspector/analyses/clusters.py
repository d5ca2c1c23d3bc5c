"""Groups of points: regions of a map by k-means, or its dense spots by HDBSCAN."""

from __future__ import annotations

import math
from typing import Final, Literal

import faiss
import numpy as np

from inspector.analyses.map_progress import Tell, untold
from inspector.analyses.neighbours import Metric, as_many_threads_as_torch, prepared, search

Clustering = Literal["kmeans", "hdbscan"]

NONE: Final = -1
_MOST: Final = 64  # names on a map that can still be read
_ROUNDS: Final = 25
_SMALLEST: Final = 5  # points that HDBSCAN calls a cluster


def default_count(points: int) -> int:
    """How many clusters k-means makes of ``points`` unless told: 32 of 16,384, 64 at most."""
    return int(min(max(round(math.sqrt(points) / 4), 2), _MOST, points))


def kmeans(
    vectors: np.ndarray,
    count: int,
    *,
    metric: Metric = "cosine",
    seed: int = 0,
    tell: Tell = untold,
) -> np.ndarray:
    """Cluster of each of ``vectors [vector d]``, by k-means: ``[vector]`` int32, largest first.

    Spherical for ``cosine``: centres have length 1, and each vector joins the one with the
    largest cosine (Dhillon & Modha 2001). Clusters that stay empty are left out.
    """
    rows = prepared(vectors, metric)
    count = min(count, len(rows))
    if count < 2:
        return np.zeros(len(rows), dtype=np.int32)
    tell(0.0)
    with as_many_threads_as_torch():
        centres = faiss.Kmeans(
            rows.shape[1],
            count,
            niter=_ROUNDS,
            seed=seed,
            spherical=metric == "cosine",
            min_points_per_centroid=1,  # else faiss warns of few points, and of many draws a sample
            max_points_per_centroid=len(rows),
        )
        centres.train(rows)
    tell(0.9)
    assert centres.centroids is not None
    return largest_first(search(rows, centres.centroids, 1, metric)[0][:, 0])


def dense_spots(xy: np.ndarray, *, tell: Tell = untold) -> np.ndarray:
    """Dense spots of the map ``xy [point 2]``, by HDBSCAN (Campello et al. 2013).

    Clusters of the largest excess of mass; where one of them takes more than half of all points,
    as on maps of trained tables it does, the leaves of its tree instead.

    Returns:
        ``[point]`` int32: clusters of at least a 200th of all points, largest first; -1 for points
        between them.
    """
    from sklearn.cluster import HDBSCAN

    smallest = max(_SMALLEST, len(xy) // 200)
    if len(xy) < 2 * smallest:
        return np.zeros(len(xy), dtype=np.int32)
    found = np.zeros(len(xy), dtype=np.int32)
    for step, method in enumerate(("eom", "leaf")):
        tell(step / 2)
        found = HDBSCAN(
            min_cluster_size=smallest,
            min_samples=min(10, smallest),
            cluster_selection_method=method,
            copy=True,
        ).fit_predict(xy)
        if np.bincount(found[found >= 0], minlength=1).max() <= len(xy) / 2:
            break
    return largest_first(found)


def largest_first(labels: np.ndarray) -> np.ndarray:
    """The same clusters, numbered from 0 by falling size; -1 stays -1."""
    names, sizes = np.unique(labels[labels >= 0], return_counts=True)
    numbers = np.full(int(labels.max(initial=-1)) + 2, NONE, dtype=np.int32)
    numbers[names[np.argsort(-sizes, kind="stable")]] = np.arange(len(names))
    return np.asarray(numbers[labels])  # the last entry, which -1 picks, is -1
