"""Slots by TF-IDF, against a count by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from inspector.analyses.facts import read_facts
from inspector.analyses.recall import Question, question_batches
from inspector.analyses.specific_slots import background_usage, specific_slots
from inspector.capture.load import load
from inspector.capture.trace import trace
from inspector.errors import EditError
from inspector.families.base import MemoryModel


@pytest.fixture(scope="module")
def model(little_world: Path) -> MemoryModel:
    return load(little_world, device="cpu")


def test_scores_are_those_of_a_count_by_hand(model: MemoryModel) -> None:
    fact = read_facts(model.path / "facts.jsonl")[3]
    questions = [Question(prompt, fact.object) for prompt in fact.prompts]
    background = background_usage(model)
    found = specific_slots(model, questions, background, 10)
    counts: dict[int, float] = {}
    for question in questions:
        [batch] = question_batches(model, [question])
        traced = trace(model, ids=batch.ids)
        for reads in traced.reads.values():
            for pos in batch.answering[0].nonzero().flatten().tolist():
                slots = reads.slots[0, pos].flatten().tolist()
                sizes = reads.coefficients[0, pos].flatten().abs().tolist()
                for slot, size in zip(slots, sizes, strict=True):
                    counts[slot] = counts.get(slot, 0.0) + size
    total = sum(counts.values())
    documents = background.tables[0].documents
    scores = {
        slot: count / total * math.log((background.documents + 1) / (1 + documents[slot]))
        for slot, count in counts.items()
    }
    best = sorted(scores, key=lambda slot: -scores[slot])[:10]
    assert found.slot.tolist() == best
    assert found.score == pytest.approx([scores[slot] for slot in best], rel=1e-4)
    assert found.weight == pytest.approx([counts[slot] / total for slot in best], rel=1e-4)
    assert found.of_table(0).tolist() == best
    assert len(found) == len(found.to_frame()) == 10
    assert len(found.of_table(1)) == 0


def test_the_background_must_be_of_this_checkpoint(model: MemoryModel) -> None:
    from dataclasses import replace

    other = replace(background_usage(model), fingerprint="another")
    with pytest.raises(EditError, match="scan this checkpoint"):
        specific_slots(model, [Question("a", "b")], other, 4)
