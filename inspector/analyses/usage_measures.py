"""How evenly a memory is used: usage, unevenness, Gini and their kin, of slots and of half-keys.

Definitions: with z_i the share of item i in all reads and N items, usage = #{z_i > 0} / N;
unevenness = log N + sum z_i log z_i, the divergence from uniform use in nats (Lample et al. 2019,
section 4.2); effective = exp(entropy); Gini = 1 + 1/N - 2 * mean(cumsum(sort z)), 0 for uniform
use and 1 - 1/N where one item takes all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd

from inspector.capture.usage import SiteUsage, Usage

Of = Literal["slots", "half-keys of set 1", "half-keys of set 2"]
By = Literal["counted", "weighted"]  # reads, or the sum of their |coefficients|
SETS: Final[tuple[Of, Of]] = ("half-keys of set 1", "half-keys of set 2")


@dataclass(frozen=True)
class Spread:
    """How reads spread over ``items`` slots or half-keys (see the module).

    ``top50`` to ``top99`` are the fewest items that cover that share of all reads. Where nothing
    was read, there's no spread: unevenness, effective and Gini are NaN.
    """

    items: int
    read: int  # items read at least once
    usage: float
    unevenness: float  # nats
    unevenness_share: float  # of log N
    effective: float  # as many evenly used items have the same entropy
    gini: float
    top50: int
    top90: int
    top99: int


@dataclass(frozen=True)
class UsageMeasures:
    """The measures of one table (over all sites that share it), one site or one head.

    Half-keys belong to one head of one site: a table's or a site's half-keys of set 1 are those of
    all its heads, side by side.
    """

    level: Literal["table", "site", "head"]
    table: int
    site: str | None  # None: over all sites that share the table
    head: int | None  # None: over all heads
    parts: Mapping[tuple[Of, By], Spread]

    def to_frame(self) -> pd.DataFrame:
        """One row for each of slots and both half-key sets, counted and weighted."""
        place = {"level": self.level, "table": self.table, "site": self.site, "head": self.head}
        rows = [
            place | {"of": of, "by": by} | asdict(spread) for (of, by), spread in self.parts.items()
        ]
        return pd.DataFrame(rows).astype({"site": object, "head": "Int64"})


def spread(amounts: np.ndarray) -> Spread:
    """Measures of ``amounts [item]``: reads, or summed |coefficients|, none negative."""
    items, total = len(amounts), float(amounts.sum())
    read = int(np.count_nonzero(amounts))
    if total == 0:
        return Spread(items, 0, 0.0, math.nan, math.nan, math.nan, math.nan, 0, 0, 0)
    rising = np.sort(amounts).astype(np.float64)
    shares = rising[items - read :] / total
    entropy = float(-(shares * np.log(shares)).sum())
    unevenness = max(math.log(items) - entropy, 0.0)
    covered = rising[::-1].cumsum()
    top = [_fewest(covered, percent, total) for percent in (50, 90, 99)]
    gini = 1 + 1 / items - 2 * float(rising.cumsum().mean()) / total
    return Spread(
        items=items,
        read=read,
        usage=read / items,
        unevenness=unevenness,
        unevenness_share=unevenness / (math.log(items) or 1.0),  # a single item is even
        effective=math.exp(entropy),
        gini=max(gini, 0.0),
        top50=top[0],
        top90=top[1],
        top99=top[2],
    )


def _fewest(covered: np.ndarray, percent: int, total: float) -> int:
    """How many of the largest cover ``percent`` of ``total``; sums of floats may be a hair off."""
    return int(np.searchsorted(covered * 100, percent * total * (1 - 1e-12))) + 1


def half_key_reads(per_slot: np.ndarray, half_keys: int) -> np.ndarray:
    """Reads of each half-key from reads of slots: ``[... slot] -> [... half half_key]``."""
    pairs = per_slot.reshape(*per_slot.shape[:-1], half_keys, half_keys)  # slot = i * n + j
    return np.stack([pairs.sum(-1), pairs.sum(-2)], axis=-2)


def table_reads(usage: Usage, table: int) -> np.ndarray:
    """Reads of each slot of a value table, over all sites and heads that read it: ``[slot]``."""
    sites = sites_of(usage, table).values()
    return np.asarray(np.sum([site.reads.sum(0) for site in sites], axis=0))


def sites_of(usage: Usage, table: int) -> dict[str, SiteUsage]:
    """The sites that read value table ``table``, by name."""
    return {name: site for name, site in usage.sites.items() if site.site.table == table}


def measure_usage(usage: Usage) -> tuple[UsageMeasures, ...]:
    """All measures of a scan: each table, then its sites, each followed by its heads."""
    return tuple(measures for table in usage.tables for measures in _measure_table(usage, table))


def _measure_table(usage: Usage, table: int) -> Iterator[UsageMeasures]:
    sites = sites_of(usage, table)
    yield UsageMeasures("table", table, None, None, _parts(list(sites.values())))
    for name, site in sites.items():
        yield UsageMeasures("site", table, name, None, _parts([site]))
        for head in range(site.site.heads):
            yield UsageMeasures("head", table, name, head, _parts([site], head))


def _parts(sites: list[SiteUsage], head: int | None = None) -> dict[tuple[Of, By], Spread]:
    heads = slice(None) if head is None else slice(head, head + 1)
    amounts: dict[By, list[np.ndarray]] = {
        "counted": [site.reads[heads] for site in sites],
        "weighted": [site.weights[heads] for site in sites],
    }
    parts: dict[tuple[Of, By], Spread] = {}
    for by, per_site in amounts.items():
        parts["slots", by] = spread(np.concatenate(per_site).sum(0))
        halves = [
            half_key_reads(amount, site.site.half_keys)
            for amount, site in zip(per_site, sites, strict=True)
        ]  # [head half half_key] each
        for half, of in enumerate(SETS):
            parts[of, by] = spread(np.concatenate([each[:, half].ravel() for each in halves]))
    return parts


def comparison_frame(usage: Usage) -> pd.DataFrame:
    """The measures of all tables, sites and heads as one table, to set them side by side."""
    return pd.concat([m.to_frame() for m in measure_usage(usage)], ignore_index=True)


@dataclass(frozen=True, eq=False)
class RankFrequency:
    """Share of all reads that the slot at each rank takes: ``rank [point]`` from 1, ``share``."""

    slots: int
    rank: np.ndarray
    share: np.ndarray


@dataclass(frozen=True, eq=False)
class Lorenz:
    """Share of all reads that the least read slots take together; both ``[point]``, 0 to 1."""

    slots: np.ndarray
    reads: np.ndarray


def rank_frequency(amounts: np.ndarray, points: int = 400) -> RankFrequency:
    """Slots by falling use, at ``points`` ranks evenly spread on a logarithmic axis, unread last.

    Args:
        amounts: reads, or summed |coefficients|, ``[slot]``.
        points: about how many ranks to give; all of them where there are no more.
    """
    falling = np.sort(amounts)[::-1].astype(np.float64)
    total = falling.sum() or 1.0
    rank = np.unique(np.geomspace(1, len(falling), points).round().astype(np.int64))
    return RankFrequency(len(falling), rank, falling[rank - 1] / total)


def lorenz(amounts: np.ndarray, points: int = 400) -> Lorenz:
    """Lorenz curve of ``amounts [slot]``, from (0, 0) to (1, 1), at ``points`` even steps."""
    rising = np.sort(amounts).astype(np.float64)
    covered = np.concatenate([[0.0], rising.cumsum()])
    at = np.unique(np.linspace(0, len(rising), points + 1).round().astype(np.int64))
    return Lorenz(at / len(rising), covered[at] / (covered[-1] or 1.0))
