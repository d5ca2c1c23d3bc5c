"""How often one slot is read: by which site and head, where it stands, and the verdict on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from inspector.analyses.usage_measures import sites_of, table_reads
from inspector.analyses.verdicts import Verdict, Verdicts
from inspector.capture.usage import Usage


@dataclass(frozen=True, eq=False)
class Standing:
    """Place of one slot among all of its table, from 1; slots with as many share the best place."""

    rank: int
    ties: int  # slots with as many, itself included
    share: float  # of all reads, or of all weight


@dataclass(frozen=True, eq=False)
class SlotUsage:
    """One slot in a scan.

    ``reads``, ``weights`` (summed |coefficients|) and ``contexts`` are ``[head]`` by site.
    ``hits`` are reads in distinct contexts, of which uniform use would give ``expected``;
    ``rate_bound`` is the 95 % upper bound of its rate as a share of uniform use.
    """

    table: int
    slot: int
    reads: Mapping[str, np.ndarray]
    weights: Mapping[str, np.ndarray]
    contexts: Mapping[str, np.ndarray]
    documents: int
    by_reads: Standing
    by_weight: Standing
    slots: int
    slots_read: int  # of the table
    verdict: Verdict
    hits: int
    expected: float
    rate_bound: float
    clump: float

    @property
    def total(self) -> int:
        """Reads of all sites and heads."""
        return int(sum(own.sum() for own in self.reads.values()))

    @property
    def main_site(self) -> str:
        """The site that gives it most weight; the first where it was never read."""
        return max(self.weights, key=lambda name: float(self.weights[name].sum()))

    def main_reader(self) -> tuple[str, int]:
        """The site and head with most reads of it."""
        return max(
            ((name, head) for name, own in self.reads.items() for head in range(len(own))),
            key=lambda place: int(self.reads[place[0]][place[1]]),
        )

    def to_frame(self) -> pd.DataFrame:
        """One row for each head of each site."""
        return pd.DataFrame(
            [
                {
                    "site": name,
                    "head": head,
                    "reads": int(own[head]),
                    "weight": float(self.weights[name][head]),
                    "contexts": int(self.contexts[name][head]),
                }
                for name, own in self.reads.items()
                for head in range(len(own))
            ]
        )


def slot_usage(usage: Usage, verdicts: Verdicts, table: int, slot: int) -> SlotUsage:
    """What a scan found about one slot.

    Args:
        usage: the scan.
        verdicts: all verdicts on it (``judge_usage``).
        table: the value table.
        slot: its number.
    """
    sites = sites_of(usage, table)
    reads = table_reads(usage, table)
    weights = np.sum([site.weights.sum(0) for site in sites.values()], axis=0)
    judged = verdicts.values[table]
    return SlotUsage(
        table=table,
        slot=slot,
        reads={name: site.reads[:, slot] for name, site in sites.items()},
        weights={name: site.weights[:, slot] for name, site in sites.items()},
        contexts={name: site.contexts[:, slot] for name, site in sites.items()},
        documents=int(usage.tables[table].documents[slot]),
        by_reads=_standing(reads, slot),
        by_weight=_standing(weights, slot),
        slots=len(reads),
        slots_read=int(np.count_nonzero(reads)),
        verdict=Verdict(int(judged.verdicts[slot])),
        hits=int(judged.hits[slot]),
        expected=judged.expected,
        rate_bound=float(judged.rate_bounds(np.array([slot]))[0]),
        clump=judged.clump,
    )


def _standing(amounts: np.ndarray, slot: int) -> Standing:
    own = amounts[slot]
    return Standing(
        int(np.count_nonzero(amounts > own)) + 1,
        int(np.count_nonzero(amounts == own)),
        float(own / (amounts.sum() or 1)),
    )
