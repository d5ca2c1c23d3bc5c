"""Which facts a measurement asks, and whose reads are swapped for whose: at random, by a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from inspector.analyses.facts import TEMPLATES, Fact, phrasings
from inspector.analyses.recall import Question


def draw(rows: Mapping[str, Sequence[int]], count: int, rng: random.Random) -> dict[str, list[int]]:
    """``count`` rows at random, as equally over the relations as their sizes allow.

    Where the count cannot be split evenly, the first relations give one more; where a relation
    has too few, the others make up for it.
    """
    quota = dict.fromkeys(rows, 0)
    while count > 0 and (open_ := [name for name in rows if quota[name] < len(rows[name])]):
        for name in open_[:count]:
            quota[name] += 1
        count -= len(open_[:count])
    return {name: rng.sample(list(rows[name]), quota[name]) for name in rows if quota[name]}


def swap_pairs(
    receivers: Sequence[Fact],
    questions: Sequence[Question],
    donors: Sequence[Fact],
    rng: random.Random,
) -> list[tuple[Question, Question]]:
    """A donor with another answer for each receiver, asked in the same words where possible.

    ``questions`` are the receivers'. Of the ``donors`` those are taken that were trained on the
    receiver's phrasing; where there are none, any, in any of their own phrasings. A receiver
    whose answer all donors share is left out.
    """
    pairs = []
    for fact, question in zip(receivers, questions, strict=True):
        others = [donor for donor in donors if donor.object != fact.object]
        if not others:
            continue
        same_words = [
            (donor, prompt)
            for donor in others
            if (prompt := _in_same_words(fact, question.prompt, donor)) in donor.prompts
        ]
        donor, prompt = rng.choice(same_words) if same_words else (rng.choice(others), None)
        words = rng.choice(donor.prompts) if prompt is None else prompt
        pairs.append((question, Question(words, donor.object)))
    return pairs


def _in_same_words(fact: Fact, prompt: str, donor: Fact) -> str | None:
    """The prompt that asks for ``donor`` as ``prompt`` asks for ``fact``; None if unknown."""
    if fact.relation not in TEMPLATES:
        return None
    own = phrasings(fact.relation, fact.subject)
    if prompt not in own:
        return None
    return phrasings(donor.relation, donor.subject)[own.index(prompt)]
