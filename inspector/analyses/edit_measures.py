"""How well an edit of a fact works: efficacy, generality, locality, drift of perplexity."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from torch.nn import functional

from inspector.analyses.facts import Fact
from inspector.analyses.recall import Question, QuestionBatch, question_batches
from inspector.capture.lookup_edits import Edit
from inspector.capture.session import logits_where, session
from inspector.capture.usage import Usage
from inspector.errors import EditError
from inspector.families.base import MemoryModel

ASKED: Final = 100  # unrelated facts of the same relation, and as many of others
TEXTS: Final = 100  # of the corpus, for perplexity
_TOGETHER: Final = 32  # texts run as one batch
GROUPS: Final = ("same relation", "same subject", "other")


@dataclass(frozen=True)
class Goal:
    """What is to become of a fact: ``answer`` is to be said instead, or, if None, it's forgotten.

    Raises:
        EditError: the new answer is empty.
    """

    fact: Fact
    answer: str | None

    def __post_init__(self) -> None:
        """Refuse a new answer that says nothing."""
        if self.answer is not None and not self.answer.strip():
            raise EditError("The new answer is empty. Type what the model is to say instead.")

    def questions(self, prompts: Sequence[str]) -> list[Question]:
        """``prompts`` with the answer that decides: the new one, or that to be forgotten."""
        answer = self.fact.object if self.answer is None else self.answer.strip()
        return [Question(prompt, answer) for prompt in prompts]

    def reached(self, said: np.ndarray) -> np.ndarray:
        """Whether it is reached, from whether that answer is said, ``[question]`` bool."""
        return ~said if self.answer is None else said


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What an edit of a fact should leave alone, and what tells which slots are the fact's own.

    ``facts`` are others that the model may know; ``background`` is a scan of this checkpoint, None
    for that of its own facts; ``texts`` are the corpus whose perplexity is watched, None for
    statements of ``facts``.
    """

    facts: Sequence[Fact]
    background: Usage | None = None
    texts: Sequence[str] | None = None


@dataclass(frozen=True)
class EditFigures:
    """What an edit does. Shares are of whole answers, word for word; None where none were asked.

    ``efficacy``: of the phrasings it was made with, and ``generality``: of held-out ones, those in
    which the model does as it should. ``locality``: of unrelated facts that the model knew before,
    those it still knows; ``by_group`` splits it as ``(kept, known)`` counts. ``probability``: mean
    probability of the whole answer (the new one, or that to be forgotten) in the phrasings it was
    made with. Perplexities are of the same texts, drawn at random from the corpus.
    """

    efficacy: float
    generality: float | None
    locality: float | None
    by_group: dict[str, tuple[int, int]]
    probability: float
    perplexity_before: float
    perplexity_after: float
    phrasings: int
    heldout: int

    @property
    def drift(self) -> float:
        """By what share perplexity rose."""
        return self.perplexity_after / self.perplexity_before - 1

    def to_json(self) -> dict[str, Any]:
        """All figures as plain values."""
        return {**asdict(self), "drift": self.drift}


class EditMeter:
    """Measures edits of one fact; what the model does without them is asked once."""

    def __init__(
        self,
        model: MemoryModel,
        goal: Goal,
        around: Surroundings,
        seed: int = 0,
    ) -> None:
        """Draw what to ask beside the fact itself.

        Args:
            model: an opened checkpoint.
            goal: what is to become of which fact.
            around: from what unrelated facts and texts are drawn.
            seed: decides what is drawn.
        """
        self.model, self.goal = model, goal
        rng = random.Random(f"{seed} {goal.fact.relation} {goal.fact.subject}")
        self.unrelated = draw_unrelated(goal.fact, around.facts, rng)
        self._trained = _Asked(model, goal.questions(goal.fact.prompts))
        self._heldout = _Asked(model, goal.questions(goal.fact.heldout_prompts))
        self._groups = {
            name: _Asked(model, [Question(rng.choice(f.prompts), f.object) for f in group])
            for name, group in self.unrelated.items()
        }
        self._known = {name: asked.said()[0] for name, asked in self._groups.items()}
        drawn = _draw_texts(goal.fact, around, rng)
        self._texts = _Texts(model, drawn)
        self._perplexity = self._texts.perplexity()

    def measure(self, edits: Sequence[Edit] = ()) -> EditFigures:
        """What the model does under ``edits``."""
        said, chances = self._trained.said(edits)
        told, _ = self._heldout.said(edits)
        by_group = {}
        for name, asked in self._groups.items():
            known = self._known[name]
            by_group[name] = (int((asked.said(edits)[0] & known).sum()), int(known.sum()))
        kept, known_count = (sum(pair[part] for pair in by_group.values()) for part in (0, 1))
        return EditFigures(
            efficacy=float(self.goal.reached(said).mean()),
            generality=float(self.goal.reached(told).mean()) if len(told) else None,
            locality=kept / known_count if known_count else None,
            by_group=by_group,
            probability=float(chances.mean()),
            perplexity_before=self._perplexity,
            perplexity_after=self._texts.perplexity(edits) if edits else self._perplexity,
            phrasings=len(said),
            heldout=len(told),
        )


