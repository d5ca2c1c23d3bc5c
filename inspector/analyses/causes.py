"""Why values, addresses and half-keys are dead: what a scan and the checkpoint's weights show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from inspector.analyses.half_key_causes import (
    NO_CAUSE,
    Cause,
    HalfKeyFindings,
    find_address_causes,
    find_half_key_causes,
)
from inspector.analyses.untrained_values import Untrained, find_untrained
from inspector.analyses.verdicts import Judged, Verdict, Verdicts, judge_usage
from inspector.capture.usage import Usage
from inspector.families.base import MemoryModel, SiteInfo


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Verdicts of a scan, and for what is dead the causes.

    ``half_keys`` are by site; ``untrained`` by table, about its dead values.
    """

    sites: Mapping[str, SiteInfo]
    verdicts: Verdicts
    half_keys: Mapping[str, HalfKeyFindings]
    untrained: Mapping[int, Untrained]

    def causes(self, judged: Judged) -> np.ndarray:
        """Causes ``[item]`` int8 of those judged: ``Cause`` where dead, ``NO_CAUSE`` elsewhere.

        A dead value's cause is that it was never trained, or else the one its addresses have at
        most sites and heads (of equally many, the first in precedence). A dead address's is that
        of its half-key out of use, or else that it is beaten.
        """
        dead = judged.chosen(Verdict.DEAD)
        causes = np.full(len(judged.hits), NO_CAUSE, dtype=np.int8)
        if judged.site is None or judged.head is None:
            causes[dead] = self._value_causes(judged.table, dead)
        elif judged.half is None:
            causes[dead] = find_address_causes(self.half_keys[judged.site], judged.head)[dead]
        else:
            causes[dead] = self.half_keys[judged.site].cause[judged.head, judged.half, dead]
        return causes

    @property
    def notes(self) -> tuple[str, ...]:
        """What verdicts and causes rest on, a sentence or two for each table."""
        return tuple(
            f"{_clump_note(self.verdicts.clumps[table])} {untrained.note}"
            for table, untrained in self.untrained.items()
        )

    def _value_causes(self, table: int, dead: np.ndarray) -> np.ndarray:
        found = [
            find_address_causes(self.half_keys[name], head)[dead]
            for name, info in self.sites.items()
            if info.table == table
            for head in range(info.heads)
        ]  # [site and head][item]
        votes = np.stack([np.sum([f == cause for f in found], axis=0) for cause in Cause])
        return np.where(self.untrained[table].untrained, Cause.UNTRAINED, votes.argmax(0))


def _clump_note(clump: float | None) -> str:
    if clump is None:
        return (
            "Too few documents tell slots apart, so reads are taken as independent of each other."
        )
    return (
        f"Where a document reads a slot, it reads it {clump:.1f} times on average; so many reads "
        f"count as one."
    )


def diagnose(usage: Usage, model: MemoryModel, verdicts: Verdicts | None = None) -> Diagnosis:
    """Judge a scan and look for the causes in the checkpoint it was taken of.

    Args:
        usage: a scan.
        model: the checkpoint scanned; its half-keys and the values of dead slots are read.
        verdicts: those of ``judge_usage``, if they are at hand.
    """
    verdicts = verdicts or judge_usage(usage)
    half_keys = {}
    for name, site in usage.sites.items():
        dead = np.zeros(site.half_hits.shape, dtype=bool)
        for head, half in np.ndindex(dead.shape[:2]):
            dead[head, half] = verdicts.half_keys[name, head, half].verdicts == Verdict.DEAD
        keys = model.site(name).half_keys().detach().float().cpu().numpy()
        half_keys[name] = find_half_key_causes(site, keys, dead)
    untrained = {
        table: find_untrained(
            model, table, judged.chosen(Verdict.DEAD), judged.chosen(Verdict.ALIVE), usage.seed
        )
        for table, judged in verdicts.values.items()
    }
    infos = {name: site.site for name, site in usage.sites.items()}
    return Diagnosis(infos, verdicts, half_keys, untrained)
