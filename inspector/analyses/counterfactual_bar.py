"""How well facts can be changed: many random edits of single facts, one at a time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from inspector.analyses.edit_measures import Goal, Surroundings
from inspector.analyses.fact_edit import EditSettings, FactEdit
from inspector.analyses.facts import Fact
from inspector.analyses.make_it_say import make_it_say
from inspector.analyses.specific_slots import background_usage
from inspector.capture.usage import Usage
from inspector.errors import FactsError
from inspector.families.base import MemoryModel


@dataclass(frozen=True, eq=False)
class CounterfactualBar:
    """Edits of single facts: each one's figures, and the seconds of processor time it took."""

    edits: tuple[FactEdit, ...]
    seconds: tuple[float, ...]  # of this thread, on one core
    seed: int

    @property
    def efficacy(self) -> float:
        """Mean share of trained phrasings in which the new answer is said."""
        return float(np.mean([edit.figures.efficacy for edit in self.edits]))

    @property
    def generality(self) -> float:
        """The same of held-out phrasings, over the edits that have any."""
        known = [edit.figures.generality for edit in self.edits]
        return float(np.mean([each for each in known if each is not None]))

    @property
    def locality(self) -> float:
        """Mean share of unrelated facts known before that are still known."""
        known = [edit.figures.locality for edit in self.edits]
        return float(np.mean([each for each in known if each is not None]))

    def to_frame(self) -> pd.DataFrame:
        """One row an edit."""
        return pd.DataFrame(
            {
                "relation": edit.goal.fact.relation,
                "subject": edit.goal.fact.subject,
                "object": edit.goal.fact.object,
                "answer": edit.goal.answer,
                "efficacy": edit.figures.efficacy,
                "generality": edit.figures.generality,
                "locality": edit.figures.locality,
                **{f"kept {g}": k / n if n else None for g, (k, n) in _groups(edit)},
                "rows": len(edit.slots),
                "steps": edit.history[-1].step,
                "drift": edit.figures.drift,
                "seconds": seconds,
                "reached": edit.reached,
            }
            for edit, seconds in zip(self.edits, self.seconds, strict=True)
        )

    def to_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {
            "edits": len(self.edits),
            "seed": self.seed,
            "efficacy": self.efficacy,
            "generality": self.generality,
            "locality": self.locality,
            "rows_most": max(len(edit.slots) for edit in self.edits),
            "seconds_median": float(np.median(self.seconds)),
            "seconds_most": max(self.seconds),
            "drift_median": float(np.median([edit.figures.drift for edit in self.edits])),
        }


def _groups(edit: FactEdit) -> list[tuple[str, tuple[int, int]]]:
    return list(edit.figures.by_group.items())


def counterfactual_bar(
    model: MemoryModel,
    facts: Sequence[Fact],
    count: int = 100,
    seed: int = 0,
    *,
    background: Usage | None = None,
    settings: EditSettings | None = None,
    report: Callable[[int, FactEdit], None] | None = None,
) -> CounterfactualBar:
    """Change ``count`` facts drawn at random, each alone, to the object of another one.

    They are drawn from those that have held-out phrasings, whether the model knows them or not.

    Args:
        model: an opened checkpoint.
        facts: from which they, their new answers and unrelated facts are drawn.
        count: how many.
        seed: decides which.
        background: a scan of this checkpoint; None for that of its own facts.
        settings: how they're changed.
        report: told after each.

    Raises:
        FactsError: no fact has held-out phrasings and a relation with another object.
    """
    goals = draw_counterfactuals(facts, count, seed)
    around = Surroundings(facts, background or background_usage(model))
    edits, seconds = [], []
    for number, goal in enumerate(goals):
        assert goal.answer is not None
        start = time.process_time()
        edits.append(make_it_say(model, goal.fact, goal.answer, around, settings=settings))
        seconds.append(time.process_time() - start)
        if report is not None:
            report(number, edits[-1])
    return CounterfactualBar(tuple(edits), tuple(seconds), seed)


def draw_counterfactuals(facts: Sequence[Fact], count: int, seed: int) -> tuple[Goal, ...]:
    """``count`` random facts with held-out phrasings, each with another object of its relation.

    Raises:
        FactsError: there are none.
    """
    objects: dict[str, set[str]] = {}
    for fact in facts:
        objects.setdefault(fact.relation, set()).add(fact.object)
    pool = [f for f in facts if f.heldout_prompts and len(objects[f.relation]) > 1]
    if not pool:
        raise FactsError(
            "None of the facts has held-out phrasings and a relation with a second object: there "
            "is nothing to measure."
        )
    rng = random.Random(f"{seed} counterfactual")
    drawn = rng.sample(pool, min(count, len(pool)))
    return tuple(Goal(f, rng.choice(sorted(objects[f.relation] - {f.object}))) for f in drawn)
