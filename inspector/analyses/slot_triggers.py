"""Which tokens make a slot fire: how often it's read where a token occurs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from inspector.analyses.read_index import ReadIndex, SlotReads
from inspector.capture.usage import Usage

_Z: Final = 1.959964  # of a two-sided 95 % interval


@dataclass(frozen=True, eq=False)
class Triggers:
    """Tokens at which a slot was read in the sample, those that set it off most surely first.

    All ``[token]``: ``ids``; ``occurrences``, distinct contexts that end with the token;
    ``reads``, those of them at which the slot was read by any head of any site; ``rate``, the
    share; ``low``, the lower end of its 95 % interval (Wilson 1927), which ranks them, so that
    one read of a token that occurs once doesn't come first.
    """

    ids: np.ndarray
    occurrences: np.ndarray
    reads: np.ndarray
    rate: np.ndarray
    low: np.ndarray

    def to_frame(self, token_text: Callable[[int], str]) -> pd.DataFrame:
        """One row a token, with its text; ``share`` is that of all tokens given that read it."""
        return pd.DataFrame(
            {
                "token": [token_text(int(token)) for token in self.ids],
                "id": self.ids,
                "rate": self.rate,
                "at_least": self.low,
                "reads": self.reads,
                "occurrences": self.occurrences,
                "share": self.reads / max(int(self.reads.sum()), 1),
            }
        )


def token_occurrences(index: ReadIndex, usage: Usage) -> np.ndarray:
    """Distinct contexts of the sample that end with each token, ``[id]``, up to the largest id."""
    return np.bincount(np.asarray(usage.token_ids[index.token]), minlength=1)


def find_triggers(
    reads: SlotReads, usage: Usage, occurrences: np.ndarray, top: int | None = None
) -> Triggers:
    """The tokens that set off a slot.

    Args:
        reads: of the slot, from an index of ``usage``.
        usage: the scan.
        occurrences: ``[id]``, from ``token_occurrences`` of the same index.
        top: how many to give; all by default.
    """
    at = np.unique(reads.token)  # a token whose slot several heads read counts once
    counts = np.bincount(np.asarray(usage.token_ids[at]), minlength=len(occurrences))
    ids = np.flatnonzero(counts)
    hits, seen = counts[ids], occurrences[ids]
    low = _wilson_low(hits, seen)
    order = np.lexsort((ids, -hits, -low))[:top]
    return Triggers(ids[order], seen[order], hits[order], (hits / seen)[order], low[order])


def _wilson_low(hits: np.ndarray, trials: np.ndarray) -> np.ndarray:
    rate = hits / trials
    square = _Z**2
    spread = _Z * np.sqrt(rate * (1 - rate) / trials + square / (4 * trials**2))
    return np.asarray((rate + square / (2 * trials) - spread) / (1 + square / trials))
