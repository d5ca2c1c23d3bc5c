"""Does the model give the whole answer? Exact recall of facts, under any edit of its reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inspector.capture.lookup_edits import Edit
from inspector.capture.session import logits, session
from inspector.capture.trace import check_length
from inspector.families.base import MemoryModel


@dataclass(frozen=True)
class Question:
    """A prompt and the answer that should follow it, after a space."""

    prompt: str
    answer: str


@dataclass(frozen=True, eq=False)
class QuestionBatch:
    """Questions with their answers appended, padded on the right.

    A causal model never looks at what follows, so the padding changes nothing.
    ``ids [batch pos]``; ``targets [batch pos]`` the next token; ``answering [batch pos]`` True
    where the model should produce a token of the answer or (unless it was left out) the end of
    text after it;
    ``phrasing [batch pos]`` True where it predicts the words of the prompt; ``rows`` numbers the
    questions in the order they were given.
    """

    ids: Tensor
    targets: Tensor
    answering: Tensor
    phrasing: Tensor
    rows: tuple[int, ...]

    def first(self) -> Tensor:
        """Position that predicts each answer's first token, ``[batch]``."""
        return self.answering.int().argmax(-1)


@dataclass(frozen=True, eq=False)
class Recall:
    """Per question: ``correct [question]`` bool, and losses in nats, ``[question]`` float.

    An answer is correct if every one of its tokens, and the end of text, is the most probable one
    given the tokens before: what greedy decoding would write, word for word. ``begun [question]``
    bool says the same of its tokens alone, whatever follows them, and ``rank [question]`` int the
    place of its first token among all, 1 for the most probable.
    """

    correct: np.ndarray
    answer_loss: np.ndarray  # sum over the answer's tokens, and the end of text
    phrasing_loss: np.ndarray  # mean over the prompt's tokens
    begun: np.ndarray
    rank: np.ndarray

    @property
    def rate(self) -> float:
        """Share of questions answered correctly."""
        return float(self.correct.mean())


def question_batches(
    model: MemoryModel, questions: Sequence[Question], size: int = 256
) -> Iterator[QuestionBatch]:
    """Encode ``questions`` into batches of like length.

    Raises:
        PromptTooLong: a question does not fit into the model's positions.
    """
    if not questions:
        return  # which a tokenizer takes for an error
    sequences, prompts = _encode(model, questions, ends=True)
    order = sorted(range(len(sequences)), key=lambda row: (len(sequences[row]), row))
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        yield _pad([sequences[r] for r in rows], [prompts[r] for r in rows], tuple(rows), model)


def question_batch(
    model: MemoryModel, questions: Sequence[Question], *, ends: bool = True
) -> QuestionBatch:
    """All ``questions`` (at least one) as one batch in their order.

    ``ends``: whether the end of text belongs to the answer. Raises as ``question_batches`` does.
    """
    sequences, prompts = _encode(model, questions, ends=ends)
    return _pad(sequences, prompts, tuple(range(len(sequences))), model)


def _encode(
    model: MemoryModel, questions: Sequence[Question], *, ends: bool
) -> tuple[list[list[int]], list[int]]:
    """Each question's tokens with its answer, and how many of them are the prompt's."""
    tokenizer = model.tokenizer
    prompts = [len(ids) for ids in tokenizer([q.prompt for q in questions]).input_ids]
    whole = tokenizer([f"{q.prompt} {q.answer}" for q in questions]).input_ids
    end = tokenizer.eos_token_id
    after = [end] if ends and end is not None else []
    return [[*ids, *after] for ids in whole], prompts


def _pad(
    sequences: list[list[int]], prompts: list[int], rows: tuple[int, ...], model: MemoryModel
) -> QuestionBatch:
    length = max(map(len, sequences))
    check_length(model, length - 1)
    ids = torch.full((len(sequences), length), sequences[0][-1])
    answering = torch.zeros(len(sequences), length - 1, dtype=torch.bool)
    phrasing = torch.zeros_like(answering)
    for place, (sequence, prompt) in enumerate(zip(sequences, prompts, strict=True)):
        ids[place, : len(sequence)] = torch.tensor(sequence)
        answering[place, prompt - 1 : len(sequence) - 1] = True
        phrasing[place, : prompt - 1] = True
    ids, answering, phrasing = (t.to(model.device) for t in (ids, answering, phrasing))
    return QuestionBatch(ids[:, :-1], ids[:, 1:], answering, phrasing, rows)


EditFor = Callable[[QuestionBatch], Sequence[Edit]]


def measure_recall(
    model: MemoryModel,
    questions: Sequence[Question],
    edits: EditFor | None = None,
    *,
    size: int = 256,
) -> Recall:
    """Ask all ``questions``, ``size`` at a time, with the edits that ``edits`` gives for each."""
    correct, begun = np.zeros(len(questions), dtype=bool), np.zeros(len(questions), dtype=bool)
    rank = np.ones(len(questions), dtype=np.int64)
    answer_loss, phrasing_loss = np.zeros(len(questions)), np.zeros(len(questions))
    for batch in question_batches(model, questions, size):
        with session(edits(batch) if edits else ()):
            scores = logits(model, batch.ids)
        rows = list(batch.rows)
        best = scores.argmax(-1) == batch.targets
        correct[rows] = (best | ~batch.answering).all(-1).cpu().numpy()
        begun[rows] = (best | ~_answer_alone(model, batch)).all(-1).cpu().numpy()
        rank[rows] = _first_rank(batch, scores)
        loss = functional.cross_entropy(
            scores.float().flatten(0, 1), batch.targets.flatten(), reduction="none"
        ).view_as(batch.targets)
        answer_loss[rows] = (loss * batch.answering).sum(-1).cpu().numpy()
        words = batch.phrasing.sum(-1).clamp_min(1)
        phrasing_loss[rows] = ((loss * batch.phrasing).sum(-1) / words).cpu().numpy()
    return Recall(correct, answer_loss, phrasing_loss, begun, rank)


def _answer_alone(model: MemoryModel, batch: QuestionBatch) -> Tensor:
    """Where the model should produce a token of the answer, the end of text left out."""
    if model.tokenizer.eos_token_id is None:
        return batch.answering
    later = batch.answering[:, 1:] & batch.answering[:, :-1]  # True but at a row's last
    return functional.pad(later, (0, 1))


def _first_rank(batch: QuestionBatch, scores: Tensor) -> np.ndarray:
    rows = torch.arange(len(batch.ids), device=scores.device)
    first = batch.first()
    at = scores[rows, first]  # [batch d_vocab]
    own = at.gather(-1, batch.targets[rows, first][:, None])
    found: np.ndarray = ((at > own).sum(-1) + 1).cpu().numpy()
    return found
