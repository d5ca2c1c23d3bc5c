"""How well a model recalls a set of facts, relation by relation, whole answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from inspector.analyses.facts import TEMPLATES, Fact
from inspector.analyses.recall import Question, Recall, measure_recall
from inspector.errors import FactsError
from inspector.families.base import MemoryModel

_AT_ONCE: Final = 1024  # questions between two reports
Report = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class FactRecall:
    """Every fact asked once, and once more in a held-out phrasing where it has one.

    Phrasings are drawn at random with ``seed``. ``frame`` has a row a question: ``relation``,
    ``subject``, ``object``, ``prompt``, ``heldout``; ``probability`` of the whole answer and of
    the end of text after it; ``rank`` of its first token, 1 for the most probable; ``exact``:
    greedy decoding writes the answer, word for word, and stops; ``begins``: it writes the answer,
    whatever follows. ``complete`` is False if it was stopped before all were asked.
    """

    model: str
    fingerprint: str
    seed: int
    frame: pd.DataFrame
    complete: bool

    def to_frame(self) -> pd.DataFrame:
        """One row a question."""
        return self.frame

    def by_relation(self) -> dict[str, dict[str, float | int | None]]:
        """Per relation ``n`` facts and their ``recall``, the share of exact answers, and more.

        ``probability`` is a mean, ``rank`` a median and ``begins`` a share; names with
        ``heldout_`` before them say the same of held-out phrasings, None where there are none.
        """
        found: dict[str, dict[str, float | int | None]] = {}
        known = [name for name in TEMPLATES if (self.frame["relation"] == name).any()]
        others = sorted(set(self.frame["relation"]) - set(TEMPLATES))
        for relation in (*known, *others):
            own = self.frame[self.frame["relation"] == relation]
            seen, held = own[~own["heldout"]], own[own["heldout"]]
            found[relation] = {
                "n": len(seen),
                **_rates(seen, ""),
                "heldout_n": len(held),
                **_rates(held, "heldout_"),
            }
        return found

    def to_json(self) -> dict[str, Any]:
        """``{"relations": {name: {"n", "recall", "heldout_recall", ...}}}`` and where it's from."""
        return {
            "model": self.model,
            "fingerprint": self.fingerprint,
            "seed": self.seed,
            "complete": self.complete,
            "relations": self.by_relation(),
        }


def _rates(rows: pd.DataFrame, prefix: str) -> dict[str, float | int | None]:
    measures = {
        "recall": rows["exact"].mean(),
        "begins": rows["begins"].mean(),
        "probability": rows["probability"].mean(),
        "rank": rows["rank"].median(),
    }
    return {f"{prefix}{name}": float(v) if len(rows) else None for name, v in measures.items()}


def recall_facts(
    model: MemoryModel,
    facts: Sequence[Fact],
    *,
    seed: int = 0,
    report: Report = lambda done, total: None,
    cancel: Callable[[], bool] = lambda: False,
) -> FactRecall:
    """Ask ``model``, with memory or without, all ``facts``.

    Raises:
        FactsError: there are no facts.
        PromptTooLong: one does not fit into the model's positions.
    """
    if not facts:
        raise FactsError("There are no facts to ask for; expected at least one.")
    draw = random.Random(f"{seed} phrasing")
    asked = [(fact, draw.choice(fact.prompts), False) for fact in facts]
    held = [fact for fact in facts if fact.heldout_prompts]
    asked += [(fact, draw.choice(fact.heldout_prompts), True) for fact in held]
    parts: list[Recall] = []
    done = 0
    while done < len(asked) and not cancel():
        chunk = asked[done : done + _AT_ONCE]
        questions = [Question(prompt, fact.object) for fact, prompt, _ in chunk]
        parts.append(measure_recall(model, questions))
        done += len(chunk)
        report(done, len(asked))
    frame = _frame(asked[:done], parts)
    return FactRecall(model.name, model.fingerprint, seed, frame, complete=done == len(asked))


def _frame(asked: Sequence[tuple[Fact, str, bool]], parts: Sequence[Recall]) -> pd.DataFrame:
    def joined(name: str) -> np.ndarray:
        return np.concatenate([np.zeros(0), *(getattr(part, name) for part in parts)])

    return pd.DataFrame(
        {
            "relation": [fact.relation for fact, _, _ in asked],
            "subject": [fact.subject for fact, _, _ in asked],
            "object": [fact.object for fact, _, _ in asked],
            "prompt": [prompt for _, prompt, _ in asked],
            "heldout": np.array([heldout for _, _, heldout in asked], dtype=bool),
            "probability": np.exp(-joined("answer_loss")),
            "rank": joined("rank").astype(np.int64),
            "exact": joined("correct").astype(bool),
            "begins": joined("begun").astype(bool),
        }
    )
