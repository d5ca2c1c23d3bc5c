"""Nearest tokens are exact, standings are standardised top logits, nulls have the covariance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from inspector.analyses.unembedding import null_vectors, unembedding_of
from inspector.capture.load import load
from inspector.families.base import MemoryModel

Written = Callable[..., Path]


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Written) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")


@pytest.fixture
def vectors() -> torch.Tensor:
    return torch.randn(40, 32, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def head(model: MemoryModel) -> torch.Tensor:
    state = model.module.state_dict()
    return state["lm_head.weight"] * state["model.norm.weight"]  # [d_vocab d_model]


def test_the_best_and_worst_tokens_are_those_of_all_inner_products(
    model: MemoryModel, vectors: torch.Tensor, head: torch.Tensor
) -> None:
    logits = vectors @ head.T
    index = unembedding_of(model)
    for found, expected in (
        (index.promoted(vectors, 7), logits.topk(7)),
        (index.suppressed(vectors, 7), logits.topk(7, largest=False)),
    ):
        assert np.array_equal(found.ids, expected.indices.numpy())
        assert found.logits == pytest.approx(expected.values.numpy(), abs=1e-5)


def test_no_more_tokens_come_back_than_there_are(model: MemoryModel, vectors: torch.Tensor) -> None:
    found = unembedding_of(model).promoted(vectors[:2], 1000)
    assert found.ids.shape == (2, 300)
    assert all(sorted(row) == list(range(300)) for row in found.ids.tolist())


def test_standing_is_the_top_logit_standardised_over_the_vocabulary(
    model: MemoryModel, vectors: torch.Tensor, head: torch.Tensor
) -> None:
    logits = (vectors @ head.T).double()
    expected = (logits.max(-1).values - logits.mean(-1)) / logits.std(-1, correction=0)
    assert unembedding_of(model).standing(vectors) == pytest.approx(expected.numpy(), rel=1e-4)


def test_standing_has_no_length(model: MemoryModel, vectors: torch.Tensor) -> None:
    index = unembedding_of(model)
    assert index.standing(vectors * 1e-3) == pytest.approx(index.standing(vectors), rel=1e-3)


def test_the_index_is_made_once_for_a_model(model: MemoryModel) -> None:
    assert unembedding_of(model) is unembedding_of(model)


def test_null_vectors_have_the_covariance_of_the_table() -> None:
    generator = torch.Generator().manual_seed(5)
    mixing = torch.randn(6, 6, generator=generator)
    table = torch.randn(500, 6, generator=generator) @ mixing + 4.0
    nulls = null_vectors(table, 60_000, seed=0)
    expected = torch.cov(table.double().T)
    assert nulls.shape == (60_000, 6)
    assert torch.allclose(torch.cov(nulls.T), expected, atol=0.03 * float(expected.abs().max()))
    assert nulls.mean(0).abs().max() < 0.1  # around zero, whatever the table's mean


def test_null_vectors_stay_where_the_values_lie() -> None:
    """Values of a plane have nulls of that plane: an isotropic null would leave it."""
    basis = torch.tensor([[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]], dtype=torch.float64)
    table = torch.randn(50, 2, dtype=torch.float64) @ basis
    nulls = null_vectors(table, 100, seed=0)
    outside = torch.tensor([[2.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
    assert (nulls @ outside.T).abs().max() < 1e-6


def test_null_vectors_come_back_with_their_seed() -> None:
    table = torch.randn(40, 3)
    assert torch.equal(null_vectors(table, 5, seed=1), null_vectors(table, 5, seed=1))
    assert not torch.equal(null_vectors(table, 5, seed=1), null_vectors(table, 5, seed=2))


def test_a_large_table_is_sampled_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first 32,768 rows are all alike here: their covariance alone would be zero."""
    table = torch.zeros(40_000, 2)
    table[32_768:] = torch.randn(40_000 - 32_768, 2) * 10
    nulls = null_vectors(table, 2_000, seed=0)
    assert nulls.std() == pytest.approx(float(table.std()), rel=0.1)
