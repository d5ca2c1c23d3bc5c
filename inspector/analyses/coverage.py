"""How much of a table was ever read, and how much would be: coverage and its extrapolation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from inspector.analyses.usage_measures import sites_of
from inspector.capture.usage import Usage

_RESAMPLES = 400


@dataclass(frozen=True)
class Richness:
    """How many slots would be read at least once, were the corpus to go on: a *lower bound*.

    Chao2 (Chao 1987; bias-corrected where no slot was found in exactly two documents) with
    documents as units: ``seen`` slots, of which ``once`` in one and ``twice`` in two of
    ``documents``. Never above the table's size. ``low`` and ``high`` are a 95 % interval of that
    bound, not of the number itself: where slots differ widely in use, more may lie above it.
    """

    estimate: float
    low: float
    high: float
    seen: int
    once: int
    twice: int
    documents: int


@dataclass(frozen=True, eq=False)
class Coverage:
    """Distinct slots of one table against tokens scanned.

    ``tokens``, ``slots_read`` and ``uniform`` are ``[point]``. ``uniform`` is what uniform use
    would have read by then: ``N * (1 - product over sites of (1 - knn / N)^(heads * contexts))``,
    each lookup taking knn different slots at random, with as many distinct contexts a token as in
    the whole scan. ``richness`` is None with fewer than two documents.
    """

    table: int
    slots: int
    tokens: np.ndarray
    slots_read: np.ndarray
    uniform: np.ndarray
    richness: Richness | None

    def to_frame(self) -> pd.DataFrame:
        """One row a point of the curve."""
        return pd.DataFrame(
            {"tokens": self.tokens, "slots_read": self.slots_read, "uniform": self.uniform}
        )


def measure_coverage(usage: Usage, table: int, seed: int = 0) -> Coverage:
    """The coverage curve of a table, and how many slots would ever be read.

    Args:
        usage: a scan.
        table: number of the value table.
        seed: of the bootstrap.
    """
    own = usage.tables[table]
    slots = len(own.documents)
    tokens, slots_read = own.coverage[:, 0], own.coverage[:, 1]
    return Coverage(
        table=table,
        slots=slots,
        tokens=tokens,
        slots_read=slots_read,
        uniform=slots * (1 - unread_share(usage, table, tokens)),
        richness=estimate_richness(own.documents, usage.documents, seed),
    )


def unread_share(usage: Usage, table: int, tokens: np.ndarray) -> np.ndarray:
    """Share of slots that even uniform use would leave unread after ``tokens [...]`` tokens."""
    contexts = np.asarray(tokens) * usage.distinct_contexts / max(usage.tokens, 1)
    logs = np.zeros_like(contexts)
    for site in sites_of(usage, table).values():
        missed = 1 - site.site.knn / site.site.slots
        if missed == 0:
            return np.asarray(contexts <= 0, dtype=np.float64)
        logs = logs + contexts * site.site.heads * math.log(missed)
    return np.asarray(np.exp(logs))


def estimate_richness(found: np.ndarray, documents: int, seed: int = 0) -> Richness | None:
    """Chao2 of ``found [slot]``, the number of ``documents`` in which each slot was read.

    The interval: a scan keeps how many documents read each slot, not which, so documents can't be
    drawn again one by one. Instead each slot's number is drawn again from a binomial, with the
    chances of Chao et al. 2014 (appendix G), which make room for the slots not yet seen. The
    spread of Chao2 over these draws gives a log-normal interval (Chao 1987), which can't fall
    below what was seen.
    """
    if documents < 2:
        return None
    occurrences, slots = np.unique(found, return_counts=True)
    tally = dict(zip(occurrences.tolist(), slots.tolist(), strict=True))
    once, twice = tally.get(1, 0), tally.get(2, 0)
    seen = len(found) - tally.pop(0, 0)
    unseen = float(_unseen(np.array(once), np.array(twice), documents))
    low = high = float(seen)
    if unseen > 0:
        deviation = _bootstrap(tally, unseen, documents, np.random.default_rng(seed)).std(ddof=1)
        factor = math.exp(1.96 * math.sqrt(math.log1p((deviation / unseen) ** 2)))
        low, high = seen + unseen / factor, seen + unseen * factor
    cap = float(len(found))
    estimate, low, high = (min(value, cap) for value in (seen + unseen, low, high))
    return Richness(estimate, low, high, seen, once, twice, documents)


def _unseen(once: np.ndarray, twice: np.ndarray, documents: int) -> np.ndarray:
    """Chao2's estimate of the slots never seen, from those found once and twice, elementwise."""
    divisor = np.where(twice > 0, 2 * twice, 2)
    pairs = np.where(twice > 0, once**2, once * (once - 1))
    return np.asarray((documents - 1) / documents * pairs / divisor)


def _bootstrap(
    tally: Mapping[int, int], unseen: float, documents: int, random: np.random.Generator
) -> np.ndarray:
    """Chao2 over parametric draws, ``[resample]``; ``tally``: how many slots were found d times.

    Slots with the same number share one chance, so each draw needs only how many of them turn up
    never, once, twice or more often: one multinomial for each number.
    """
    found = np.array(list(tally), dtype=np.float64)
    slots = np.array([*tally.values(), math.ceil(unseen)])
    chance = _chances(found, slots[:-1], unseen, documents)
    never = (1 - chance) ** documents
    once = documents * chance * (1 - chance) ** (documents - 1)
    twice = (documents - 1) / 2 * documents * chance**2 * (1 - chance) ** max(documents - 2, 0)
    shares = np.stack([never, once, twice], axis=-1)
    shares = np.concatenate([shares, np.clip(1 - shares.sum(-1, keepdims=True), 0, 1)], axis=-1)
    shares /= shares.sum(-1, keepdims=True)
    drawn = random.multinomial(slots, shares, size=(_RESAMPLES, len(slots))).sum(1)
    seen = slots.sum() - drawn[:, 0]
    return np.asarray(seen + _unseen(drawn[:, 1], drawn[:, 2], documents))


def _chances(found: np.ndarray, slots: np.ndarray, unseen: float, documents: int) -> np.ndarray:
    """Chance of each class of slots to be read in a document, the unseen last."""
    once = float(slots[found == 1].sum())
    # What slots not yet seen take of a document's slots; those seen lose as much, rare ones most.
    missed = once * unseen / (documents * unseen + once)
    plain = found / documents
    missing = (1 - plain) ** documents
    shrink = min(missed / float((plain * missing * slots).sum()), 1.0)
    return np.append(plain * (1 - shrink * missing), missed / math.ceil(unseen))
