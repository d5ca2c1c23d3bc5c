"""Giving a fact another answer, and taking its answer away, on a checkpoint trained for seconds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from inspector.analyses.edit_list import as_edits
from inspector.analyses.edit_measures import Surroundings
from inspector.analyses.fact_edit import EditSettings, EditStep, FactEdit
from inspector.analyses.facts import Fact, read_facts
from inspector.analyses.make_it_say import forget, make_it_say
from inspector.analyses.recall import Question, measure_recall
from inspector.analyses.specific_slots import background_usage
from inspector.capture.load import load
from inspector.capture.session import logits, session
from inspector.errors import EditError, NotShown
from inspector.families.base import MemoryModel
from tests.families.damage import TABLE

# Its table has 64 slots in all, so that whatever is edited is shared with every other fact.
FEW = EditSettings(slots=12, anchors=8, keep=0.1, settle=2)


@pytest.fixture(scope="module")
def model(little_world: Path) -> MemoryModel:
    return load(little_world, device="cpu")


@pytest.fixture(scope="module")
def facts(little_world: Path) -> tuple[Fact, ...]:
    return read_facts(little_world / "facts.jsonl")


@pytest.fixture(scope="module")
def around(model: MemoryModel, facts: tuple[Fact, ...]) -> Surroundings:
    return Surroundings(facts, background_usage(model))


@pytest.fixture(scope="module")
def known(model: MemoryModel, facts: tuple[Fact, ...]) -> Fact:
    """A fact that the model knows in every phrasing, and that has one held out."""
    for fact in facts:
        asked = [Question(prompt, fact.object) for prompt in fact.prompts]
        if fact.heldout_prompts and measure_recall(model, asked).correct.all():
            return fact
    raise AssertionError("it knows none")


@pytest.fixture(scope="module")
def other(known: Fact, facts: tuple[Fact, ...]) -> str:
    return next(f.object for f in facts if f.relation == known.relation and f != known)


@pytest.fixture(scope="module")
def edited(model: MemoryModel, known: Fact, other: str, around: Surroundings) -> FactEdit:
    return make_it_say(model, known, other, around, settings=FEW)


def says(model: MemoryModel, fact: Fact, answer: str, found: FactEdit) -> list[bool]:
    asked = [Question(prompt, answer) for prompt in fact.prompts]
    told: list[bool] = measure_recall(model, asked, lambda _: found.new_values()).correct.tolist()
    return told


def test_all_phrasings_say_the_new_answer(
    model: MemoryModel, known: Fact, other: str, edited: FactEdit
) -> None:
    assert edited.reached, edited.message
    assert all(says(model, known, other, edited))
    assert not any(says(model, known, known.object, edited))
    assert edited.before.efficacy == 0.0
    assert edited.figures.efficacy == 1.0
    assert f"is {other}, in all {len(known.prompts)} phrasings" in edited.message


def test_only_the_chosen_slots_change(model: MemoryModel, edited: FactEdit) -> None:
    assert 0 < len(edited.slots) == len(edited.values) <= 12
    kept = model.tables[0].rows(edited.slots.of_table(0))
    assert torch.equal(edited.old, kept)
    assert (edited.values != edited.old).any(-1).all()
    frame = edited.to_frame()
    assert frame.moved.tolist() == pytest.approx(
        (edited.values - edited.old).norm(dim=-1).tolist(), rel=1e-5
    )


def test_the_model_itself_stays_as_it_is(
    model: MemoryModel, known: Fact, other: str, around: Surroundings
) -> None:
    before = model.tables[0].weight.clone()
    ids = torch.tensor([[0, 5, 9, 12]])
    plain = logits(model, ids)
    make_it_say(model, known, other, around, settings=replace(FEW, steps=3))
    assert torch.equal(model.tables[0].weight, before)
    assert torch.equal(logits(model, ids), plain)
    assert model.tables[0].weight.grad is None


def test_the_same_seed_gives_the_same_edit(
    model: MemoryModel, known: Fact, other: str, around: Surroundings, edited: FactEdit
) -> None:
    again = make_it_say(model, known, other, around, settings=FEW)
    assert torch.equal(again.values, edited.values)
    assert again.to_json() == edited.to_json()


def test_every_step_is_told_and_the_last_has_the_figures(
    model: MemoryModel, known: Fact, other: str, around: Surroundings
) -> None:
    told: list[EditStep] = []
    found = make_it_say(model, known, other, around, settings=FEW, report=told.append)
    assert tuple(told) == found.history
    assert [step.step for step in told] == list(range(len(told)))
    assert told[-1].figures == found.figures
    assert all(step.phrasings == len(known.prompts) for step in told)
    assert all(0 <= step.said <= step.phrasings for step in told)
    assert told[0].divergence == pytest.approx(0, abs=1e-6)
    assert told[-1].divergence > 0


def test_its_records_do_what_it_does(model: MemoryModel, edited: FactEdit) -> None:
    ids = torch.tensor([[0, 5, 9, 12]])
    with session(edited.new_values()):
        expected = logits(model, ids)
    with session(as_edits(model, edited.slot_edits())):
        assert torch.equal(logits(model, ids), expected)


def test_an_answer_of_several_tokens(model: MemoryModel, known: Fact, around: Surroundings) -> None:
    answer = "xq zw"
    tokens = len(model.tokenizer(f" {answer}").input_ids) - 1
    assert tokens >= 3
    settings = replace(FEW, slots=48, steps=300, keep=0.0)
    found = make_it_say(model, known, f"  {answer} ", around, settings=settings)
    assert found.reached, found.message
    assert all(says(model, known, answer, found))


def test_an_edit_that_cannot_succeed_says_so_and_keeps_the_best_attempt(
    model: MemoryModel, known: Fact, other: str, around: Surroundings
) -> None:
    settings = replace(FEW, slots=1, steps=4, rate=1e-4)
    found = make_it_say(model, known, other, around, settings=settings)
    assert not found.reached
    assert not found.cancelled
    assert found.message.startswith("This edit did not succeed after 4 steps")
    assert f"in 0 of {len(known.prompts)} phrasings" in found.message
    assert found.figures.efficacy == 0.0
    assert found.to_json()["reached"] is False
    assert len(found.history) == 5


def test_a_cancelled_edit_keeps_what_it_had(
    model: MemoryModel, known: Fact, other: str, around: Surroundings
) -> None:
    asked: list[bool] = []

    def cancel() -> bool:
        asked.append(True)
        return len(asked) == 3

    found = make_it_say(
        model, known, other, around, settings=replace(FEW, rate=1e-3), cancel=cancel
    )
    assert found.cancelled
    assert len(found.history) == 3
    assert found.message.startswith("Stopped after 2 steps")


def test_what_is_said_already_needs_no_edit(
    model: MemoryModel, known: Fact, around: Surroundings
) -> None:
    settings = replace(FEW, margin=0.0, hold=1.0)
    found = make_it_say(model, known, known.object, around, settings=settings)
    assert found.reached
    assert len(found.slots) == 0
    assert found.new_values() == ()
    assert "no value changed" in found.message
    assert found.figures == found.before


def test_forgetting_makes_it_say_something_else_of_the_relation(
    model: MemoryModel, known: Fact, facts: tuple[Fact, ...], around: Surroundings
) -> None:
    found = forget(model, known, around, settings=FEW)
    assert found.reached, found.message
    assert found.before.efficacy == 0.0
    assert not any(says(model, known, known.object, found))
    assert found.figures.probability < found.before.probability
    assert f"no longer {known.object}" in found.message
    assert found.to_json()["answer"] is None


def test_a_table_in_half_precision_is_measured_as_it_is_stored(
    little_world: Path, known: Fact, other: str, tmp_path: Path
) -> None:
    folder = tmp_path / "half"
    shutil.copytree(little_world, folder)
    [shard] = [f for f in folder.glob("model*.safetensors") if TABLE in load_file(f)]
    tensors = load_file(shard)
    save_file({**tensors, TABLE: tensors[TABLE].bfloat16()}, shard, metadata={"format": "pt"})
    half = load(folder, "cpu", torch.float32)
    around = Surroundings(read_facts(folder / "facts.jsonl"), background_usage(half))
    found = make_it_say(half, known, other, around, settings=FEW)
    assert found.values.dtype == found.old.dtype == torch.bfloat16
    assert found.reached, found.message
    assert all(says(half, known, other, found))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_it_computes_in_the_model_s_own_format(
    little_world: Path, facts: tuple[Fact, ...], known: Fact, other: str, dtype: torch.dtype
) -> None:
    model = load(little_world, "cpu", dtype)
    around = Surroundings(facts, background_usage(model))
    found = make_it_say(model, known, other, around, settings=replace(FEW, steps=6))
    assert found.values.dtype == torch.float32  # as the table is stored
    assert found.history[-1].loss < found.history[0].loss
    assert found.figures.probability > found.before.probability


# --- refusals -----------------------------------------------------------------------------------


def test_an_empty_answer_is_refused(model: MemoryModel, known: Fact, around: Surroundings) -> None:
    with pytest.raises(EditError, match="new answer is empty"):
        make_it_say(model, known, "  ", around)


def test_sites_that_are_no_sums_are_refused(
    little_world: Path, known: Fact, around: Surroundings
) -> None:
    model = load(little_world, "cpu")
    site = model.sites["L1"]
    site.info = replace(site.info, additive=False)
    with pytest.raises(NotShown, match="L1 is not a sum of its reads"):
        make_it_say(model, known, "x", around)
