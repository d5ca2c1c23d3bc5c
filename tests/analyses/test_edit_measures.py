"""Figures of an edit, against recall and losses measured otherwise."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from inspector.analyses.edit_measures import (
    EditMeter,
    Goal,
    Surroundings,
    draw_unrelated,
)
from inspector.analyses.facts import Fact, read_facts
from inspector.analyses.recall import Question, measure_recall
from inspector.capture.edits import ZeroSlots
from inspector.capture.load import load
from inspector.capture.session import logits, session
from inspector.errors import EditError
from inspector.families.base import MemoryModel

HALF = [ZeroSlots(torch.arange(0, 64, 2))]


@pytest.fixture(scope="module")
def model(little_world: Path) -> MemoryModel:
    return load(little_world, device="cpu")


@pytest.fixture(scope="module")
def facts(little_world: Path) -> tuple[Fact, ...]:
    return read_facts(little_world / "facts.jsonl")


def test_figures_are_those_of_recall(model: MemoryModel, facts: tuple[Fact, ...]) -> None:
    fact = next(f for f in facts if f.heldout_prompts)
    meter = EditMeter(model, Goal(fact, fact.object), Surroundings(facts))
    for edits in ((), HALF):
        figures = meter.measure(edits)
        for prompts, found in (
            (fact.prompts, figures.efficacy),
            (fact.heldout_prompts, figures.generality),
        ):
            asked = [Question(prompt, fact.object) for prompt in prompts]
            recall = measure_recall(model, asked, lambda _: edits)  # noqa: B023
            assert found == recall.rate
    losses = measure_recall(model, [Question(p, fact.object) for p in fact.prompts]).answer_loss
    chance = meter.measure().probability
    assert chance == pytest.approx(sum(math.exp(-x) for x in losses) / len(losses), rel=1e-4)


def test_locality_counts_those_known_before_that_still_are(
    model: MemoryModel, facts: tuple[Fact, ...]
) -> None:
    meter = EditMeter(model, Goal(facts[0], "x"), Surroundings(facts))
    plain, edited = meter.measure(), meter.measure(HALF)
    assert plain.locality == 1.0
    assert all(kept == known for kept, known in plain.by_group.values())
    assert edited.locality is not None
    assert 0 <= edited.locality < 1
    kept = sum(pair[0] for pair in edited.by_group.values())
    known = sum(pair[1] for pair in edited.by_group.values())
    assert edited.locality == kept / known
    assert {g: n for g, (_, n) in edited.by_group.items()} == {
        g: n for g, (_, n) in plain.by_group.items()
    }


def test_perplexity_is_that_of_the_texts_token_by_token(
    model: MemoryModel, facts: tuple[Fact, ...]
) -> None:
    texts = ["The capital of France is Paris", "Web addresses in Peru end in .pe", "Lima"]
    meter = EditMeter(model, Goal(facts[0], "x"), Surroundings(facts, texts=texts))
    total, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([[*model.tokenizer(text).input_ids, model.tokenizer.eos_token_id]])
        with session(HALF):
            scores = logits(model, ids[:, :-1])
        total += float(functional.cross_entropy(scores[0].double(), ids[0, 1:], reduction="sum"))
        count += ids.shape[1] - 1
    figures = meter.measure(HALF)
    assert figures.perplexity_after == pytest.approx(math.exp(total / count), rel=1e-5)
    assert figures.perplexity_before == meter.measure().perplexity_after
    change = figures.perplexity_after / figures.perplexity_before - 1
    assert figures.drift == figures.to_json()["drift"] == change


def test_longer_texts_are_cut_to_what_the_model_reads(
    model: MemoryModel, facts: tuple[Fact, ...]
) -> None:
    texts = ["The capital of France is Paris. " * 40]
    meter = EditMeter(model, Goal(facts[0], "x"), Surroundings(facts, texts=texts))
    assert math.isfinite(meter.measure().perplexity_after)


def test_unrelated_facts_are_of_three_kinds() -> None:
    facts = [Fact(r, s, "o", (f"{r} {s}",)) for r in "abc" for s in map(str, range(300))]
    drawn = draw_unrelated(facts[7], facts, random.Random(0))
    assert {name: len(group) for name, group in drawn.items()} == {
        "same relation": 100,
        "same subject": 2,
        "other": 100,
    }
    assert all(f.relation == "a" and f.subject != "7" for f in drawn["same relation"])
    assert all(f.relation != "a" and f.subject == "7" for f in drawn["same subject"])
    assert all(f.relation != "a" and f.subject != "7" for f in drawn["other"])
    assert drawn == draw_unrelated(facts[7], facts, random.Random(0))


def test_to_forget_is_to_no_longer_say(model: MemoryModel, facts: tuple[Fact, ...]) -> None:
    meter = EditMeter(model, Goal(facts[0], facts[0].object), Surroundings(facts))
    gone = EditMeter(model, Goal(facts[0], None), Surroundings(facts))
    assert gone.measure().efficacy == 1 - meter.measure().efficacy
    assert gone.measure().probability == meter.measure().probability


def test_an_empty_answer_is_refused(facts: tuple[Fact, ...]) -> None:
    with pytest.raises(EditError, match="new answer is empty"):
        Goal(facts[0], " ")
