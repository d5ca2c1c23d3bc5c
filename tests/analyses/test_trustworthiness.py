"""Trustworthiness is scikit-learn's, on a sample of points and in blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.manifold import trustworthiness as by_sklearn

from inspector.analyses import trustworthiness as module
from inspector.analyses.neighbours import Metric
from inspector.analyses.trustworthiness import trustworthiness
from inspector.errors import Cancelled

RANDOM = np.random.default_rng(5)
VECTORS = RANDOM.standard_normal((211, 6)).astype(np.float32)
MAPS = {
    "good": VECTORS[:, :2] + 0.1 * RANDOM.standard_normal((211, 2)).astype(np.float32),
    "random": RANDOM.standard_normal((211, 2)).astype(np.float32),
}


@pytest.mark.parametrize("k", [1, 5, 50, 105])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("name", ["good", "random"])
def test_it_is_scikit_learns(
    name: str, metric: Metric, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK_NUMBERS", 211 * 10)
    found = trustworthiness(VECTORS, MAPS[name], k, metric=metric)
    expected = by_sklearn(VECTORS.astype(np.float64), MAPS[name], n_neighbors=k, metric=metric)
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_map_of_the_plane_itself_is_to_be_trusted() -> None:
    assert trustworthiness(MAPS["random"], MAPS["random"], 8, metric="euclidean") == 1


def test_a_sample_estimates_it() -> None:
    whole = trustworthiness(VECTORS, MAPS["good"], 5)
    drawn = [trustworthiness(VECTORS, MAPS["good"], 5, points=60, seed=s) for s in range(20)]
    assert len(set(drawn)) > 1
    assert np.mean(drawn) == pytest.approx(whole, abs=0.02)
    assert trustworthiness(VECTORS, MAPS["good"], 5, points=60, seed=3) == drawn[3]


@pytest.mark.parametrize(("points", "k"), [(1, 1), (2, 1), (10, 5), (10, 0)])
def test_too_few_points_have_none(points: int, k: int) -> None:
    assert math.isnan(trustworthiness(VECTORS[:points], MAPS["good"][:points], k))


def test_points_in_one_place_break_nothing() -> None:
    """All equal in truth: no neighbour on the map ranks worse than any other."""
    assert trustworthiness(np.ones((50, 3), np.float32), MAPS["good"][:50], 5) == 1
    found = trustworthiness(VECTORS[:50], np.zeros((50, 2), np.float32), 5)
    assert 0 < found < 1


def test_it_can_be_stopped() -> None:
    def stop(_share: float) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        trustworthiness(VECTORS, MAPS["good"], 5, tell=stop)
