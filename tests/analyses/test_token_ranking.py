"""Both ends of the logits, against sorting all of them; FAISS as a second witness."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from inspector.analyses import token_ranking
from inspector.analyses.token_ranking import largest_logits, rank_ends


def by_sorting(
    tokens: Tensor, vectors: Tensor, top: int, *, largest: bool
) -> tuple[Tensor, Tensor]:
    """All logits in float64, rounded once and sorted; equal ones stay in the order of their ids."""
    logits = (vectors.double() @ tokens.double().T).float()
    found = torch.sort(logits, dim=-1, descending=largest, stable=True)
    return found.indices[:, :top], found.values[:, :top]


def check(tokens: Tensor, vectors: Tensor, top: int) -> None:
    found = rank_ends(tokens, vectors, top)
    for ids, logits, largest in (
        (found.promoted, found.promoted_logits, True),
        (found.suppressed, found.suppressed_logits, False),
    ):
        right = by_sorting(tokens, vectors, top, largest=largest)
        assert torch.equal(ids, right[0])
        torch.testing.assert_close(logits, right[1], rtol=2e-7, atol=1e-9)


@pytest.mark.parametrize("count", [1, 63, 64, 300, 64 * 24, 64 * 25, 64 * 25 + 1, 5_003])
@pytest.mark.parametrize("top", [1, 20])
def test_the_ends_are_those_of_all_logits_sorted(count: int, top: int) -> None:
    check(torch.randn(count, 24), torch.randn(17, 24), top)


def test_winners_may_lie_close_together() -> None:
    """All the best tokens in one run of neighbours, and all in the rest after the last run."""
    tokens = 0.1 * torch.randn(64 * 30 + 40, 8)
    tokens[128:160] += 3.0
    tokens[-30:] -= 3.0
    check(tokens, torch.ones(3, 8) + 0.1 * torch.randn(3, 8), 20)


@settings(max_examples=20)
@given(st.integers(0, 1_000))
def test_ties_go_to_the_lowest_token(seed: int) -> None:
    """Small whole numbers tie everywhere, and far more of them than there are spare candidates."""
    torch.manual_seed(seed)
    tokens = torch.randint(-2, 3, (2_500, 3)).float()
    check(tokens, torch.randint(-2, 3, (9, 3)).float(), 20)


def test_a_vector_of_zeros_has_the_first_tokens_at_both_ends() -> None:
    found = rank_ends(torch.randn(3_000, 8), torch.zeros(2, 8), 20)
    for ids, logits in (
        (found.promoted, found.promoted_logits),
        (found.suppressed, found.suppressed_logits),
    ):
        assert ids.tolist() == [list(range(20))] * 2
        assert not logits.any()


def test_what_float32_cannot_tell_apart_is_told_apart() -> None:
    """Logits that differ by less than float32 is off, which large terms that cancel make it."""
    tokens = torch.zeros(4_000, 3)
    tokens[:, 0], tokens[:, 1] = 4_096.0, -4_096.0
    tokens[:, 2] = torch.randperm(4_000).float() * 1e-6
    check(tokens, torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, -1.0]]), 20)


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, vectors = torch.randn(3_000, 16), torch.randn(50, 16)
    whole = rank_ends(tokens, vectors, 20)
    for block in (1, 7):
        monkeypatch.setattr(token_ranking, "_BLOCK", block)
        parts = rank_ends(tokens, vectors, 20)
        for name in ("promoted", "promoted_logits", "suppressed", "suppressed_logits"):
            assert torch.equal(getattr(parts, name), getattr(whole, name))


def test_low_precision_is_told_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch may multiply coarsely, more vectors are scored in full, with the same result."""
    tokens, vectors = torch.randn(3_000, 16), torch.randn(20, 16)
    asked: list[int] = []
    whole = token_ranking._among_all

    def counted(*arguments: Tensor, **options: bool) -> tuple[Tensor, Tensor]:
        asked.append(len(arguments[1]))
        return whole(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(token_ranking, "_among_all", counted)
    check(tokens, vectors, 20)
    assert sum(asked) == 0
    torch.set_float32_matmul_precision("medium")
    try:
        check(tokens, vectors, 20)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert sum(asked) > 0


def test_a_flat_faiss_search_finds_the_same() -> None:
    tokens, vectors = torch.randn(4_000, 32), torch.randn(100, 32)
    flat = faiss.IndexFlatIP(32)
    flat.add(tokens.numpy())
    found = rank_ends(tokens, vectors, 20)
    for ids, logits, sign in (
        (found.promoted, found.promoted_logits, 1),
        (found.suppressed, found.suppressed_logits, -1),
    ):
        products, nearest = flat.search(sign * vectors.numpy(), 20)
        assert np.array_equal(ids.numpy(), nearest)
        assert logits.numpy() == pytest.approx(sign * products, abs=1e-4)


def test_no_vectors_have_no_ends() -> None:
    found = rank_ends(torch.randn(50, 4), torch.empty(0, 4), 3)
    assert found.promoted.shape == found.suppressed_logits.shape == (0, 3)
    assert largest_logits(torch.randn(50, 4), torch.empty(0, 4)).shape == (0,)


def test_the_largest_logit_of_each_vector() -> None:
    tokens, vectors = torch.randn(700, 16), torch.randn(1_200, 16)
    torch.testing.assert_close(largest_logits(tokens, vectors), (vectors @ tokens.T).amax(-1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same() -> None:
    tokens, vectors = torch.randn(5_000, 32), torch.randn(700, 32)
    here, there = rank_ends(tokens, vectors, 20), rank_ends(tokens.cuda(), vectors.cuda(), 20)
    for name in ("promoted", "promoted_logits", "suppressed", "suppressed_logits"):
        assert torch.equal(getattr(there, name), getattr(here, name))
