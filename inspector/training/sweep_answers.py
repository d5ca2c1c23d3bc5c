"""Asking a run of a sweep for facts: recall and likelihood, in seen and held-out phrasings."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from inspector.analyses.facts import Fact
from inspector.analyses.recall import Question, Recall, measure_recall
from inspector.analyses.sweep_results import Answers
from inspector.families.base import MemoryModel

ALL = "all"


def measure_answers(
    model: MemoryModel, facts: Sequence[Fact], asked: int, seed: int
) -> dict[str, dict[str, Answers]]:
    """Ask ``asked`` facts drawn with ``seed``, each in one phrasing: ``all``, and per relation.

    ``seen``: in a phrasing it was trained on. ``heldout``: as many facts, drawn from those that
    have a phrasing kept out of training, in that one. The draw does not depend on the order of
    ``facts``: models that learned the same facts are asked the same.

    Raises:
        PromptTooLong: a question does not fit into the model's positions.
    """
    rng = random.Random(f"{seed} sweep")
    known = sorted(facts, key=lambda fact: (fact.relation, fact.subject))
    drawn = rng.sample(known, min(asked, len(known)))
    held = [fact for fact in known if fact.heldout_prompts]
    drawn_held = rng.sample(held, min(asked, len(held)))
    seen = [Question(rng.choice(fact.prompts), fact.object) for fact in drawn]
    heldout = [Question(rng.choice(fact.heldout_prompts), fact.object) for fact in drawn_held]
    found: dict[str, dict[str, Answers]] = defaultdict(dict)
    for kind, questions, about in (("seen", seen, drawn), ("heldout", heldout, drawn_held)):
        if not questions:
            continue
        recall = measure_recall(model, questions)
        for name in (ALL, *sorted({fact.relation for fact in about})):
            rows = [r for r, fact in enumerate(about) if name in (ALL, fact.relation)]
            found[name][kind] = _answers(recall, rows)
    return dict(found)


def _answers(recall: Recall, rows: list[int]) -> Answers:
    return Answers(
        asked=len(rows),
        recall=round(float(np.mean(recall.correct[rows])), 6),
        nll=round(float(np.mean(recall.answer_loss[rows])), 6),
    )
