"""Measuring a finished checkpoint on its facts: recall, and how much of it the memory carries."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inspector.analyses.dependence import measure_dependence, measure_swap
from inspector.analyses.facts import TEMPLATES, Fact
from inspector.analyses.readability import measure_readability
from inspector.analyses.recall import Question, Recall, measure_recall
from inspector.errors import FactsError
from inspector.families.base import MemoryModel
from inspector.training.metrics import MemoryMetrics, Metrics, RelationMetrics, pool
from inspector.training.sampling import draw, swap_pairs

SAMPLE = 200
_STRONGEST = 5

Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class _Asked:
    """Every fact asked once: ``rows`` numbers each relation's questions."""

    facts: Sequence[Fact]
    questions: Sequence[Question]
    rows: Mapping[str, Sequence[int]]
    recall: Recall

    def rate(self, rows: Sequence[int]) -> float | None:
        """Share of the questions ``rows`` answered correctly; None if there are none."""
        return float(self.recall.correct[list(rows)].mean()) if rows else None


def evaluate(
    model: MemoryModel,
    facts: Sequence[Fact],
    *,
    seed: int = 0,
    sample: int = SAMPLE,
    tell: Tell = lambda message: None,
) -> Metrics:
    """Measure recall of ``facts``, and, where ``model`` has memory, what recall owes to it.

    Every fact is asked once in a phrasing seen in training, and once in one held out of it where
    it has one; each is drawn with ``seed``. Of the facts, ``sample`` are drawn at random for what
    is measured under edits, as equally over the relations as their sizes allow (200 of seven
    large relations are 28 or 29 each); as many, drawn likewise, of those with a held-out phrasing.

    Raises:
        FactsError: there are no facts.
        PromptTooLong: one does not fit into the model's positions.
    """
    if not facts:
        raise FactsError("There are no facts to ask for; expected at least one.")
    tell(f"recall of all {len(facts):,} facts")
    seen, heldout = ask_all(model, facts, seed)
    heldout_rows = draw(heldout.rows, sample, random.Random(f"{seed} held-out sample"))
    relations = {}
    for relation, rows in draw(seen.rows, sample, random.Random(f"{seed} sample")).items():
        if model.sites:
            tell(f"dependence on memory: {relation}")
        all_rows, all_heldout = seen.rows[relation], heldout.rows.get(relation, ())
        objects = Counter(seen.facts[row].object for row in all_rows)
        recall, recall_all = seen.rate(rows), seen.rate(all_rows)
        assert recall is not None
        assert recall_all is not None
        relations[relation] = RelationMetrics(
            facts=len(all_rows),
            heldout_facts=len(all_heldout),
            asked=len(rows),
            heldout_asked=len(heldout_rows.get(relation, ())),
            most_frequent=objects.most_common(1)[0][1] / len(all_rows),
            recall=recall,
            heldout_recall=heldout.rate(heldout_rows.get(relation, ())),
            recall_all=recall_all,
            heldout_recall_all=heldout.rate(all_heldout),
            phrasing_loss=float(seen.recall.phrasing_loss[list(rows)].mean()),
            memory=_memory_metrics(model, seen, relation, rows, seed) if model.sites else None,
        )
    overall = pool(list(relations.values()))
    return Metrics(model.name, model.fingerprint, seed, overall, relations)


def recall_by_relation(
    model: MemoryModel, facts: Sequence[Fact], seed: int = 0
) -> dict[str, dict[str, float | int | None]]:
    """Per relation ``n`` facts, and their ``recall`` and ``heldout_recall``: every fact is asked.

    Rates are None where a relation has no held-out phrasing.
    """
    seen, heldout = ask_all(model, facts, seed)
    return {
        relation: {
            "n": len(rows),
            "recall": seen.rate(rows),
            "heldout_recall": heldout.rate(heldout.rows.get(relation, ())),
        }
        for relation, rows in seen.rows.items()
    }


def ask_all(model: MemoryModel, facts: Sequence[Fact], seed: int) -> tuple[_Asked, _Asked]:
    """Ask every fact in one seen and, where it has one, in one held-out phrasing."""
    rng = random.Random(f"{seed} phrasing")
    seen = [Question(rng.choice(fact.prompts), fact.object) for fact in facts]
    held = [fact for fact in facts if fact.heldout_prompts]
    heldout = [Question(rng.choice(fact.heldout_prompts), fact.object) for fact in held]
    return (
        _Asked(facts, seen, _rows_by_relation(facts), measure_recall(model, seen)),
        _Asked(held, heldout, _rows_by_relation(held), measure_recall(model, heldout)),
    )


def _rows_by_relation(facts: Sequence[Fact]) -> dict[str, list[int]]:
    """Numbers of the facts of each relation; ours first, in their usual order."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, fact in enumerate(facts):
        rows[fact.relation].append(row)
    order = [*TEMPLATES, *sorted(set(rows) - set(TEMPLATES))]
    return {relation: rows[relation] for relation in order if relation in rows}


def _memory_metrics(
    model: MemoryModel, asked: _Asked, relation: str, rows: Sequence[int], seed: int
) -> MemoryMetrics:
    questions = [asked.questions[row] for row in rows]
    everyone = [asked.facts[row] for row in asked.rows[relation]]
    pairs = swap_pairs(
        [asked.facts[row] for row in rows],
        questions,
        everyone,
        random.Random(f"{seed} donors of {relation}"),
    )
    swapped, before = measure_swap(model, pairs) if pairs else (None, None)
    dependence = measure_dependence(model, questions)
    reads = sum(site.info.heads * site.info.knn for site in model.sites.values())
    readable = measure_readability(model, questions, reads=min(_STRONGEST, reads))
    return MemoryMetrics(
        all_zero=dependence.all_zero.rate,
        answer_zero=dependence.answer_zero.rate,
        answer_masked=dependence.answer_masked.rate,
        control=dependence.control.rate,
        norm_ratio=dependence.norm_ratio,
        swap=None if swapped is None else swapped.rate,
        swap_before=None if before is None else before.rate,
        readable=float(np.mean(readable)),
        phrasing_loss_zero=float(dependence.all_zero.phrasing_loss.mean()),
    )
