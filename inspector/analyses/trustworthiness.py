"""How far a map can be trusted: are a point's neighbours on the map its neighbours in truth?

Venna & Kaski 2001, "Neighborhood Preservation in Nonlinear Projection Methods", eq. 1: of each
point's k nearest on the map, those that are not among its k nearest in truth cost their rank
there less k; scaled to 1 for none and 0 for the worst map. scikit-learn ranks all pairs at once,
which takes tens of GB at 50,000 points; here points drawn at random are ranked against all.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy.spatial import cKDTree

from inspector.analyses.map_progress import Tell, untold
from inspector.analyses.neighbours import Metric, prepared

POINTS: Final = 2_000
_BLOCK_NUMBERS: Final = 4_000_000  # distances held at a time


def trustworthiness(
    vectors: np.ndarray,
    xy: np.ndarray,
    k: int,
    *,
    metric: Metric = "cosine",
    points: int = POINTS,
    seed: int = 0,
    tell: Tell = untold,
) -> float:
    """Trustworthiness of the map ``xy [vector 2]`` of ``vectors [vector d]``, 0 to 1.

    Args:
        vectors: what the map shows.
        xy: the map.
        k: how many neighbours on the map count; the measure is defined below half of all points.
        metric: what near means in truth, ``cosine`` or ``euclidean``.
        points: how many, drawn at random, are ranked, each against all others.
        seed: of the draw.
        tell: is told the share done, and may raise to stop.

    Returns:
        NaN where k is 0, or not below half of the points.
    """
    total = len(vectors)
    if k < 1 or 2 * k >= total:
        return math.nan
    rows = prepared(vectors, metric)
    squares = np.einsum("vd,vd->v", rows, rows)
    chosen = np.sort(np.random.default_rng(seed).permutation(total)[:points])
    on_map = _map_neighbours(xy, chosen, k)
    cost, block = 0, max(1, _BLOCK_NUMBERS // total)
    for start in range(0, len(chosen), block):
        own = chosen[start : start + block]
        # Squared distances, but for a number that is the same along each row: [block vector].
        far = squares - 2 * (rows[own] @ rows.T)
        far[np.arange(len(own)), own] = -np.inf  # the nearest to itself: rank 0
        for neighbour in on_map[start : start + block].T:
            ranks = np.count_nonzero(far < far[np.arange(len(own)), neighbour][:, None], axis=1)
            cost += int(np.maximum(ranks - k, 0).sum())
        tell((start + len(own)) / len(chosen))
    return 1.0 - cost * 2.0 / (len(chosen) * k * (2.0 * total - 3.0 * k - 1.0))


def _map_neighbours(xy: np.ndarray, chosen: np.ndarray, k: int) -> np.ndarray:
    """The k nearest others on the map of each of the ``chosen``: ``[chosen k]``."""
    found = cKDTree(xy).query(xy[chosen], k + 1)[1]
    itself = found == chosen[:, None]
    itself[~itself.any(1), -1] = True
    return np.asarray(found[~itself].reshape(len(chosen), k))
