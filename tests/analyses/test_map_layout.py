"""The layout separates what is apart, comes from the seed alone, and can be stopped."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from inspector.analyses.map_layout import lay_beside, lay_out, principal_components
from inspector.analyses.neighbours import neighbour_graph
from inspector.analyses.umap_alone import umap_alone
from inspector.errors import Cancelled

pytestmark = pytest.mark.slow  # umap-learn compiles its code when it's first used


def vectors_of(count: int = 120, width: int = 8) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((count, width)).astype(np.float32)


def laid_out(vectors: np.ndarray, near: int = 10, **options: object) -> np.ndarray:
    graph = neighbour_graph(vectors, near, "euclidean")
    return lay_out(graph, vectors, **options)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_map() -> None:
    one, again, other = (laid_out(vectors_of(), seed=seed) for seed in (1, 1, 2))
    assert one.shape == (120, 2)
    assert one.dtype == np.float32
    assert np.array_equal(one, again)
    assert not np.allclose(one, other)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 20])
def test_few_points_have_places_too(count: int) -> None:
    found = laid_out(vectors_of(count), near=15)
    assert found.shape == (count, 2)
    assert np.isfinite(found).all()
    assert len(np.unique(found, axis=0)) == count


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_vectors_have_places_too(value: float) -> None:
    found = laid_out(np.full((60, 5), value, np.float32))
    assert np.isfinite(found).all()
    assert len(np.unique(found, axis=0)) == 60


def test_one_dimension_is_enough() -> None:
    found = laid_out(np.linspace(0, 1, 80, dtype=np.float32)[:, None], near=5)
    assert np.isfinite(found).all()


def test_every_epoch_is_told_and_may_stop_it() -> None:
    told: list[float] = []
    laid_out(vectors_of(), tell=told.append)
    assert len(told) >= 500
    assert told == sorted(told)
    assert told[-1] == 1

    def stop(share: float) -> None:
        told.append(share)
        if share >= 0.3:
            raise Cancelled("enough")

    told.clear()
    with pytest.raises(Cancelled, match="enough"):
        laid_out(vectors_of(), tell=stop)
    assert told[-1] == pytest.approx(0.3, abs=0.01)
    assert np.isfinite(laid_out(vectors_of())).all(), "the next one isn't locked out"


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    laid_out(vectors_of())
    assert capfd.readouterr() == ("", "")


def test_one_thread_at_a_time_and_who_waits_can_be_stopped() -> None:
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with umap_alone():
            inside.set()
            done.wait(30)

    def stop(_share: float) -> None:
        raise Cancelled("tired of waiting")

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert inside.wait(30)
        start = time.monotonic()
        with pytest.raises(Cancelled, match="tired"), umap_alone(stop):
            pytest.fail("two threads at a time")
        assert time.monotonic() - start < 10
    finally:
        done.set()
        holder.join()


def test_newcomers_lie_among_their_neighbours() -> None:
    random = np.random.default_rng(0)
    centres = 20 * np.eye(3, 8, dtype=np.float32)
    group = random.integers(0, 3, 150)
    vectors = centres[group] + random.standard_normal((150, 8)).astype(np.float32)
    xy = laid_out(vectors)
    before = xy.copy()
    new = random.integers(0, 3, 30)
    graph = neighbour_graph(np.concatenate([vectors, centres[new]]), 40, "euclidean")
    kept = [[i for i in row if i < 150][:8] for row in graph.indices[150:].tolist()]
    far = np.linalg.norm(centres[new][:, None] - vectors[kept], axis=-1)
    placed = lay_beside(xy, np.array(kept), far)
    assert np.array_equal(xy, before)
    middles = np.stack([xy[group == g].mean(0) for g in range(3)])
    nearest = np.linalg.norm(placed[:, None] - middles, axis=-1).argmin(1)
    assert nearest.tolist() == new.tolist()
    assert np.array_equal(placed, lay_beside(xy, np.array(kept), far))
    assert lay_beside(xy, np.empty((0, 8), int), np.empty((0, 8))).shape == (0, 2)


def test_principal_components_are_those_of_the_singular_values() -> None:
    vectors = vectors_of(500) * np.float32([9, 5, 1, 1, 1, 1, 1, 1])
    found = principal_components(vectors, 2)
    left, values, _ = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    expected = left[:, :2] * values[:2]
    for axis in (0, 1):
        sign = np.sign(found[:, axis] @ expected[:, axis])
        assert found[:, axis] == pytest.approx(sign * expected[:, axis], abs=1e-2)
    assert principal_components(vectors[:, :1], 2)[:, 1].tolist() == [0] * 500
