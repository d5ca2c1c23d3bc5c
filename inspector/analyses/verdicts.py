"""Dead, not seen yet, rare or alive: verdicts that state nothing without the evidence for it.

Under uniform use each of N slots is read in knn of N lookups, and so T * knn / N times in T
distinct contexts, by each head of a site; a half-key takes part in T * knn / n reads.

- *dead*: read significantly less often than a tenth of that. No read at all isn't asked for: on
  enough evidence a slot read twice where uniform use would give 1,000 is dead.
- *not seen yet*: never read, but so few lookups were seen that this says little.
- *rare*: read, and significantly less often than half of what uniform use gives, but not dead.
- *alive*: read, and nothing speaks against it.

"Significantly": a one-sided Poisson test at 5 % that the rate is at least that, corrected after
Benjamini and Hochberg over the items judged together (a table's values; one head's addresses; one
head's half-keys of one set). So of those called dead at most 5 % are expected not to be; and a
slot above a tenth of uniform use is called so in at most 5 % of cases, however many are dead
beside it. Reads that come together (``measure_clump``) count as one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

import numpy as np
import pandas as pd

from inspector.analyses.evidence import (
    chance_of_at_most,
    largest_mean,
    measure_clump,
    most_hits_within,
)
from inspector.analyses.usage_measures import half_key_reads, sites_of
from inspector.capture.usage import SiteUsage, Usage

DEAD_BELOW: Final = 0.1  # of uniform use
RARE_BELOW: Final = 0.5
HOPELESS: Final = 0.01  # what sufficient evidence finds dead in 95 % of cases
CHANCE: Final = 0.05

Level = Literal["value", "address", "half-key"]


class Verdict(IntEnum):
    """What can be said of a slot or a half-key."""

    ALIVE = 0
    RARE = 1
    NOT_SEEN_YET = 2
    DEAD = 3

    @property
    def label(self) -> str:
        """The verdict in words."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, eq=False)
class Judged:
    """Items judged together: a table's values, one head's addresses, or one of its half-key sets.

    ``hits`` and ``verdicts`` are ``[item]``: reads in distinct contexts, and ``Verdict`` codes.
    ``expected`` is how many hits each item would have under uniform use, and ``clump`` how many
    reads count as one. About ``tokens_to_decide`` further tokens like those scanned decide all
    that has no hit so far: by then it's read, or dead. ``tokens_at_most`` make an item without a
    hit dead however the others fare. After ``tokens_to_suffice`` an item read at a hundredth of
    uniform use will be found dead in 95 % of cases. Each is 0 where that is so already.
    """

    level: Level
    table: int
    site: str | None  # None for values: over all sites
    head: int | None  # None for values: over all heads
    half: int | None  # 0 or 1, for half-keys
    hits: np.ndarray  # int64
    verdicts: np.ndarray  # int8
    contexts: int
    expected: float
    clump: float
    tokens_to_decide: int
    tokens_at_most: int
    tokens_to_suffice: int

    def chosen(self, *verdicts: Verdict) -> np.ndarray:
        """Items with one of these verdicts, ascending."""
        return np.flatnonzero(np.isin(self.verdicts, verdicts))

    def count(self, verdict: Verdict) -> int:
        """How many items have this verdict."""
        return int(np.count_nonzero(self.verdicts == verdict))

    def rate_bounds(self, items: np.ndarray) -> np.ndarray:
        """95 % upper bound of each item's own rate, as a share of uniform use; infinite if T = 0.

        Not corrected for the number of items: what is known of this one.
        """
        if self.expected == 0:
            return np.full(len(items), np.inf)
        values, inverse = np.unique(self.hits[items], return_inverse=True)
        return np.asarray(largest_mean(values, self.clump, 1 - CHANCE)[inverse] / self.expected)


@dataclass(frozen=True, eq=False)
class Verdicts:
    """All verdicts of a scan: of values by table, of addresses by (site, head), of half-keys by
    (site, head, half).
    """

    values: Mapping[int, Judged]
    addresses: Mapping[tuple[str, int], Judged]
    half_keys: Mapping[tuple[str, int, int], Judged]
    clumps: Mapping[int, float | None]  # by table; None: could not be measured, taken as 1

    def __iter__(self) -> Iterator[Judged]:
        """Values first, then half-keys, then addresses."""
        yield from self.values.values()
        yield from self.half_keys.values()
        yield from self.addresses.values()

    def counts(self, table: int) -> dict[str, int]:
        """How many values of a table are ``dead``, ``not_seen_yet``, ``rare`` and ``alive``."""
        judged = self.values[table]
        return {verdict.name.lower(): judged.count(verdict) for verdict in reversed(Verdict)}

    def to_frame(self) -> pd.DataFrame:
        """One row for each group of items judged together: the evidence, and how many are what."""
        rows = [
            {
                "level": judged.level,
                "table": judged.table,
                "site": judged.site,
                "head": judged.head,
                "set": None if judged.half is None else judged.half + 1,
                "items": len(judged.hits),
                **{v.name.lower(): judged.count(v) for v in reversed(Verdict)},
                "contexts": judged.contexts,
                "expected": judged.expected,
                "clump": judged.clump,
                "tokens_to_decide": judged.tokens_to_decide,
                "tokens_at_most": judged.tokens_at_most,
                "tokens_to_suffice": judged.tokens_to_suffice,
            }
            for judged in self
        ]
        return pd.DataFrame(rows).astype({"head": "Int64", "set": "Int64"})


