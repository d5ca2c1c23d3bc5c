"""Which slots several core sets share: what is about the subject, what about the relation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from inspector.analyses.ablations import Ablation, SlotTarget
from inspector.analyses.answers import take_rows
from inspector.analyses.core_sets import CoreSet, find_core_set
from inspector.analyses.facts import Fact
from inspector.analyses.locate import FactReport
from inspector.analyses.read_effects import read_effects
from inspector.families.base import MemoryModel


@dataclass(frozen=True, eq=False)
class Overlap:
    """How far sets of slots agree.

    ``labels [set]`` name them; ``sizes [set]`` count their members; ``shared [set set]`` counts
    members in common. ``members`` are all of them, and ``within [member set]`` bool says where.
    """

    labels: tuple[str, ...]
    sizes: np.ndarray
    shared: np.ndarray
    members: tuple[SlotTarget, ...]
    within: np.ndarray

    def __post_init__(self) -> None:
        """Refuse parts that disagree."""
        count = len(self.labels)
        if self.shared.shape != (count, count) or self.within.shape != (len(self.members), count):
            raise ValueError(
                f"{count} labels, but shared {self.shared.shape} and within {self.within.shape}"
            )

    @property
    def jaccard(self) -> np.ndarray:
        """Members in common over members of either, ``[set set]``; NaN where both are empty."""
        either = self.sizes[:, None] + self.sizes[None, :] - self.shared
        found: np.ndarray = np.divide(
            self.shared, either, out=np.full(either.shape, np.nan), where=either > 0
        )
        return found

    def to_frame(self) -> pd.DataFrame:
        """The matrix of ``jaccard``, with the labels on both sides."""
        return pd.DataFrame(self.jaccard, index=list(self.labels), columns=list(self.labels))

    def slots(self) -> pd.DataFrame:
        """One row a member, most widely shared first: table, slot, site, head, ``sets``, where."""
        order = np.argsort(-self.within.sum(1), kind="stable")
        rows = [
            {
                **vars(self.members[n]),
                "sets": int(self.within[n].sum()),
                "where": tuple(np.array(self.labels, dtype=object)[self.within[n]]),
            }
            for n in order
        ]
        return pd.DataFrame(rows, columns=["table", "slot", "site", "head", "sets", "where"])

    def to_json(self) -> dict[str, Any]:
        """Labels, sizes, the matrix and the members as plain values."""
        return {
            "labels": list(self.labels),
            "sizes": self.sizes.tolist(),
            "jaccard": [[None if np.isnan(v) else v for v in row] for row in self.jaccard.tolist()],
            "slots": self.slots().astype(object).to_dict("records"),
        }


def overlap(sets: Mapping[str, Sequence[SlotTarget]]) -> Overlap:
    """How far the named sets agree."""
    members = tuple(dict.fromkeys(member for own in sets.values() for member in own))
    number = {member: row for row, member in enumerate(members)}
    within = np.zeros((len(members), len(sets)), dtype=bool)
    for column, own in enumerate(sets.values()):
        within[[number[member] for member in own], column] = True
    counts = within.astype(np.int64)
    return Overlap(tuple(sets), counts.sum(0), counts.T @ counts, members, within)


def phrasing_overlap(model: MemoryModel, report: FactReport, kind: Ablation = "zero") -> Overlap:
    """The core sets of single phrasings of a located fact: do they name the same slots?

    Every phrasing that the model answers has a set of its own, found on it alone; it's empty
    where the answer outlives the ablation of every slot that the phrasing reads.
    """
    sets: dict[str, Sequence[SlotTarget]] = {}
    if report.asked.known and model.sites:
        whole = report.asked.whole_batch(model)
        for row, phrasing in enumerate(report.asked.phrasings):
            if phrasing.kept:
                alone = take_rows(whole, [row])
                effects = read_effects(model, alone, exact=0)
                core = find_core_set(model, alone, effects, kind, report.scope)
                sets[phrasing.prompt] = core.members
    return overlap(sets)


def fact_overlap(cores: Mapping[str, CoreSet]) -> Overlap:
    """The core sets of several facts, by their labels; facts without one have an empty set."""
    return overlap({label: core.members for label, core in cores.items()})


def about(fact: Fact, core: CoreSet, others: Sequence[tuple[Fact, CoreSet]]) -> pd.DataFrame:
    """What each slot of a fact's core set is about, judged by the core sets of other facts.

    One row a member: table, slot, site, head; ``same_relation`` and ``same_subject``, how many
    other facts of the relation (about other subjects) and of the subject (in other relations) have
    it in theirs, of the ``relation_facts`` and ``subject_facts`` that have a core set; and
    ``about``: *relation*, *subject*, *both*, or *this fact* if neither has it. With no others to
    compare to, it is *not known*.
    """
    others = [(other, own) for other, own in others if own.members]
    relation = [
        set(own.members)
        for other, own in others
        if other.relation == fact.relation and other.subject != fact.subject
    ]
    subject = [
        set(own.members)
        for other, own in others
        if other.subject == fact.subject and other.relation != fact.relation
    ]
    rows = []
    for member in core.members:
        same_relation = sum(member in own for own in relation)
        same_subject = sum(member in own for own in subject)
        rows.append(
            {
                **vars(member),
                "same_relation": same_relation,
                "relation_facts": len(relation),
                "same_subject": same_subject,
                "subject_facts": len(subject),
                "about": _word(same_relation, same_subject, len(relation) + len(subject)),
            }
        )
    return pd.DataFrame(rows, columns=_ABOUT)


_ABOUT = [
    *("table", "slot", "site", "head"),
    *("same_relation", "relation_facts", "same_subject", "subject_facts", "about"),
]


def _word(relation: int, subject: int, others: int) -> str:
    if relation and subject:
        return "both"
    if relation or subject:
        return "relation" if relation else "subject"
    return "this fact" if others else "not known"
