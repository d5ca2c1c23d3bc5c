"""The core set of a fact: slots that all its phrasings read and without which its answer is lost.

It is inclusion-minimal: ablating it loses the answer in every phrasing it was found on, and with
any one member left alone it doesn't. A set that only just loses the answer there may keep it in
the next phrasing, so *lost* means clearly lost: where the answer's weakest token is due, another
is ahead of it by ``clear`` nats. These are 6 (it is 400 times as probable), or 95 % of what the
ablation of all slots in common comes to, where that is less. With ``clear = 0`` it is enough that
another token is the most probable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any, Final

import numpy as np
import pandas as pd

from inspector.analyses.ablations import (
    Ablation,
    Scope,
    SlotTarget,
    check_names,
    score_ablations,
    target_of,
)
from inspector.analyses.answers import take_rows
from inspector.analyses.read_effects import ReadEffects
from inspector.analyses.recall import QuestionBatch
from inspector.families.base import MemoryModel, SiteInfo

CLEAR: Final = 6.0
_SHARE: Final = 0.95  # of what ablating all common slots comes to, if that is less clear
_STEPS: Final = 8  # lengths of a prefix that are tried at once
_LARGE: Final = 32  # members, above which stretches of them are left out first
_EXHAUSTIVE: Final = 2048  # sets that are tried before "fewest" is left open


@dataclass(frozen=True)
class CoreSet:
    """The core set of one fact, for one ablation and scope.

    ``members`` strongest first, empty if there is none: then ``why`` says why not. ``common`` is
    how many slots all phrasings read, in the places that were searched (``searched``:
    ``answer`` for the positions that produce it, ``everywhere`` for all). ``fewest`` is True only
    if every smaller set of the common slots was tried and keeps the answer. ``clear``: how many
    nats another token is at least ahead where the set was found; without any one member it isn't.
    """

    kind: Ablation
    scope: Scope
    members: tuple[SlotTarget, ...]
    common: int
    searched: str
    fewest: bool = False
    clear: float = 0.0
    why: str = ""

    def __post_init__(self) -> None:
        """Refuse a set without members that doesn't say why."""
        check_names(self.kind, self.scope)
        if bool(self.members) == bool(self.why):
            raise ValueError("a core set has members, or a reason for having none")

    @property
    def slots(self) -> tuple[int, ...]:
        """Numbers of its slots, each once, strongest first."""
        return tuple(dict.fromkeys(member.slot for member in self.members))

    def covers(self, reads: pd.DataFrame, sites: Mapping[str, SiteInfo]) -> np.ndarray:
        """Which reads an ablation of this set takes, ``[read]`` bool.

        ``reads`` has the columns ``site``, ``slot``, ``head`` and ``answering``.
        """
        members = set(self.members)
        places = zip(reads["site"], reads["slot"], reads["head"], strict=True)
        found = [
            target_of(self.scope, sites[site].table, int(slot), site, int(head)) in members
            for site, slot, head in places
        ]
        within = np.array(found, dtype=bool)
        return within & reads["answering"].to_numpy(bool) if self.scope == "read" else within

    def to_frame(self) -> pd.DataFrame:
        """One row a member: table, slot, site and head (None where the scope spans them)."""
        columns = ["table", "slot", "site", "head"]
        return pd.DataFrame([vars(m) for m in self.members], columns=columns)

    def to_json(self) -> dict[str, Any]:
        """All fields as plain values."""
        return {**vars(self), "members": [dict(vars(member)) for member in self.members]}


def find_core_set(
    model: MemoryModel,
    batch: QuestionBatch,
    effects: ReadEffects,
    kind: Ablation = "zero",
    scope: Scope = "table",
    *,
    clear: float = CLEAR,
) -> CoreSet:
    """The core set of the fact that the rows of ``batch`` ask for, each in its own phrasing.

    The slots that all rows read where they produce the answer are tried first, and those that all
    read anywhere if ablating the former doesn't lose it. They enter in the order of their effect,
    until the answer is lost in every row; then members leave, weakest first, as long as it stays
    lost, ``clear`` nats clearly (see above). ``effects`` are those of the same batch.

    Raises:
        ValueError: there is no such ablation or scope.
    """
    check_names(kind, scope)
    search = _Search(model, batch, kind, scope)
    for searched in ("answer", "everywhere"):
        common = common_slots(model, effects, scope, len(batch.ids), searched)
        if not common or (scope == "read" and searched == "everywhere"):
            continue
        if search.demand(common, clear):
            members = search.minimal(search.shortest_prefix(common))
            fewest = search.no_smaller(common, len(members))
            return CoreSet(
                kind, scope, members, len(common), searched, fewest=fewest, clear=search.clear
            )
    count = len(common_slots(model, effects, scope, len(batch.ids), "everywhere"))
    why = (
        f"all phrasings read {count:,} slots in common, and with all of these ablated the answer "
        "is still given in at least one of them"
        if count
        else "there is no slot that all phrasings read"
    )
    return CoreSet(kind, scope, (), count, "everywhere", why=why)


