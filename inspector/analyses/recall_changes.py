"""Which facts two checkpoints know, relation by relation."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from inspector.analyses.facts import Fact
from inspector.analyses.recall import Question, measure_recall
from inspector.families.base import MemoryModel


@dataclass(frozen=True, eq=False)
class RecallChanges:
    """Every fact asked of two checkpoints, in one training phrasing and one held out of it.

    ``seen [2 fact]`` bool, whether each (first, second) gives the whole answer; ``heldout [2
    fact]`` likewise, False where ``has_heldout [fact]`` is False. Phrasings are drawn with a seed
    and are the same for both.
    """

    relations: tuple[str, ...]  # by fact
    seen: np.ndarray
    heldout: np.ndarray
    has_heldout: np.ndarray

    def __post_init__(self) -> None:
        """Refuse parts that disagree in length."""
        shape = (2, len(self.relations))
        if self.seen.shape != shape or self.heldout.shape != shape:
            raise ValueError(f"answers of {self.seen.shape} and {self.heldout.shape}: not {shape}")

    def to_frame(self) -> pd.DataFrame:
        """One row a relation, then all: counts, recall of both, and facts won and lost."""
        rows = []
        by_relation: dict[str, list[int]] = defaultdict(list)
        for number, relation in enumerate(self.relations):
            by_relation[relation].append(number)
        for relation, numbers in [*by_relation.items(), ("all", range(len(self.relations)))]:
            at = np.array(numbers, dtype=np.int64)
            kept = at[self.has_heldout[at]]
            seen, heldout = self.seen[:, at], self.heldout[:, kept]
            rows.append(
                {
                    "relation": relation,
                    "n": len(at),
                    "first": seen[0].mean(),
                    "second": seen[1].mean(),
                    "first_heldout": heldout[0].mean() if len(kept) else np.nan,
                    "second_heldout": heldout[1].mean() if len(kept) else np.nan,
                    "won": int((~seen[0] & seen[1]).sum()),
                    "lost": int((seen[0] & ~seen[1]).sum()),
                }
            )
        return pd.DataFrame(rows)


def compare_recall(
    first: MemoryModel, second: MemoryModel, facts: Sequence[Fact], seed: int = 0
) -> RecallChanges:
    """Ask both checkpoints every fact: whole answers, exact match, greedy.

    Raises:
        PromptError: a question does not fit one of them.
    """
    draw = random.Random(seed)
    seen = [Question(draw.choice(fact.prompts), fact.object) for fact in facts]
    has_heldout = np.array([bool(fact.heldout_prompts) for fact in facts], dtype=bool)
    rows = np.flatnonzero(has_heldout).tolist()
    heldout = [Question(draw.choice(facts[row].heldout_prompts), facts[row].object) for row in rows]
    answers = np.zeros((2, 2, len(facts)), dtype=bool)
    for which, model in enumerate((first, second)):
        answers[0, which] = measure_recall(model, seen).correct
        if heldout:
            answers[1, which, rows] = measure_recall(model, heldout).correct
    relations = tuple(fact.relation for fact in facts)
    return RecallChanges(relations, answers[0], answers[1], has_heldout)