def judge(hits: np.ndarray, expected: float, clump: float = 1.0) -> np.ndarray:
    """Verdicts ``[item]`` int8 on items judged together (see the module).

    Args:
        hits: how often each item was read in distinct contexts, ``[item]``.
        expected: how often it would have been under uniform use.
        clump: how many reads come together and count as one.
    """
    rare = most_hits_within(hits, RARE_BELOW * expected, clump, CHANCE)
    dead = most_hits_within(hits, DEAD_BELOW * expected, clump, CHANCE)
    verdicts = np.where(hits <= rare, Verdict.RARE, Verdict.ALIVE).astype(np.int8)
    verdicts[hits == 0] = Verdict.NOT_SEEN_YET
    verdicts[hits <= dead] = Verdict.DEAD
    return verdicts


def judge_usage(usage: Usage) -> Verdicts:
    """Judge every value, address and half-key of a scan."""
    clumps = {table: measure_clump(usage, table) for table in usage.tables}
    addresses, half_keys = {}, {}
    for name, site in usage.sites.items():
        clump = clumps[site.site.table] or 1.0
        for head in range(site.site.heads):
            addresses[name, head] = _judge_addresses(usage, site, head, clump)
            for half in (0, 1):
                half_keys[name, head, half] = _judge_half_keys(usage, site, head, half, clump)
    values = {table: _judge_values(usage, table, clumps[table] or 1.0) for table in usage.tables}
    return Verdicts(values, addresses, half_keys, clumps)


def _judge_values(usage: Usage, table: int, clump: float) -> Judged:
    sites = sites_of(usage, table).values()
    hits = np.sum([site.contexts.sum(0) for site in sites], axis=0)
    rate = sum(site.site.heads * site.site.knn for site in sites) / len(hits)
    return _judged(usage, "value", (table, None, None, None), hits, rate, clump)


def _judge_addresses(usage: Usage, site: SiteUsage, head: int, clump: float) -> Judged:
    info = site.site
    place = (info.table, info.name, head, None)
    return _judged(usage, "address", place, site.contexts[head], info.knn / info.slots, clump)


def _judge_half_keys(usage: Usage, site: SiteUsage, head: int, half: int, clump: float) -> Judged:
    """Up to knn reads of one lookup share a half-key, so that many may come together."""
    info = site.site
    hits = half_key_reads(site.contexts[head], info.half_keys)[half]
    together = clump * min(info.knn, info.half_keys)
    place = (info.table, info.name, head, half)
    return _judged(usage, "half-key", place, hits, info.knn / info.half_keys, together)


def _judged(
    usage: Usage,
    level: Level,
    place: tuple[int, str | None, int | None, int | None],
    hits: np.ndarray,
    rate: float,
    clump: float,
) -> Judged:
    """Judge ``hits [item]``, each read ``rate`` times a distinct context under uniform use."""
    contexts, items = usage.distinct_contexts, len(hits)
    table, site, head, half = place

    def tokens_until(dead_hits: float) -> int:
        """Tokens until a slot at a tenth of uniform use would have ``dead_hits`` clumps of hits."""
        missing = max(0.0, dead_hits * clump / (DEAD_BELOW * rate) - contexts)
        return math.ceil(missing * max(usage.tokens, 1) / max(contexts, 1))

    verdicts = judge(hits, contexts * rate, clump)
    unseen = bool((verdicts == Verdict.NOT_SEEN_YET).any())
    return Judged(
        level=level,
        table=table,
        site=site,
        head=head,
        half=half,
        hits=hits,
        verdicts=verdicts,
        contexts=contexts,
        expected=contexts * rate,
        clump=clump,
        # No hits pass the test with exp(-hits) = CHANCE * (share of items that have none).
        tokens_to_decide=tokens_until(math.log(items / CHANCE / _never_read(hits))) * unseen,
        tokens_at_most=tokens_until(math.log(items / CHANCE)),
        tokens_to_suffice=tokens_until(sufficient_hits(items)),
    )


def _never_read(hits: np.ndarray) -> float:
    """How many items would stay unread for long: those unread less Chao1's of those yet to come.

    Chao 1984: f1^2 / (2 f2) more will be read, of f1 items read once and f2 twice. At least 1.
    """
    none, once, twice = (int(np.count_nonzero(hits == count)) for count in (0, 1, 2))
    coming = once**2 / (2 * twice) if twice else once * (once - 1) / 2
    return max(none - coming, 1.0)


def sufficient_hits(items: int) -> float:
    """Hits a slot at a tenth of uniform use must be expected to have for the evidence to suffice.

    From there on a slot at a hundredth of uniform use has so few hits, in 95 % of cases, that they
    pass the test even if it's corrected for ``items`` tests with no other dead among them.
    """
    cut, steps = 0, largest_mean(np.arange(200), confidence=1 - CHANCE / items)
    # steps[c] is where c hits begin to pass; until steps[c + 1] the cut stays at c.
    while True:
        worst = steps[cut + 1] * HOPELESS / DEAD_BELOW
        if chance_of_at_most(np.array([cut]), worst)[0] >= 1 - CHANCE:
            return float(steps[cut])
        cut += 1
