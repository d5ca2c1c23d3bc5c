"""Exact recall: what greedy decoding would write, asked in one pass for many questions."""

from pathlib import Path

import numpy as np
import pytest
import torch

from inspector.analyses.facts import read_facts
from inspector.analyses.recall import Question, measure_recall, question_batches
from inspector.capture.load import load
from inspector.capture.session import logits
from inspector.errors import PromptTooLong
from inspector.families.base import MemoryModel


@pytest.fixture(scope="module")
def model(little_world: Path) -> MemoryModel:
    return load(little_world, "cpu")


@pytest.fixture(scope="module")
def questions(little_world: Path) -> list[Question]:
    return [Question(f.prompts[0], f.object) for f in read_facts(little_world / "facts.jsonl")]


def encoded(model: MemoryModel, question: Question) -> tuple[list[int], list[int]]:
    """Tokens of the prompt, and those that should follow it."""
    prompt = model.tokenizer(question.prompt).input_ids
    whole = model.tokenizer(f"{question.prompt} {question.answer}").input_ids
    assert whole[: len(prompt)] == prompt
    return prompt, [*whole[len(prompt) :], 1]


def written_greedily(model: MemoryModel, prompt: list[int], tokens: int) -> list[int]:
    ids = list(prompt)
    for _ in range(tokens):
        ids.append(int(logits(model, torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


def test_correct_is_what_greedy_decoding_writes_token_by_token(
    model: MemoryModel, questions: list[Question]
) -> None:
    expected = []
    for question in questions:
        prompt, answer = encoded(model, question)
        expected.append(written_greedily(model, prompt, len(answer)) == answer)
    recall = measure_recall(model, questions)
    assert recall.correct.tolist() == expected
    assert recall.rate == np.mean(expected)
    assert 0.2 < recall.rate < 0.95  # a test where all or none are right would show little


def test_losses_are_those_of_each_question_alone(
    model: MemoryModel, questions: list[Question]
) -> None:
    recall = measure_recall(model, questions)
    for row in (0, 17, 60):
        prompt, answer = encoded(model, questions[row])
        ids = [*prompt, *answer]
        logs = logits(model, torch.tensor([ids[:-1]]))[0].log_softmax(-1)
        losses = [-float(logs[pos, token]) for pos, token in enumerate(ids[1:])]
        start = len(prompt) - 1
        assert recall.answer_loss[row] == pytest.approx(sum(losses[start:]), rel=1e-4)
        assert recall.phrasing_loss[row] == pytest.approx(np.mean(losses[:start]), rel=1e-4)


def test_batches_hold_every_question_once_and_mark_its_answer(
    model: MemoryModel, questions: list[Question]
) -> None:
    seen: list[int] = []
    for batch in question_batches(model, questions, size=9):
        assert len(batch.ids) <= 9
        for place, row in enumerate(batch.rows):
            prompt, answer = encoded(model, questions[row])
            length = len(prompt) + len(answer) - 1
            marks = ["phrasing"] * (len(prompt) - 1) + ["answer"] * len(answer)
            marks += ["padding"] * (batch.ids.shape[1] - length)
            assert batch.ids[place, :length].tolist() == [*prompt, *answer][:-1]
            assert batch.targets[place, :length].tolist() == [*prompt, *answer][1:]
            assert batch.answering[place].tolist() == [mark == "answer" for mark in marks]
            assert batch.phrasing[place].tolist() == [mark == "phrasing" for mark in marks]
            assert int(batch.first()[place]) == len(prompt) - 1
        seen += batch.rows
    assert sorted(seen) == list(range(len(questions)))


def test_a_question_that_does_not_fit_is_refused(model: MemoryModel) -> None:
    with pytest.raises(PromptTooLong, match="has 48 positions"):
        measure_recall(model, [Question("word " * 60, "answer")])


def test_no_questions_have_no_answers(model: MemoryModel) -> None:
    assert len(measure_recall(model, []).correct) == 0
