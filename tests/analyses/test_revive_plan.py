"""Where dead half-keys are put: at clusters nobody serves, no longer than their share of reads."""

from __future__ import annotations

import numpy as np
import pytest

from inspector.analyses.revive_plan import new_half_keys

N, D = 8, 16


def clustered(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Queries in eight clusters, ``[sample d_half]``, and their directions ``[cluster d_half]``."""
    random = np.random.default_rng(seed)
    directions = np.linalg.qr(random.standard_normal((D, D))).Q[:N]
    queries = np.repeat(directions, 50, axis=0) * 3
    queries += random.normal(0, 0.05, queries.shape)
    return queries.astype(np.float32), directions


def test_dead_half_keys_are_put_where_no_living_one_points() -> None:
    queries, directions = clustered()
    keys = directions * 2
    keys[[2, 5]] = 1e-3
    found = new_half_keys(queries, keys, np.array([2, 5]), knn=1)
    cosines = found @ directions.T / np.linalg.norm(found, axis=-1, keepdims=True)
    assert sorted(cosines.argmax(-1).tolist()) == [2, 5]
    assert (cosines.max(-1) > 0.99).all()


def test_one_that_wins_its_share_has_the_norm_of_the_living() -> None:
    queries, directions = clustered()
    keys = directions * 2
    keys[2] = 1e-3
    found = new_half_keys(queries, keys, np.array([2]), knn=1)
    assert np.linalg.norm(found) == pytest.approx(2, rel=1e-3)
    assert ((queries @ found[0]) > (queries @ keys.T).max(-1)).mean() == 1 / N


def test_one_that_would_win_too_much_is_shorter() -> None:
    queries, directions = clustered()
    queries = queries + 4 * directions.sum(0).astype(np.float32)  # what they all have in common
    keys = directions * 2
    keys[5] = 0
    found = new_half_keys(queries, keys, np.array([5]), knn=2)
    norm = float(np.linalg.norm(found))
    assert 0.19 < norm < 1.81
    assert norm / 2 * 10 == pytest.approx(round(norm / 2 * 10), abs=1e-3)
    living = np.delete(keys, 5, axis=0)
    second = np.sort(queries @ living.T, axis=-1)[:, -2]
    assert (queries @ found[0] > second).mean() <= 2 / N
    assert (queries @ found[0] * (norm + 0.2) / norm > second).mean() > 2 / N


def test_there_are_no_more_than_queries_differ_and_the_seed_decides() -> None:
    queries, directions = clustered()
    keys = directions * 2
    dead = np.arange(N)
    assert len(new_half_keys(queries[:3], keys, dead, knn=1)) == 3
    assert len(new_half_keys(np.repeat(queries[:1], 9, axis=0), keys, dead, knn=1)) == 1
    first, again = (new_half_keys(queries, keys, dead, 1, seed=4) for _ in range(2))
    assert np.array_equal(first, again)
