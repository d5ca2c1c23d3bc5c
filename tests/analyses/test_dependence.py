"""Reads zeroed, matched and swapped: against the same done by hand, one question at a time."""

import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from inspector.analyses.dependence import matched_reads, measure_dependence, measure_swap
from inspector.analyses.facts import read_facts
from inspector.analyses.recall import Question, measure_recall, question_batches
from inspector.capture.contributions import read_contributions
from inspector.capture.load import load
from inspector.capture.lookup_edits import LookupInput
from inspector.capture.session import logits, session
from inspector.families.base import MemoryModel
from inspector.memory.product_keys import SiteReads

PARTS = ("slots", "scores", "weights", "coefficients")


@pytest.fixture(scope="module")
def model(little_world: Path) -> MemoryModel:
    return load(little_world, "cpu")


@pytest.fixture(scope="module")
def questions(little_world: Path) -> list[Question]:
    facts = read_facts(little_world / "facts.jsonl")[:40]
    return [Question(fact.prompts[0], fact.object) for fact in facts]


@dataclass(frozen=True)
class Put:
    """An edit by hand: at some positions of the one row there is, other reads."""

    reads: dict[str, list[SiteReads]]  # [pos], each [head knn]
    start: int

    def __call__(self, made_from: LookupInput, reads: SiteReads) -> SiteReads:
        changed = SiteReads(*(getattr(reads, part).clone() for part in PARTS))
        for pos, own in enumerate(self.reads[made_from.site.info.name], start=self.start):
            for part in PARTS:
                getattr(changed, part)[0, pos] = getattr(own, part)
        return changed


def encoded(model: MemoryModel, question: Question) -> tuple[Tensor, int]:
    """Tokens of the question with its answer and the end of text, and of its prompt how many."""
    ids = model.tokenizer(f"{question.prompt} {question.answer}").input_ids
    return torch.tensor([[*ids, 1]]), len(model.tokenizer(question.prompt).input_ids)


def answering_reads(model: MemoryModel, question: Question) -> dict[str, list[SiteReads]]:
    """Per site the reads ``[head knn]`` at each position that produces the answer."""
    ids, prompt = encoded(model, question)
    with session(record=True) as recording:
        logits(model, ids[:, :-1])
    return {
        name: [
            SiteReads(*(getattr(reads, part)[0, pos] for part in PARTS))
            for pos in range(prompt - 1, ids.shape[1] - 1)
        ]
        for name, reads in recording.reads.items()
    }


def answer_loss(model: MemoryModel, question: Question, edit: Put) -> float:
    ids, prompt = encoded(model, question)
    with session([edit]):
        logs = logits(model, ids[:, :-1])[0].log_softmax(-1)
    return -sum(float(logs[p - 1, int(ids[0, p])]) for p in range(prompt, ids.shape[1]))


def silenced(reads: dict[str, list[SiteReads]]) -> dict[str, list[SiteReads]]:
    return {
        name: [SiteReads(r.slots, r.scores, r.weights, 0 * r.coefficients) for r in each]
        for name, each in reads.items()
    }