class _Asked:
    """Questions, encoded once."""

    def __init__(self, model: MemoryModel, questions: Sequence[Question]) -> None:
        self._model, self._count = model, len(questions)
        self._batches: list[QuestionBatch] = list(question_batches(model, questions))

    def said(self, edits: Sequence[Edit] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Per question: whether the whole answer is said, bool, and its probability."""
        said, chances = np.zeros(self._count, dtype=bool), np.zeros(self._count)
        for batch in self._batches:
            with session(edits), torch.inference_mode():
                scores = logits_where(self._model, batch.ids, batch.answering)
                targets = batch.targets[batch.answering]
                losses = functional.cross_entropy(scores.float(), targets, reduction="none")
                wrong, loss = torch.zeros_like(batch.answering), losses.new_zeros(batch.ids.shape)
                wrong[batch.answering] = scores.argmax(-1) != targets
                loss[batch.answering] = losses
            said[list(batch.rows)] = ~wrong.any(-1).cpu().numpy()
            chances[list(batch.rows)] = (-loss.sum(-1)).exp().cpu().numpy()
        return said, chances


class _Texts:
    """Texts, encoded once, each with its end; longer ones up to the model's positions."""

    def __init__(self, model: MemoryModel, texts: Sequence[str]) -> None:
        self._model = model
        end = model.tokenizer.eos_token_id
        rows = [list(model.tokenizer(text).input_ids) for text in texts]
        ended = [row if end is None else [*row, end] for row in rows]
        self._rows = sorted((row[: model.positions + 1] for row in ended), key=len)

    def perplexity(self, edits: Sequence[Edit] = ()) -> float:
        """Of all tokens after the first of each text."""
        total, count = 0.0, 0
        for start in range(0, len(self._rows), _TOGETHER):
            rows = self._rows[start : start + _TOGETHER]
            padded = torch.full((len(rows), len(rows[-1])), -1)
            for place, row in enumerate(rows):
                padded[place, : len(row)] = torch.tensor(row)
            padded = padded.to(self._model.device)
            here = padded[:, 1:] >= 0
            with session(edits), torch.inference_mode():
                scores = logits_where(self._model, padded[:, :-1].clamp_min(0), here)
                losses = functional.cross_entropy(
                    scores.float(), padded[:, 1:][here], reduction="none"
                )
            total += float(losses.double().sum())
            count += int(here.sum())
        return math.exp(total / count) if count else math.nan


def draw_unrelated(
    fact: Fact, facts: Sequence[Fact], rng: random.Random
) -> dict[str, tuple[Fact, ...]]:
    """Facts that an edit of ``fact`` should leave alone, by group: ``GROUPS``.

    All facts about the same subject, and drawn at random from the rest of the relation and from
    other relations ``ASKED`` each, or half of them where that's fewer: the others may be held fast
    while the edit is made.
    """
    about = [f for f in facts if f.subject == fact.subject and f.relation != fact.relation]
    rest = [f for f in facts if f.subject != fact.subject]
    same = [f for f in rest if f.relation == fact.relation]
    other = [f for f in rest if f.relation != fact.relation]
    groups = (_some(same, ASKED, rng), about, _some(other, ASKED, rng))
    return {name: tuple(group) for name, group in zip(GROUPS, groups, strict=True)}


def _some(facts: Sequence[Fact], most: int, rng: random.Random) -> list[Fact]:
    return rng.sample(facts, min(most, (len(facts) + 1) // 2))


def _draw_texts(fact: Fact, around: Surroundings, rng: random.Random) -> list[str]:
    if around.texts is None:
        facts = [each for each in around.facts if each != fact] or [fact]
        drawn = rng.sample(facts, min(TEXTS, len(facts)))
        return [f"{rng.choice(each.prompts)} {each.object}" for each in drawn]
    known = [text for text in around.texts if text.strip()]
    return rng.sample(known, min(TEXTS, len(known)))
