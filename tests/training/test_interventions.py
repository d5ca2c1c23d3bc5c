"""Interchanged and silenced rows: worked out by hand on small batches."""

from __future__ import annotations

import torch

from inspector.memory.llama import MemoryLlamaConfig, MemoryLlamaForCausalLM
from inspector.training.interventions import (
    Interventions,
    Plan,
    intervened,
    read_source,
)

RELATIONS = ["a", "a", "a", "b", "b", "b", "b", "c"]
ANSWERS = ["x", "y", "y", "p", "q", "r", "r", "z"]
GUESSES = {"a": 1, "b": 5, "c": 7}  # first sentences with the most frequent answers


def make(silenced: float = 0.25, interchanged: float = 0.25, after: int = 0) -> Interventions:
    return Interventions(
        RELATIONS,
        ANSWERS,
        batch=8,
        silenced=silenced,
        interchanged=interchanged,
        interchange_after=after,
        seed=3,
    )


def test_a_plan_follows_from_seed_and_step_alone() -> None:
    rows = list(range(8))
    assert make().plan(rows, 5) == make().plan(rows, 5)
    assert any(make().plan(rows, 5) != make().plan(rows, step) for step in range(6, 12))


def test_donors_are_whole_rows_of_the_same_relation() -> None:
    for step in range(50):
        plan = make().plan(list(range(8)), step)
        assert len(plan.silent_from) == 2
        for receiver, donor in plan.donors.items():
            assert RELATIONS[receiver] == RELATIONS[donor]
            assert donor not in plan.donors
            assert donor not in plan.silent_from
            assert plan.answer_of[receiver] == donor
        for place in plan.silent_from:
            assert plan.answer_of[place] == GUESSES[RELATIONS[place]]
        untouched = set(range(8)) - set(plan.donors) - set(plan.silent_from)
        assert all(plan.answer_of[place] == place for place in untouched)


def test_rows_are_interchanged_only_after_the_step_that_says_so() -> None:
    late = make(after=10)
    assert all(not late.plan(list(range(8)), step).donors for step in range(10))
    assert any(late.plan(list(range(8)), step).donors for step in range(10, 20))


def test_reads_come_from_the_donor_where_the_answer_is_produced() -> None:
    # Row 0 has a prompt of 3 tokens and takes row 1's answer of 2 tokens, which starts at 4 there.
    plan = Plan(answer_of=(1, 1, 2), silent_from={2: False}, donors={0: 1})
    source = read_source(plan, starts=[3, 4, 2], lengths=[5, 6, 4], width=5)
    assert source.row.tolist() == [[0, 0, 1, 1, 0], [1] * 5, [2] * 5]
    assert source.pos.tolist() == [[0, 1, 3, 4, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]
    assert source.silent.tolist() == [[False] * 5, [False] * 5, [False, True, True, True, True]]


def test_the_model_uses_the_reads_it_is_given() -> None:
    torch.manual_seed(0)
    config = MemoryLlamaConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        memory_layers=[0, 1],
        memory_heads=2,
        memory_knn=2,
        memory_half_keys=4,
        memory_d_key=8,
    )
    model = MemoryLlamaForCausalLM(config).eval()
    ids = torch.randint(20, (2, 4))
    with torch.no_grad():
        plain = model(ids).logits
        whole = Plan((0, 1), {}, {})
        with intervened(model, read_source(whole, [2, 2], [5, 5], 4)):
            assert torch.equal(model(ids).logits, plain)
        swap = Plan((1, 1), {}, {0: 1})
        seen = []
        hook = model.memory_layers[1].top_slots.register_forward_hook(
            lambda _m, _i, lookup: seen.append(lookup)
        )
        with intervened(model, read_source(swap, [2, 2], [5, 5], 4)):
            swapped = model(ids).logits
        hook.remove()
        assert torch.equal(swapped[1], plain[1])  # the donor is left as it is
        assert torch.equal(swapped[0, 0], plain[0, 0])  # and so is what comes before the answer
        assert not torch.equal(swapped[0, 1:], plain[0, 1:])
        assert torch.equal(model(ids).logits, plain)  # nothing is left behind