def common_slots(
    model: MemoryModel, effects: ReadEffects, scope: Scope, rows: int, searched: str = "everywhere"
) -> list[SlotTarget]:
    """What all ``rows`` phrasings read, by falling first-order effect on the answer's margin.

    ``searched``: ``answer`` for reads at positions that produce the answer, ``everywhere`` for all.
    A slot's effect is the sum over its reads in a phrasing, averaged over the phrasings.
    """
    chosen = effects.answering if searched == "answer" else np.ones(len(effects), dtype=bool)
    infos = [model.sites[name].info for name in effects.sites]
    strength: dict[SlotTarget, dict[int, float]] = {}
    for read in np.flatnonzero(chosen):
        info = infos[effects.site[read]]
        slot, head = int(effects.slot[read]), int(effects.head[read])
        own = strength.setdefault(target_of(scope, info.table, slot, info.name, head), {})
        row = int(effects.phrasing[read])
        own[row] = own.get(row, 0.0) + float(effects.margin[read])
    shared = {target: sum(own.values()) for target, own in strength.items() if len(own) == rows}
    return sorted(shared, key=lambda target: (-shared[target], _order(target)))


def _order(target: SlotTarget) -> tuple[int, int, str, int]:
    head = -1 if target.head is None else target.head
    return target.table, target.slot, target.site or "", head


@dataclass
class _Search:
    """Asks the model which sets lose the answer in every row of the batch."""

    model: MemoryModel
    batch: QuestionBatch
    kind: Ablation
    scope: Scope
    clear: float = 0.0

    def __post_init__(self) -> None:
        self._rows = list(range(len(self.batch.ids)))  # the row that keeps its answer most, first

    def demand(self, common: Sequence[SlotTarget], clear: float) -> bool:
        """Whether ablating ``common`` loses the answer in every row, and how clearly it's to be."""
        found = score_ablations(self.model, self.batch, [common], self.kind, self.scope)
        self.clear = min(clear, -_SHARE * float(found.lead.max()))
        return not bool(found.kept.any())

    def lost(self, variants: Sequence[Sequence[SlotTarget]]) -> np.ndarray:
        """Whether each variant loses the answer in every row, ``[variant]`` bool.

        Rows are asked one after another, each only with the variants that lost it in those before.
        """
        left = np.arange(len(variants))
        refused: dict[int, int] = {}
        for row in self._rows:
            if not len(left):
                break
            asked = take_rows(self.batch, [row])
            sets = [variants[int(each)] for each in left]
            scores = score_ablations(self.model, asked, sets, self.kind, self.scope)
            kept = (scores.kept | (scores.lead > -self.clear))[:, 0].cpu().numpy()
            refused[row] = int(kept.sum())
            left = left[~kept]
        self._rows.sort(key=lambda row: -refused.get(row, 0))
        found = np.zeros(len(variants), dtype=bool)
        found[left] = True
        return found

    def shortest_prefix(self, ranked: Sequence[SlotTarget]) -> list[SlotTarget]:
        """A short prefix of ``ranked`` that loses the answer; ``ranked`` itself does."""
        below, size = 0, len(ranked)
        while size - below > 1:
            steps = sorted({below + round((size - below) * n / _STEPS) for n in range(1, _STEPS)})
            tried = [step for step in steps if below < step < size]
            lost = self.lost([ranked[:step] for step in tried])
            first = int(lost.argmax()) if lost.any() else len(tried)
            below = tried[first - 1] if first else below
            size = tried[first] if first < len(tried) else size
        return self.thinned(list(ranked[:size]))

    def thinned(self, members: list[SlotTarget]) -> list[SlotTarget]:
        """A large set less whole stretches that can go together, weakest first: it saves passes."""
        stretch = len(members) // 4
        while stretch >= _STEPS // 2 and len(members) > _LARGE:
            for start in range(len(members) - stretch, -1, -stretch):
                rest = members[:start] + members[start + stretch :]
                if rest and self.lost([rest])[0]:
                    members = rest
            stretch //= 2
        return members

    def minimal(self, members: list[SlotTarget]) -> tuple[SlotTarget, ...]:
        """``members`` (strongest first) less all that can go; none that stays can be left out.

        Each round leaves out every member in turn, in one batch; then as many of those that can go
        alone as can go together, weakest first. It ends when none can go: that's the proof.
        """
        while True:
            alone = [[m for m in members if m != out] for out in members]
            lost = self.lost(alone)
            spare = [m for m, can_go in zip(members, lost, strict=True) if can_go][::-1]
            if not spare or len(members) == 1:
                return tuple(members)
            together = [[m for m in members if m not in spare[:n]] for n in _counts(len(spare))]
            lost = self.lost(together)
            members = together[int(np.flatnonzero(lost).max())]  # the first goes alone

    def no_smaller(self, common: Sequence[SlotTarget], size: int) -> bool:
        """Whether every set of fewer common slots keeps the answer; False if too many to try."""
        if sum(comb(len(common), n) for n in range(1, size)) > _EXHAUSTIVE:
            return False
        return not any(self.lost(list(combinations(common, n))).any() for n in range(1, size))


def _counts(spare: int) -> list[int]:
    """How many members are left out together: each number up to 8, then in growing steps."""
    return sorted({*range(1, min(8, spare) + 1), *range(8, spare + 1, 4), spare})
