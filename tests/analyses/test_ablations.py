"""Many ablations in one pass, against the same made one at a time and by hand."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from inspector.analyses.ablations import (
    ABLATIONS,
    SCOPES,
    Ablation,
    Scope,
    SlotTarget,
    check_names,
    score_ablations,
    slots_to_ablate,
    target_of,
)
from inspector.analyses.answers import score_answers
from inspector.analyses.recall import Question, question_batch
from inspector.capture.load import load
from inspector.capture.lookup_edits import LookupInput
from inspector.capture.session import logits, session
from inspector.families.base import MemoryModel
from inspector.memory.product_keys import SiteReads

QUESTIONS = [Question("Jakarta is", "the capital of Indonesia"), Question("Lima", "is big")]
Where = Callable[[str, int, int], bool]  # site, position, head


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=["fp32", "fp64"])
def model(request: pytest.FixtureRequest, tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(), "cpu", request.param)


class ByHand:
    """Zero or mask slots in the one row there is, read by read."""

    def __init__(self, slots: set[int], kind: Ablation, where: Where) -> None:
        self.slots, self.kind, self.where = slots, kind, where

    def __call__(self, made_from: LookupInput, reads: SiteReads) -> SiteReads:
        name = made_from.site.info.name
        parts = [
            part.clone() for part in (reads.slots, reads.scores, reads.weights, reads.coefficients)
        ]
        gone = made_from.without(torch.tensor(sorted(self.slots)))
        instead = (gone.slots, gone.scores, gone.weights, gone.coefficients)
        for pos in range(reads.slots.shape[1]):
            for head in range(reads.slots.shape[2]):
                if not self.where(name, pos, head):
                    continue
                for part, other in zip(parts, instead, strict=True):
                    if self.kind == "mask":
                        part[0, pos, head] = other[0, pos, head]
                for rank in range(reads.slots.shape[3]):
                    if self.kind == "zero" and int(reads.slots[0, pos, head, rank]) in self.slots:
                        parts[3][0, pos, head, rank] = 0
        return SiteReads(*parts)


def read_slots(model: MemoryModel, question: Question) -> Tensor:
    with session(record=True) as recording:
        logits(model, question_batch(model, [question]).ids)
    return recording.reads["L0"].slots[0]


def targets(model: MemoryModel, scope: Scope) -> list[SlotTarget]:
    """What head 1 of the first site reads at the second question's first position of the answer."""
    slots = read_slots(model, QUESTIONS[1])[1, 1].tolist()
    return [target_of(scope, 0, slot, "L0", 1) for slot in slots]


@pytest.mark.parametrize("kind", ABLATIONS)
@pytest.mark.parametrize("scope", SCOPES)
def test_a_batch_of_ablations_is_each_made_alone_by_hand(
    model: MemoryModel, kind: Ablation, scope: Scope
) -> None:
    members = targets(model, scope)
    variants: list[Sequence[SlotTarget]] = [[], members[:1], members[1:], members]
    batch = question_batch(model, QUESTIONS)
    found = score_ablations(model, batch, variants, kind, scope)
    tolerance = 1e-5 if model.dtype == torch.float32 else 1e-9
    changed = 0
    for number, own in enumerate(variants):
        for row, question in enumerate(QUESTIONS):
            alone = question_batch(model, [question])
            answering = alone.answering[0].tolist()

            def where(site: str, pos: int, head: int, due: list[bool] = answering) -> bool:
                reach = {
                    "table": True,
                    "site": site == "L0",
                    "head": site == "L0" and head == 1,
                    "read": site == "L0" and head == 1 and due[pos],
                }
                return reach[scope]

            by_hand = ByHand({target.slot for target in own}, kind, where)
            expected = score_answers(model, alone, [by_hand] if own else [])
            assert float(found.logprob[number, row]) == pytest.approx(
                float(expected.logprob[0]), rel=tolerance
            )
            assert bool(found.kept[number, row]) == bool(expected.kept[0])
            plain = float(found.logprob[0, row])
            changed += abs(float(found.logprob[number, row]) - plain) > 1e-4 * abs(plain)
    assert changed >= 2


def test_sixty_four_ablations_are_one_forward_pass(
    tiny_checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(tiny_checkpoint(), "cpu")
    batch = question_batch(model, QUESTIONS[:1])
    passes: list[int] = []
    handle = model.backbone.final_norm.register_forward_hook(
        lambda _module, inputs, _output: passes.append(len(inputs[0]))
    )
    try:
        score_ablations(model, batch, [[SlotTarget(0, slot)] for slot in range(64)], "zero")
    finally:
        handle.remove()
    assert passes == [64]


def test_large_sets_are_masked_in_several_passes_with_the_same_outcome(
    tiny_checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(tiny_checkpoint(), "cpu")
    batch = question_batch(model, QUESTIONS)
    variants = [[SlotTarget(0, slot + n) for slot in range(20)] for n in range(6)]
    whole = score_ablations(model, batch, variants, "mask")
    monkeypatch.setattr("inspector.analyses.ablations._CELLS", 1)
    torch.testing.assert_close(
        score_ablations(model, batch, variants, "mask").logprob, whole.logprob
    )


def test_no_variants_give_no_scores(tiny_checkpoint: Callable[..., Path]) -> None:
    model = load(tiny_checkpoint(), "cpu")
    found = score_ablations(model, question_batch(model, QUESTIONS), [], "zero")
    assert found.kept.shape == (0, 2)


def test_slots_are_taken_only_from_the_sites_of_their_table(
    tiny_checkpoint: Callable[..., Path],
) -> None:
    model = load(tiny_checkpoint(memory_tables=[0, 1]), "cpu")
    batch = question_batch(model, QUESTIONS)
    slots = slots_to_ablate(
        model, batch, [[SlotTarget(1, 7)], [SlotTarget(1, 3), SlotTarget(0, 5)]]
    )
    assert slots["L2"][:, 0, 0].tolist() == [[7], [3]]
    assert slots["L0"][:, 0, 0].tolist() == [[-1], [5]]


@pytest.mark.parametrize(("kind", "scope"), [("remove", "table"), ("zero", "layer")])
def test_other_ablations_and_scopes_are_refused(kind: str, scope: str) -> None:
    with pytest.raises(ValueError, match="expected one of"):
        check_names(kind, scope)
