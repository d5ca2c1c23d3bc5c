"""Answers scored in batches, against the same scored by hand, one at a time."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from inspector.analyses.answers import (
    AnswerScores,
    answer_margins,
    score_answers,
    take_rows,
)
from inspector.analyses.recall import Question, measure_recall, question_batch
from inspector.capture.load import load
from inspector.capture.session import logits
from inspector.families.base import MemoryModel

QUESTIONS = [
    Question("Jakarta is", "the capital of Indonesia"),
    Question("Lima", "is"),
    Question("Kenya speaks Swahili and", "not much else"),
]


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(), "cpu", torch.float64)


def by_hand(model: MemoryModel, question: Question, ends: bool) -> tuple[float, float, float]:
    """Log-probability, log-odds and lead of an answer, from the whole logits of its one row."""
    prompt = len(model.tokenizer(question.prompt).input_ids)
    ids = [*model.tokenizer(f"{question.prompt} {question.answer}").input_ids, *([1] * ends)]
    scores = logits(model, torch.tensor([ids]))[0]
    logprob = odds = 0.0
    lead = float("inf")
    for place in range(prompt, len(ids)):
        chances = scores[place - 1].softmax(-1)
        own = float(chances[ids[place]])
        others = scores[place - 1].clone()
        others[ids[place]] = -torch.inf
        logprob += float(chances[ids[place]].log())
        odds += float(torch.tensor(own / (1 - own), dtype=torch.float64).log())
        lead = min(lead, float(scores[place - 1, ids[place]] - others.max()))
    return logprob, odds, lead


@pytest.mark.parametrize("ends", [True, False])
def test_a_padded_batch_scores_each_answer_as_it_is_alone(model: MemoryModel, ends: bool) -> None:
    batch = question_batch(model, QUESTIONS, ends=ends)
    found = score_answers(model, batch)
    margins = answer_margins(model, batch)
    for row, question in enumerate(QUESTIONS):
        logprob, odds, lead = by_hand(model, question, ends)
        assert float(found.logprob[row]) == pytest.approx(logprob, rel=1e-9)
        assert float(margins[row]) == pytest.approx(odds, rel=1e-9)
        assert float(found.lead[row]) == pytest.approx(lead, rel=1e-9)
        assert bool(found.kept[row]) == (lead > 0)


def test_an_answer_is_kept_where_recall_calls_it_correct(little_world: Path) -> None:
    from inspector.analyses.facts import read_facts

    model = load(little_world, "cpu")
    facts = read_facts(little_world / "facts.jsonl")[:40]
    asked = [Question(fact.prompts[0], fact.object) for fact in facts]
    whole, begun = measure_recall(model, asked).correct, measure_recall(model, asked).begun
    kept = score_answers(model, question_batch(model, asked)).kept.tolist()
    assert kept == whole.tolist()
    assert score_answers(model, question_batch(model, asked, ends=False)).kept.tolist() == (
        begun.tolist()
    )
    assert 0 < whole.sum() < len(asked)
    assert (begun >= whole).all()


def test_rows_can_be_taken_in_any_order_and_several_times(model: MemoryModel) -> None:
    batch = question_batch(model, QUESTIONS)
    whole = score_answers(model, batch).logprob
    taken = take_rows(batch, [1, 0, 1])
    assert taken.rows == (1, 0, 1)
    assert torch.allclose(score_answers(model, taken).logprob, whole[[1, 0, 1]], rtol=1e-9)
    alone = take_rows(batch, [1])
    assert alone.ids.shape[1] < batch.ids.shape[1]


def test_scores_that_disagree_in_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="disagree in shape"):
        AnswerScores(torch.zeros(2), torch.zeros(3).bool(), torch.zeros(2))