def test_zeroing_all_reads_is_a_memory_of_zeros(
    model: MemoryModel, questions: list[Question], tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    shutil.copytree(model.path, empty)
    shard = empty / "model-00002-of-00002.safetensors"
    save_file({name: 0 * table for name, table in load_file(shard).items()}, shard)
    expected = measure_recall(load(empty, "cpu"), questions)
    found = measure_dependence(model, questions)
    assert found.all_zero.correct.tolist() == expected.correct.tolist()
    assert found.all_zero.answer_loss == pytest.approx(expected.answer_loss, rel=1e-4)
    assert found.all_zero.phrasing_loss == pytest.approx(expected.phrasing_loss, rel=1e-4)
    assert found.all_zero.rate < found.intact.rate


def test_zeroing_answer_positions_leaves_the_others(
    model: MemoryModel, questions: list[Question]
) -> None:
    found = measure_dependence(model, questions)
    for row in (0, 5, 21):
        question = questions[row]
        start = encoded(model, question)[1] - 1
        by_hand = Put(silenced(answering_reads(model, question)), start)
        expected = answer_loss(model, question, by_hand)
        assert found.answer_zero.answer_loss[row] == pytest.approx(expected, rel=1e-4)
        assert found.answer_zero.phrasing_loss[row] == pytest.approx(
            found.intact.phrasing_loss[row], rel=1e-4
        )


@pytest.fixture(scope="module")
def small(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    """Two reads a token, at one site."""
    path = tiny_checkpoint(memory_layers=[1], memory_heads=1, memory_knn=2)
    return load(path, "cpu")


def norms_by_position(small: MemoryModel, question: Question) -> tuple[list[float], list[float]]:
    """Contribution norms of the reads at the answering positions, and of those before them."""
    ids, prompt = encoded(small, question)
    with session(record=True) as recording:
        logits(small, ids[:, :-1])
    contributions = read_contributions(
        small.sites["L1"], recording.inputs["L1"], recording.reads["L1"]
    )
    norms = contributions.norm(dim=-1)[0, :, 0]  # [pos knn]
    return norms[prompt - 1 :].flatten().tolist(), norms[: prompt - 1].flatten().tolist()


def test_matched_reads_fired_before_the_answer_and_come_closest_to_its_norms(
    small: MemoryModel,
) -> None:
    question = Question("Ottaw", "")  # its answer is a space, and the end of the text
    own, before = norms_by_position(small, question)
    assert (len(own), len(before)) == (4, 8)

    def cost(reads: tuple[int, ...]) -> float:
        return sum(abs(before[read] - norm) for read, norm in zip(reads, own, strict=True))

    best = min(itertools.permutations(range(len(before)), len(own)), key=cost)
    masks, ratio = matched_reads(small, next(question_batches(small, [question])))
    assert set(masks) == {"L1"}
    chosen = masks["L1"].flatten().nonzero().flatten().tolist()  # positions come first
    assert max(chosen) < len(before)
    assert len(chosen) == len(own)
    assert min(map(cost, itertools.permutations(chosen))) == pytest.approx(cost(best))
    assert ratio == pytest.approx(sum(before[read] for read in chosen) / sum(own))


def test_a_prompt_with_fewer_reads_than_its_answer_gives_all_and_the_ratio_tells(
    small: MemoryModel,
) -> None:
    question = Question("Li", "ma")
    own, before = norms_by_position(small, question)
    assert len(before) < len(own)
    masks, ratio = matched_reads(small, next(question_batches(small, [question])))
    assert masks["L1"].flatten().nonzero().flatten().tolist() == list(range(len(before)))
    assert ratio == pytest.approx(sum(before) / sum(own))


def test_a_match_does_not_depend_on_the_rest_of_the_batch(
    model: MemoryModel, questions: list[Question]
) -> None:
    batch = next(question_batches(model, questions))
    masks, _ = matched_reads(model, batch)
    for place in (0, 20, 39):
        alone = next(question_batches(model, [questions[batch.rows[place]]]))
        expected, _ = matched_reads(model, alone)
        length = alone.ids.shape[1]
        for name, mask in masks.items():
            assert torch.equal(mask[place, :length], expected[name][0])
            assert not mask[place, length:].any()


def test_a_swap_is_the_one_made_by_hand(model: MemoryModel, questions: list[Question]) -> None:
    pairs = [(questions[row], questions[row + 20]) for row in range(20)]
    swapped, before = measure_swap(model, pairs)
    asked = [Question(own.prompt, donor.answer) for own, donor in pairs]
    assert before.correct.tolist() == measure_recall(model, asked).correct.tolist()
    for row in (0, 7, 19):
        start = encoded(model, asked[row])[1] - 1
        by_hand = Put(answering_reads(model, pairs[row][1]), start)
        expected = answer_loss(model, asked[row], by_hand)
        assert swapped.answer_loss[row] == pytest.approx(expected, rel=1e-4)
        assert swapped.answer_loss[row] != pytest.approx(before.answer_loss[row], rel=1e-2)


def test_swapping_a_subjects_reads_for_its_own_changes_nothing(
    model: MemoryModel, questions: list[Question]
) -> None:
    swapped, _ = measure_swap(model, [(question, question) for question in questions])
    intact = measure_recall(model, questions)
    assert swapped.correct.tolist() == intact.correct.tolist()
    assert swapped.answer_loss == pytest.approx(intact.answer_loss, rel=1e-4)
