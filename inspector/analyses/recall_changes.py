"""Which facts two checkpoints know, relation by relation."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from inspector.analyses.facts import Fact
from inspector.analyses.recall import Question, measure_recall
from inspector.errors import Cancelled
from inspector.families.base import MemoryModel

_TOGETHER: Final = 2_048  # questions between two looks at whether to stop

Report = Callable[[int, int], None]


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
    first: MemoryModel,
    second: MemoryModel,
    facts: Sequence[Fact],
    seed: int = 0,
    *,
    report: Report = lambda done, total: None,
    cancel: Callable[[], bool] = lambda: False,
) -> RecallChanges:
    """Ask both checkpoints every fact: whole answers, exact match, greedy.

    ``report`` is told how many questions were asked, and of how many.

    Raises:
        PromptError: a question does not fit one of them.
        Cancelled: ``cancel`` said so; recall by one of both alone compares nothing.
    """
    draw = random.Random(seed)
    seen = [Question(draw.choice(fact.prompts), fact.object) for fact in facts]
    has_heldout = np.array([bool(fact.heldout_prompts) for fact in facts], dtype=bool)
    rows = np.flatnonzero(has_heldout).tolist()
    heldout = [Question(draw.choice(facts[row].heldout_prompts), facts[row].object) for row in rows]
    answers = np.zeros((2, 2, len(facts)), dtype=bool)
    asked, done, total = (range(len(facts)), rows), 0, 2 * (len(seen) + len(heldout))
    for which, model in enumerate((first, second)):
        for kind, questions in enumerate((seen, heldout)):
            for start in range(0, len(questions), _TOGETHER):
                if cancel():
                    raise Cancelled(f"It was stopped after {done:,} of {total:,} questions.")
                part = slice(start, start + _TOGETHER)
                said = measure_recall(model, questions[part]).correct
                answers[kind, which, asked[kind][part]] = said
                done += len(said)
                report(done, total)
    relations = tuple(fact.relation for fact in facts)
    return RecallChanges(relations, answers[0], answers[1], has_heldout)
