"""The lookup against a search of all n * n keys, with ties everywhere."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from torch import Tensor

from inspector.memory.product_keys import (
    candidate_ranks,
    look_up,
    score_half_keys,
    select_slots,
    slot_scores,
    top_k,
)
from tests.memory.by_hand import best_slots_of_rows, softmax

# Few integers make ties the rule; eighths between -64 and 64 make them the exception. Sums of
# either are exact, so that there is one right answer.
FEW = st.integers(-2, 2).map(float)
MANY = st.integers(-512, 512).map(lambda eighths: eighths / 8)


@st.composite
def half_scores(draw: st.DrawFn, leading: tuple[int, ...] | None = None) -> Tensor:
    """``[... half half_key]``, float32."""
    if leading is None:
        leading = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
    n = draw(st.integers(1, 7))
    elements = draw(st.sampled_from((FEW, MANY)))
    array = draw(nps.arrays("float32", (*leading, 2, n), elements=elements))
    return torch.from_numpy(array)


# --- selection ----------------------------------------------------------------------------------


@given(st.data())
def test_the_best_slots_are_those_of_a_search_of_all_keys(data: st.DataObject) -> None:
    scores = data.draw(half_scores())
    knn = data.draw(st.integers(1, scores.shape[-1] ** 2))
    assert torch.equal(select_slots(scores, knn), best_slots_of_rows(scores, knn))


@given(st.data())
def test_masked_slots_make_room_for_the_next_best(data: st.DataObject) -> None:
    batch, pos, heads = (data.draw(st.integers(1, 2)) for _ in range(3))
    scores = data.draw(half_scores((batch, pos, heads)))
    slots = scores.shape[-1] ** 2
    row = st.lists(st.integers(-1, slots - 1), max_size=slots - 1)  # with doubles and -1
    rows = [data.draw(row) for _ in range(batch)]
    width = max(map(len, rows))
    masked = torch.tensor([[*r, *[-1] * (width - len(r))] for r in rows], dtype=torch.int64)
    masked = masked.view(batch, 1, 1, width)
    fewest = min(slots - len(set(r) - {-1}) for r in rows)
    knn = data.draw(st.integers(1, fewest))
    found = select_slots(scores, knn, masked)
    assert torch.equal(found, best_slots_of_rows(scores, knn, masked))
    with pytest.raises(ValueError, match="less the masked ones"):
        select_slots(scores, fewest + 1, masked)


@given(st.data())
def test_one_list_of_masked_slots_holds_for_every_row(data: st.DataObject) -> None:
    scores = data.draw(half_scores((2, 3)))
    slots = scores.shape[-1] ** 2
    chosen = data.draw(st.sets(st.integers(0, slots - 1), max_size=slots - 1))
    masked = torch.tensor(sorted(chosen), dtype=torch.int64)
    knn = data.draw(st.integers(1, slots - len(chosen)))
    found = select_slots(scores, knn, masked)
    assert torch.equal(found, best_slots_of_rows(scores, knn, masked))
    assert not chosen & set(found.flatten().tolist())


def test_a_tie_across_rank_k_goes_to_the_lowest_slot() -> None:
    # The sums of slots 0 to 8: 1, 0, 1; 2, 1, 2; 2, 1, 2.
    scores = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    assert select_slots(scores, 4).tolist() == [3, 5, 6, 8]
    assert select_slots(scores, 3).tolist() == [3, 5, 6]
    assert select_slots(scores, 6).tolist() == [3, 5, 6, 8, 0, 2]
    assert select_slots(scores, 3, torch.tensor([5])).tolist() == [3, 6, 8]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_equal_scores_are_read_in_the_order_of_their_slots(n: int) -> None:
    assert select_slots(torch.zeros(3, 2, n), n * n).tolist() == [list(range(n * n))] * 3


def test_every_key_can_be_read_but_no_more() -> None:
    scores = torch.randn(4, 2, 3)
    assert select_slots(scores, 9).sort().values.tolist() == [list(range(9))] * 4
    with pytest.raises(ValueError, match="10 slots were asked for, of 9 keys"):
        select_slots(scores, 10)


def test_one_row_with_too_few_slots_left_is_refused() -> None:
    masked = torch.tensor([[0, 1, 2, -1], [0, 1, 2, 3]])
    scores = torch.randn(2, 2, 2)
    assert select_slots(scores[:1], 1, masked[:1]).tolist() == [[3]]
    with pytest.raises(ValueError, match="less the masked ones"):
        select_slots(scores, 1, masked)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_real_scores_at_the_size_of_real_layers(dtype: torch.dtype) -> None:
    scores = torch.randn(2, 2, 2, 48).to(dtype)
    assert torch.equal(select_slots(scores, 32), best_slots_of_rows(scores, 32))
    masked = select_slots(scores, 9)[..., 4:]  # the fifth to ninth best of each row
    found = select_slots(scores, 32, masked)
    assert torch.equal(found, best_slots_of_rows(scores, 32, masked))


def test_masking_needs_deeper_lists_than_the_plain_lookup() -> None:
    # Half-key 0 wins both halves by far, so that masking (0, 0) must bring up (0, 2) and (2, 0),
    # which the candidates for two reads, (0, 0), (0, 1) and (1, 0), do not contain.
    scores = torch.tensor([[9.0, 1.0, 0.0], [9.0, 1.0, 0.0]])
    assert select_slots(scores, 3, torch.tensor([0])).tolist() == [1, 3, 2]
    assert select_slots(scores, 2, torch.tensor([0, 1])).tolist() == [3, 2]


# --- parts --------------------------------------------------------------------------------------


@given(st.data())
def test_top_k_is_a_stable_sort(data: st.DataObject) -> None:
    scores = torch.from_numpy(
        data.draw(nps.arrays("float32", nps.array_shapes(max_dims=3, max_side=6), elements=FEW))
    )
    k = data.draw(st.integers(1, scores.shape[-1]))
    expected = scores.sort(dim=-1, descending=True, stable=True).indices[..., :k]
    assert torch.equal(top_k(scores, k), expected)


def test_top_k_can_break_ties_by_another_order() -> None:
    scores = torch.tensor([[1.0, 2.0, 2.0, 2.0], [4.0, 3.0, 2.0, 1.0]])
    tiebreak = torch.tensor([[0, 7, 5, 6], [9, 8, 7, 6]])
    assert top_k(scores, 2, tiebreak).tolist() == [[2, 3], [0, 1]]


@pytest.mark.parametrize(
    ("k", "ranks", "count"),
    [(32, 32, 119), (1, 1, 1), (2, 2, 3), (4, 2, 4), (4, 4, 8), (9, 3, 9), (40, 32, 142)],
)
def test_number_of_candidates(k: int, ranks: int, count: int) -> None:
    pairs = list(zip(*candidate_ranks(k, ranks), strict=True))
    by_hand = [(a, b) for a in range(ranks) for b in range(ranks) if (a + 1) * (b + 1) <= k]
    assert sorted(pairs) == sorted(by_hand)
    assert len(pairs) == count


def test_half_scores_are_dot_products_of_halves() -> None:
    query, half_keys = torch.randn(5, 3, 8), torch.randn(3, 2, 6, 4)
    scores = score_half_keys(query, half_keys)
    assert scores.shape == (5, 3, 2, 6)
    for token in range(5):
        for head in range(3):
            for half, part in enumerate((query[token, head, :4], query[token, head, 4:])):
                expected = half_keys[head, half] @ part
                torch.testing.assert_close(scores[token, head, half], expected)


@pytest.mark.parametrize(
    ("given_as", "found_as"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
    ],
)
def test_half_scores_are_float32_at_least(given_as: torch.dtype, found_as: torch.dtype) -> None:
    query, half_keys = torch.ones(1, 2, dtype=given_as), torch.ones(1, 2, 3, 1, dtype=given_as)
    assert score_half_keys(query, half_keys).dtype == found_as


# --- the whole lookup ---------------------------------------------------------------------------


@given(st.data())
def test_scores_and_weights_belong_to_the_slots(data: st.DataObject) -> None:
    scores = data.draw(half_scores((2,)))
    n = scores.shape[-1]
    knn = data.draw(st.integers(1, n * n))
    found = look_up(scores, knn)
    for row in range(2):
        slots = found.slots[row].tolist()
        sums = [scores[row, 0, s // n].item() + scores[row, 1, s % n].item() for s in slots]
        assert found.scores[row].tolist() == sums
        assert sums == sorted(sums, reverse=True)
        assert found.weights[row].tolist() == pytest.approx(softmax(sums), abs=1e-6)


def test_slot_scores_of_slots_that_were_not_selected() -> None:
    scores = torch.tensor([[[1.0, 2.0], [10.0, 20.0]]])
    assert slot_scores(scores, torch.tensor([[3, 0, 1, 2]])).tolist() == [[22, 11, 21, 12]]


@pytest.mark.parametrize("masked", [None, torch.tensor([0, 5, -1])])
def test_gradients_flow_through_scores_and_weights(masked: Tensor | None) -> None:
    scores = torch.randn(2, 2, 2, 4, dtype=torch.float64, requires_grad=True)

    def differentiable(half_scores: Tensor) -> tuple[Tensor, Tensor]:
        found = look_up(half_scores, 3, masked)
        return found.scores, found.weights

    assert torch.autograd.gradcheck(differentiable, (scores,))
    assert not look_up(scores, 3, masked).slots.requires_grad


def test_only_half_keys_that_were_read_get_a_gradient() -> None:
    scores = torch.tensor([[5.0, 0.0, 1.0], [0.0, 7.0, 1.0]], requires_grad=True)
    found = look_up(scores, 2)
    assert found.slots.tolist() == [1, 7]  # (0, 1) with 5 + 7 and (2, 1) with 1 + 7
    found.scores.sum().backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [[1, 0, 1], [0, 2, 0]]
