"""Planted groups are found, and numbered by size."""

from __future__ import annotations

import numpy as np
import pytest

from inspector.analyses.clusters import default_count, dense_spots, kmeans, largest_first

CENTRES = np.float32([[0, 9], [9, 0], [-9, -9]])
SIZES = (50, 120, 80)


def planted(spread: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Three groups ``[point 2]``, and which one each is of, numbered by falling size."""
    random = np.random.default_rng(2)
    truth = random.permutation(np.repeat([2, 0, 1], SIZES))
    centres = CENTRES[np.argsort([2, 0, 1])]
    return centres[truth] + spread * random.standard_normal((250, 2)).astype(np.float32), truth


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_kmeans_finds_planted_groups(metric: str) -> None:
    points, truth = planted()
    assert kmeans(points, 3, metric=metric).tolist() == truth.tolist()  # type: ignore[arg-type]


def test_spherical_kmeans_looks_at_directions_alone() -> None:
    points, truth = planted(0.1)
    longer = points * np.random.default_rng(0).uniform(0.1, 10, (250, 1)).astype(np.float32)
    assert kmeans(longer, 3, metric="cosine").tolist() == truth.tolist()


def test_dense_spots_are_the_planted_groups_and_what_is_between_is_none() -> None:
    points, truth = planted(0.2)
    lone = np.float32([[30, 30], [-30, 20], [25, -40]])
    found = dense_spots(np.concatenate([points, lone]))
    assert found[250:].tolist() == [-1, -1, -1]
    sure = found >= 0
    assert sure.mean() > 0.9
    assert found[sure].tolist() == truth[sure[:250]].tolist()


def test_a_cluster_of_most_points_is_taken_apart() -> None:
    """One wide group with three cores in it, and a small one far away."""
    random = np.random.default_rng(2)
    wide = 3 * random.standard_normal((300, 2))
    cores = np.repeat([[4, 0], [-4, 0], [0, 5]], 100, axis=0) + 0.2 * random.standard_normal(
        (300, 2)
    )
    away = 100 + 0.2 * random.standard_normal((40, 2))
    found = dense_spots(np.concatenate([wide, cores, away]).astype(np.float32))
    assert found.max() >= 3
    assert np.bincount(found[found >= 0]).max() < 320
    for start in (300, 400, 500):
        core = found[start : start + 100]
        assert np.bincount(core[core >= 0]).max() > 50


def test_the_seed_decides() -> None:
    points = np.random.default_rng(0).standard_normal((400, 2)).astype(np.float32)
    one, again, other = (kmeans(points, 9, metric="euclidean", seed=s) for s in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("points", [0, 1, 2, 5])
def test_few_points(points: int) -> None:
    rows = np.random.default_rng(0).standard_normal((points, 2)).astype(np.float32)
    found = kmeans(rows, 64)
    assert found.dtype == np.int32
    assert sorted(set(found)) == list(range(len(set(found))))
    assert dense_spots(rows).tolist() == [0] * points


def test_equal_points_make_one_cluster() -> None:
    assert kmeans(np.ones((30, 3), np.float32), 4, metric="euclidean").tolist() == [0] * 30


def test_clusters_are_numbered_by_falling_size() -> None:
    assert largest_first(np.array([5, 5, 2, 2, 2, -1, 9])).tolist() == [1, 1, 0, 0, 0, -1, 2]
    assert largest_first(np.array([-1, -1])).tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("points", "count"), [(1, 1), (2, 2), (100, 2), (16_384, 32), (50_000, 56), (10**6, 64)]
)
def test_default_count(points: int, count: int) -> None:
    assert default_count(points) == count
