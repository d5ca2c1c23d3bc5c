"""Recall of a set of facts: the questions that were asked, and the rates they come to."""

import dataclasses
from pathlib import Path

import pytest
import torch

from inspector.analyses.fact_recall import FactRecall, recall_facts
from inspector.analyses.facts import Fact, read_facts
from inspector.capture.load import load
from inspector.capture.session import logits
from inspector.errors import FactsError
from inspector.families.base import MemoryModel
from inspector.training.evaluate import recall_by_relation
from tests.analyses.planted_facts import FACTS, planted_model


@pytest.fixture(scope="module")
def model(little_world: Path) -> MemoryModel:
    return load(little_world, "cpu")


@pytest.fixture(scope="module")
def facts(little_world: Path) -> tuple[Fact, ...]:
    return read_facts(little_world / "facts.jsonl")


@pytest.fixture(scope="module")
def found(model: MemoryModel, facts: tuple[Fact, ...]) -> FactRecall:
    return recall_facts(model, facts, seed=3)


def test_rates_are_those_that_the_evaluation_reports(
    model: MemoryModel, facts: tuple[Fact, ...], found: FactRecall
) -> None:
    expected = recall_by_relation(model, facts, seed=3)
    by_relation = found.by_relation()
    assert list(by_relation) == list(expected)
    for relation, rates in expected.items():
        assert {name: by_relation[relation][name] for name in rates} == pytest.approx(rates)
    assert found.to_json()["relations"] == by_relation


def test_every_question_tells_its_probability_and_rank(
    model: MemoryModel, found: FactRecall
) -> None:
    frame = found.to_frame()
    for row in frame.iloc[::17].to_dict("records"):
        prompt = model.tokenizer(row["prompt"]).input_ids
        ids = model.tokenizer(f"{row['prompt']} {row['object']}").input_ids
        scores = logits(model, torch.tensor([ids]))[0].log_softmax(-1)
        logprob = sum(float(scores[p - 1, ids[p]]) for p in range(len(prompt), len(ids)))
        logprob += float(scores[-1, 1])
        assert row["probability"] == pytest.approx(float(torch.tensor(logprob).exp()), rel=1e-4)
        first = scores[len(prompt) - 1]
        assert row["rank"] == int((first > first[ids[len(prompt)]]).sum()) + 1
    assert (frame["begins"] >= frame["exact"]).all()
    assert frame["exact"].any()
    assert (frame.loc[frame["exact"], "rank"] == 1).all()


def test_a_model_that_never_ends_a_text_may_still_begin_with_the_answer(tmp_path: Path) -> None:
    found = recall_facts(planted_model(tmp_path / "planted"), FACTS)
    home = found.by_relation()["home"]
    assert (home["n"], home["recall"], home["begins"]) == (5, 0.0, 0.8)


def test_a_relation_without_held_out_phrasings_has_no_rate_for_them(
    model: MemoryModel, facts: tuple[Fact, ...]
) -> None:
    bare = [dataclasses.replace(fact, heldout_prompts=()) for fact in facts[:20]]
    for rates in recall_facts(model, bare).by_relation().values():
        assert rates["heldout_n"] == 0
        assert rates["heldout_recall"] is None
        assert rates["heldout_probability"] is None


def test_it_reports_progress_and_can_be_stopped(
    model: MemoryModel, facts: tuple[Fact, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inspector.analyses.fact_recall._AT_ONCE", 16)
    told: list[tuple[int, int]] = []
    found = recall_facts(
        model,
        facts,
        report=lambda done, total: told.append((done, total)),
        cancel=lambda: len(told) == 2,
    )
    assert [done for done, _ in told] == [16, 32]
    assert not found.complete
    assert len(found.to_frame()) == 32


def test_no_facts_are_refused(model: MemoryModel) -> None:
    with pytest.raises(FactsError, match="no facts to ask"):
        recall_facts(model, [])
