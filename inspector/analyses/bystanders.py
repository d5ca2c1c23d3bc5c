"""Facts that have nothing to do with an ablated one: do they keep their answers?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from inspector.analyses.ablations import score_ablations
from inspector.analyses.answers import score_answers, take_rows
from inspector.analyses.core_sets import CoreSet
from inspector.analyses.facts import Fact
from inspector.analyses.recall import Question, QuestionBatch, question_batch
from inspector.families.base import MemoryModel

UNRELATED: Final = 100
_SPARE: Final = 1.4  # drawn for each that is wanted: some are unknown, some related


@dataclass(frozen=True, eq=False)
class Bystanders:
    """Facts that the model answers, drawn at random, each in one phrasing.

    ``batch`` asks them in the order of ``facts``; None if there are none. ``ends``: whether the
    end of text counts as part of their answers.
    """

    facts: tuple[Fact, ...]
    batch: QuestionBatch | None
    ends: bool

    def __post_init__(self) -> None:
        """Refuse facts and questions that differ in number."""
        if len(self.facts) != (0 if self.batch is None else len(self.batch.ids)):
            raise ValueError(f"{len(self.facts)} facts, but another number of questions")

    def unrelated(self, fact: Fact, wanted: int = UNRELATED) -> list[int]:
        """Rows of facts with another subject and another answer than ``fact``, at most so many."""
        rows = [
            row
            for row, other in enumerate(self.facts)
            if other.subject != fact.subject and other.object != fact.object
        ]
        return rows[:wanted]


def draw_bystanders(
    model: MemoryModel,
    facts: Sequence[Fact],
    *,
    ends: bool = True,
    wanted: int = UNRELATED,
    seed: int = 0,
) -> Bystanders:
    """Draw facts with ``seed``, ask each in a phrasing drawn likewise, and keep what is answered.

    Raises:
        PromptTooLong: one does not fit into the model's positions.
    """
    draw = random.Random(f"{seed} bystanders")
    drawn = draw.sample(list(facts), min(len(facts), round(wanted * _SPARE)))
    if not drawn:
        return Bystanders((), None, ends)
    asked = [Question(draw.choice(fact.prompts), fact.object) for fact in drawn]
    known = score_answers(model, question_batch(model, asked, ends=ends)).kept
    rows = known.nonzero().flatten().tolist()
    if not rows:
        return Bystanders((), None, ends)
    batch = question_batch(model, [asked[row] for row in rows], ends=ends)
    return Bystanders(tuple(drawn[row] for row in rows), batch, ends)


def still_answered(
    model: MemoryModel, bystanders: Bystanders, rows: Sequence[int], core: CoreSet
) -> int:
    """How many of the bystanders ``rows`` keep their answer with ``core`` ablated."""
    if bystanders.batch is None or not rows:
        return 0
    asked = take_rows(bystanders.batch, rows)
    after = score_ablations(model, asked, [core.members], core.kind, core.scope)
    return int(after.kept.sum())
