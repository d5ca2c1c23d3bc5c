"""Controls are other reads that fired in the same prompt, as many and about as strong."""

from pathlib import Path

import numpy as np
import pytest
import torch

from inspector.analyses import fair_controls
from inspector.analyses.ablations import ABLATIONS, Ablation, SlotTarget
from inspector.analyses.answers import score_answers, take_rows
from inspector.analyses.facts import read_facts
from inspector.analyses.fair_controls import matched_controls
from inspector.analyses.recall import Question, QuestionBatch, question_batch
from inspector.capture.contributions import read_contributions
from inspector.capture.edits import ZeroReads
from inspector.capture.load import load
from inspector.capture.session import Recording, logits, session
from inspector.families.base import MemoryModel


@pytest.fixture(scope="module")
def model(little_world: Path) -> MemoryModel:
    return load(little_world, "cpu")


@pytest.fixture(scope="module")
def batch(model: MemoryModel, little_world: Path) -> QuestionBatch:
    facts = read_facts(little_world / "facts.jsonl")[:3]
    return question_batch(model, [Question(fact.prompts[0], fact.object) for fact in facts])


@pytest.fixture(scope="module")
def recording(model: MemoryModel, batch: QuestionBatch) -> Recording:
    with session(record=True) as found:
        logits(model, batch.ids)
    return found


def strongest(recording: Recording, batch: QuestionBatch) -> list[SlotTarget]:
    """What the first head of a site reads first where the first answer begins."""
    pos = int(batch.first()[0])
    return [SlotTarget(0, int(slot)) for slot in recording.reads["L1"].slots[0, pos, 0, :2]]


@pytest.mark.parametrize("kind", ABLATIONS)
def test_controls_are_other_reads_of_the_prompt_as_many_and_as_strong(
    model: MemoryModel,
    batch: QuestionBatch,
    recording: Recording,
    monkeypatch: pytest.MonkeyPatch,
    kind: Ablation,
) -> None:
    members = strongest(recording, batch)
    slots = torch.tensor([member.slot for member in members])
    seen: list[dict[str, torch.Tensor]] = []
    take_away = fair_controls._take_away

    def spy(
        recorded: Recording, masks: dict[str, torch.Tensor], kind: Ablation, draws: int
    ) -> object:
        seen.append(masks)
        return take_away(recorded, masks, kind, draws)

    monkeypatch.setattr(fair_controls, "_take_away", spy)
    found = matched_controls(model, batch, members, kind, "table", draws=4, seed=0)
    masks = seen[0]
    core = {name: torch.isin(reads.slots, slots) for name, reads in recording.reads.items()}
    for row in range(3):
        length = int(batch.answering[row].nonzero().max()) + 1
        own = sum(int(mask[row, :length].sum()) for mask in core.values())
        assert found.reads[row] == own
        for draw in range(4):
            taken = {name: mask[draw * 3 + row] for name, mask in masks.items()}
            assert sum(int(mask.sum()) for mask in taken.values()) == own
            for name, mask in taken.items():
                assert not (mask & core[name][row, : len(mask)]).any()
                assert not mask[length:].any()
    assert found.short == 0
    assert found.norm_ratio == pytest.approx(norm_ratio(model, recording, core, masks, batch))
    assert 0.7 < found.norm_ratio < 1.4
    assert 0 < found.same_place <= 1
    if kind == "zero":
        rows = take_rows(batch, [0, 1, 2] * 4)
        expected = score_answers(model, rows, [ZeroReads(masks)]).logprob.view(4, 3)
        torch.testing.assert_close(found.scores.logprob, expected)
    assert len({tuple(masks["L1"][3 * n].flatten().tolist()) for n in range(4)}) > 1


def norm_ratio(
    model: MemoryModel,
    recording: Recording,
    core: dict[str, torch.Tensor],
    masks: dict[str, torch.Tensor],
    batch: QuestionBatch,
) -> float:
    own = other = 0.0
    upto = batch.answering.flip(-1).cumsum(-1).flip(-1) > 0
    for name, site in model.sites.items():
        with torch.no_grad():
            vectors = read_contributions(site, recording.inputs[name], recording.reads[name])
        norms = vectors.norm(dim=-1)
        own += 4 * float(norms[core[name] & upto[..., None, None]].sum())
        other += float(norms.repeat(4, 1, 1, 1)[:, : masks[name].shape[1]][masks[name]].sum())
    return other / own


def test_the_same_seed_draws_the_same_controls(
    model: MemoryModel, batch: QuestionBatch, recording: Recording
) -> None:
    members = strongest(recording, batch)
    first, again, other = (
        matched_controls(model, batch, members, "zero", "table", draws=5, seed=seed)
        for seed in (1, 1, 2)
    )
    assert torch.equal(first.scores.logprob, again.scores.logprob)
    assert not torch.equal(first.scores.logprob, other.scores.logprob)


def test_where_a_prompt_has_too_few_other_reads_that_is_counted(
    model: MemoryModel, batch: QuestionBatch, recording: Recording
) -> None:
    alone = take_rows(batch, [0])
    length = alone.ids.shape[1]
    slots = {
        int(slot) for reads in recording.reads.values() for slot in reads.slots[0, :length].unique()
    }
    few = sorted(slots)[3:]
    found = matched_controls(
        model, alone, [SlotTarget(0, slot) for slot in few], "zero", "table", draws=2, seed=0
    )
    total = sum(reads.slots[0, :length].numel() for reads in recording.reads.values())
    left = total - int(found.reads[0])
    assert found.short == 2 * max(0, int(found.reads[0]) - left)
    assert found.short > 0
    assert np.isfinite(found.norm_ratio)
