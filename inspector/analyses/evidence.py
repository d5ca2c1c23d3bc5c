"""How much a count of reads says about a rate: chances, bounds, and how reads clump together."""

from __future__ import annotations

import numpy as np
import torch

from inspector.analyses.usage_measures import table_reads
from inspector.capture.usage import Usage


def chance_of_at_most(hits: np.ndarray, expected: float, clump: float = 1.0) -> np.ndarray:
    """Chance of at most ``hits [...]`` reads where ``expected`` would be read on average.

    Reads come as Poisson events of ``clump`` reads each: h reads are at least h / clump events,
    rounded up, so that the chance is never understated. Reads of a slot in distinct contexts are
    binomial with a small rate; Poisson has the heavier lower tail of the two.
    """
    events = _events(hits, clump)
    rate = torch.full_like(events, expected / clump)
    return np.asarray(torch.special.gammaincc(events + 1, rate).numpy())


def largest_mean(hits: np.ndarray, clump: float = 1.0, confidence: float = 0.95) -> np.ndarray:
    """Upper confidence bound of the mean number of reads, having seen ``hits [...]``.

    The mean at which so few would be seen with a chance of 1 - confidence: 3.0 for no hits
    (Garwood 1936; Hanley and Lippman-Hand 1983).
    """
    events = _events(hits, clump)
    low, high = events, 2 * events + 20
    for _ in range(60):
        middle = (low + high) / 2
        above = torch.special.gammaincc(events + 1, middle) > 1 - confidence
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return np.asarray((high * clump).numpy())


def _events(hits: np.ndarray, clump: float) -> torch.Tensor:
    return torch.from_numpy(np.ceil(np.asarray(hits, dtype=np.float64) / clump))


def most_hits_within(hits: np.ndarray, expected: float, clump: float, level: float) -> int:
    """The most reads that still show a rate below ``expected``; -1 if none do.

    Every item of ``hits [item]`` is put to the test that its mean is at least ``expected``, and
    the tests are corrected for their number after Benjamini and Hochberg (1995): of the items
    with at most so many reads, a share of at most ``level`` is expected to be there by chance.
    """
    values, counts = np.unique(hits, return_counts=True)
    chance = chance_of_at_most(values, expected, clump)
    passing = np.flatnonzero(chance <= level * counts.cumsum() / len(hits))
    return int(values[passing[-1]]) if len(passing) else -1


def measure_clump(usage: Usage, table: int) -> float | None:
    """Reads that come together: how many of one slot fall in a document that reads it at all.

    A text on Jakarta reads Jakarta's slots again and again, so its contexts, though distinct, are
    not as many independent chances. Measured on the slots read in at most half of the documents:
    their reads against those of as many independent events, -D log(1 - d/D) for a slot found in d
    of D documents; the mean over these slots, at least 1. Sites and heads count together, which
    can only overstate it for one of them. None where no slot can tell.
    """
    found = usage.tables[table].documents
    chosen = (found > 0) & (found <= usage.documents / 2)
    if not chosen.any():
        return None
    reads = table_reads(usage, table)[chosen]
    independent = -usage.documents * np.log1p(-found[chosen] / usage.documents)
    return max(1.0, float((reads / independent).mean()))
