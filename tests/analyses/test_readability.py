"""Readable values: against a search by hand, one question and one read at a time."""

from pathlib import Path

import pytest
import torch

from inspector.analyses.facts import read_facts
from inspector.analyses.readability import measure_readability
from inspector.analyses.recall import Question
from inspector.capture.load import load
from inspector.capture.session import logits, session
from inspector.families.base import MemoryModel


@pytest.fixture(scope="module")
def model(little_world: Path) -> MemoryModel:
    return load(little_world, "cpu")


@pytest.fixture(scope="module")
def questions(little_world: Path) -> list[Question]:
    return [Question(f.prompts[0], f.object) for f in read_facts(little_world / "facts.jsonl")]


def readable(model: MemoryModel, question: Question, reads: int, top: int) -> bool:
    prompt = model.tokenizer(question.prompt).input_ids
    first = model.tokenizer(f"{question.prompt} {question.answer}").input_ids[len(prompt)]
    with session(record=True) as recording:
        logits(model, torch.tensor([prompt]))
    written = []
    for name, site in model.sites.items():
        seen, x = recording.reads[name], recording.inputs[name][0, -1]
        memory = site.module
        gate = torch.nn.functional.silu(memory.gate_proj(x))
        for head in range(site.info.heads):
            for rank in range(site.info.knn):
                value = site.table.weight[seen.slots[0, -1, head, rank]]
                scaled = seen.weights[0, -1, head, rank] * value * gate
                written.append(memory.value_proj.weight @ scaled)
    scale = model.module.model.norm.weight
    for vector in sorted(written, key=lambda vector: -float(vector.norm()))[:reads]:
        scores = (model.module.lm_head.weight * scale) @ vector
        if first in scores.argsort(descending=True)[:top].tolist():
            return True
    return False


@pytest.mark.parametrize(("reads", "top"), [(5, 5), (1, 3)])
def test_a_strong_read_promotes_the_answers_first_token(
    model: MemoryModel, questions: list[Question], reads: int, top: int
) -> None:
    expected = [readable(model, question, reads, top) for question in questions]
    found = measure_readability(model, questions, reads=reads, top=top)
    assert found.tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_every_answer_is_among_all_tokens(model: MemoryModel, questions: list[Question]) -> None:
    size = model.backbone.head.out_features
    assert measure_readability(model, questions, reads=1, top=size).all()
