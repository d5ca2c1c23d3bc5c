"""Neighbours are those that brute force finds, and what is not exact says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch

from inspector.analyses import slot_vectors as slot_vectors_module
from inspector.analyses.gates import measure_mean_gates
from inspector.analyses.neighbours import (
    Metric,
    NearestValues,
    NeighbourGraph,
    as_many_threads_as_torch,
    nearest_values,
    neighbour_graph,
    recall,
)
from inspector.analyses.slot_vectors import slot_vectors
from inspector.capture.load import load
from inspector.errors import Cancelled, SlotError
from inspector.families.base import MemoryModel

Written = Callable[..., Path]
METRICS: tuple[Metric, ...] = ("cosine", "inner_product", "euclidean")


def some_vectors(count: int = 300, width: int = 7) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, width)).astype(np.float32)


def all_distances(vectors: np.ndarray, metric: Metric) -> np.ndarray:
    """By the definitions, in float64: ``[vector vector]``."""
    rows = vectors.astype(np.float64)
    if metric == "euclidean":
        return np.linalg.norm(rows[:, None] - rows, axis=-1)
    if metric == "inner_product":
        return -(rows @ rows.T)
    lengths = np.linalg.norm(rows, axis=1)
    return 1 - rows @ rows.T / lengths[:, None] / lengths


# --- the graph ----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_the_graph_is_that_of_brute_force(metric: Metric) -> None:
    vectors = some_vectors()
    graph = neighbour_graph(vectors, 9, metric)
    far = all_distances(vectors, metric)
    np.fill_diagonal(far, np.inf)
    assert np.array_equal(graph.indices, np.argsort(far, axis=1)[:, :9])
    assert graph.distances == pytest.approx(np.sort(far, axis=1)[:, :9], abs=1e-5)
    assert (graph.exact, graph.recall, graph.near) == (True, 1.0, 9)
    assert graph.method == f"exact, {metric.replace('_', ' ')}"


def test_a_graph_of_many_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = neighbour_graph(some_vectors(), 5, "cosine")
    monkeypatch.setattr("inspector.analyses.neighbours._QUERIES", 64)
    told: list[float] = []
    parts = neighbour_graph(
        some_vectors(), 5, "cosine", report=lambda _stage, share: told.append(share)
    )
    assert np.array_equal(whole.indices, parts.indices)
    assert told == pytest.approx([0, 64 / 300, 128 / 300, 192 / 300, 256 / 300, 1])


def test_a_graph_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.analyses.neighbours._QUERIES", 64)
    asked = iter([False, False, True])
    with pytest.raises(Cancelled, match="stopped"):
        neighbour_graph(some_vectors(), 5, "cosine", cancel=lambda: next(asked))


def test_near_duplicates_are_told_apart_by_euclidean_distance() -> None:
    """Far from the origin, the difference of large squares would lose them all."""
    vectors = np.float32([[1000, 0], [1000.25, 0], [1001, 0], [1003, 0]])
    graph = neighbour_graph(vectors, 2, "euclidean")
    assert graph.indices.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    assert graph.distances.tolist() == [[0.25, 1], [0.25, 0.75], [0.75, 1], [2, 2.75]]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_fewer_vectors_than_neighbours_give_fewer(count: int) -> None:
    graph = neighbour_graph(some_vectors(count), 15, "cosine")
    assert graph.indices.shape == graph.distances.shape == (count, count - 1)
    for vector, others in enumerate(graph.indices.tolist()):
        assert sorted([vector, *others]) == list(range(count))


@pytest.mark.parametrize("metric", METRICS)
def test_equal_vectors_are_never_their_own_neighbours(metric: Metric) -> None:
    graph = neighbour_graph(np.ones((40, 3), np.float32), 6, metric)
    assert (graph.indices != np.arange(40)[:, None]).all()
    assert all(len(set(row)) == 6 for row in graph.indices.tolist())
    assert np.ptp(graph.distances) == 0


def test_a_vector_of_zeros_has_cosine_0_with_everything() -> None:
    vectors = some_vectors(30)
    vectors[4] = 0
    graph = neighbour_graph(vectors, 29, "cosine")
    assert (graph.distances[4] == 1).all()
    assert np.isfinite(graph.distances).all()
    assert graph.distances[graph.indices == 4].tolist() == [1] * 29


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_cosine_knows_no_length(scale: float) -> None:
    vectors = some_vectors(50)
    graph, scaled = (
        neighbour_graph(v, 5, "cosine") for v in (vectors, vectors * np.float32(scale))
    )
    assert np.array_equal(graph.indices, scaled.indices)


def test_nan_is_refused() -> None:
    vectors = some_vectors()
    vectors[3, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        neighbour_graph(vectors, 3, "cosine")


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_an_approximate_graph_says_its_recall(metric: Metric) -> None:
    vectors = some_vectors(3000, 24)
    vectors[2] = 0 if metric == "cosine" else vectors[2]
    truth = neighbour_graph(vectors, 10, metric)
    graph = neighbour_graph(vectors, 10, metric, exact_up_to=0)
    again = neighbour_graph(vectors, 10, metric, exact_up_to=0)
    assert np.array_equal(graph.indices, again.indices), "it is seeded"
    assert not graph.exact
    assert graph.recall_points == 500
    assert graph.recall == pytest.approx(recall(graph.indices, truth.indices), abs=0.03)
    assert 0.7 < graph.recall <= 1
    hit = graph.indices == truth.indices
    assert graph.distances[hit] == pytest.approx(truth.distances[hit], abs=1e-5)
    assert graph.method == (
        f"approximate, {metric}: recall {graph.recall:.3f} on 500 vectors drawn at random"
    )
    assert (graph.indices != np.arange(3000)[:, None]).all()
    if metric == "cosine":
        assert graph.indices[2].tolist() == [0, 1, *range(3, 11)]
        assert graph.distances[2].tolist() == [1] * 10
        assert not (graph.indices[3:] == 2).any()


def test_an_approximate_graph_of_zeros() -> None:
    vectors = np.zeros((20, 3), np.float32)
    vectors[4, 0] = 1
    graph = neighbour_graph(vectors, 5, "cosine", exact_up_to=0)
    assert (graph.distances == 1).all()


def test_recall_is_the_share_that_was_found() -> None:
    assert recall(np.array([[1, 2], [3, 4]]), np.array([[2, 5], [4, 3]])) == 0.75


def test_a_graph_refuses_parts_that_disagree() -> None:
    with pytest.raises(ValueError, match="as many"):
        NeighbourGraph("cosine", np.zeros((2, 3)), np.zeros((2, 2)), True, 1.0, 0)


def test_a_graph_as_a_frame() -> None:
    frame = neighbour_graph(np.float32([[1], [2], [4]]), 2, "euclidean").to_frame()
    assert frame["vector"].tolist() == [0, 0, 1, 1, 2, 2]
    assert frame["rank"].tolist() == [1, 2] * 3
    assert frame["neighbour"].tolist() == [1, 2, 0, 2, 1, 0]
    assert frame["distance"].tolist() == [1, 3, 1, 2, 2, 3]


def test_faiss_takes_no_more_threads_than_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(8)
    try:
        with as_many_threads_as_torch():
            assert faiss.omp_get_max_threads() == 3
        assert faiss.omp_get_max_threads() == 8
    finally:
        faiss.omp_set_num_threads(before)


# --- one slot -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Written) -> MemoryModel:
    return load(tiny_checkpoint(memory_tables=[0, 1], memory_half_keys=12), device="cpu")


def check_nearest(found: NearestValues, vectors: np.ndarray, count: int) -> None:
    """Against brute force over ``vectors [slot d]``."""
    rows = vectors.astype(np.float64)
    if found.metric == "cosine":
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    like = rows @ rows[found.slot]
    like[found.slot] = -np.inf
    best = np.argsort(-like)[:count]
    assert found.slots.tolist() == best.tolist()
    assert found.similarity == pytest.approx(like[best], abs=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "inner_product"])
@pytest.mark.parametrize("table", [0, 1])
def test_nearest_rows_are_those_of_brute_force(
    model: MemoryModel, monkeypatch: pytest.MonkeyPatch, metric: str, table: int
) -> None:
    monkeypatch.setattr(slot_vectors_module, "BLOCK", 50)
    found = nearest_values(model, 77, table=table, metric=metric, count=20)  # type: ignore[arg-type]
    assert (found.table, found.site) == (table, None)
    check_nearest(found, model.tables[table].weight.numpy(), 20)


@pytest.mark.parametrize("metric", ["cosine", "inner_product"])
def test_nearest_contributions_go_through_each_slots_mean_gate(
    model: MemoryModel, metric: str
) -> None:
    gates = measure_mean_gates(model, [torch.tensor([[0, 10, 20, 30, 40]])], "five tokens")
    found = nearest_values(model, 7, site="L2", metric=metric, gates=gates)  # type: ignore[arg-type]
    assert (found.table, found.site, len(found.slots)) == (1, "L2", 10)
    check_nearest(found, slot_vectors(model, 1, "L2", np.arange(144), gates=gates), 10)


def test_all_others_are_near_if_so_many_are_asked_for(model: MemoryModel) -> None:
    found = nearest_values(model, 0, count=1000)
    assert sorted(found.slots) == list(range(1, 144))
    assert nearest_values(model, 0, count=2).to_frame().columns.tolist() == ["slot", "cosine"]


def test_slots_that_are_not_there_are_refused(model: MemoryModel) -> None:
    for slot in (-1, 144):
        with pytest.raises(SlotError, match="0 to 143"):
            nearest_values(model, slot)
    with pytest.raises(SlotError, match="no value table 2"):
        nearest_values(model, 0, table=2)
    with pytest.raises(SlotError, match="reads value table 1"):
        nearest_values(model, 0, table=0, site="L2")


def test_nan_is_near_to_nothing(tiny_checkpoint: Written, tmp_path: Path) -> None:
    from tests.analyses.planted_map import load_spoilt, write_map_model

    def spoil(values: torch.Tensor) -> None:
        values[5, 1] = torch.nan

    path, _ = write_map_model(tiny_checkpoint, tmp_path / "nan", np.array([40, 50]))
    spoilt = load_spoilt(path, spoil)
    assert 5 not in nearest_values(spoilt, 6, count=400).slots
    assert len(nearest_values(spoilt, 6, count=400).slots) == 398
    with pytest.raises(SlotError, match="slot 5 holds NaN"):
        nearest_values(spoilt, 5)
