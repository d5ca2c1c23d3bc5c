"""One lookup, step by step: every number between a query and the sum of values it fetches.

Lample et al. 2019, "Large Memory Layers with Product Keys", section 3.1, on a token of a model or
on any query and half-keys. Nothing here decides anything: the steps are taken with the functions
the memory layer itself uses, and ``agrees`` says whether they end in the reads the model made.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inspector.capture.trace import Trace
from inspector.families.base import MemoryModel
from inspector.memory.product_keys import (
    candidate_ranks,
    look_up,
    score_half_keys,
    select_slots,
    top_k,
)

_BLOCK = 2**20  # keys scored at once where all of them are


@dataclass(frozen=True, eq=False)
class LookupWalk:
    """All steps of one head's lookup for one query. ``n`` half-keys a set, ``knn`` reads.

    ``query [half d_half]``; ``half_keys [half half_key d_half]``; ``half_scores [half half_key]``;
    ``best [half rank]`` the half-keys kept and ``best_scores`` their scores, best first;
    ``sums [rank rank]`` float64; ``needed [rank rank]`` bool, False where enough other candidates
    are sure to be as good; ``slots``, ``scores``, ``weights`` and ``coefficients`` ``[knn]``;
    ``values [knn d_value]``.
    """

    query: np.ndarray
    half_keys: np.ndarray
    half_scores: np.ndarray
    best: np.ndarray
    best_scores: np.ndarray
    sums: np.ndarray
    needed: np.ndarray
    slots: np.ndarray
    scores: np.ndarray
    weights: np.ndarray
    coefficients: np.ndarray
    values: np.ndarray
    agrees: bool  # with the reads of the model's own forward pass; True where there is none

    def __post_init__(self) -> None:
        """Refuse steps that disagree in size."""
        ranks = self.best.shape[1]
        if self.sums.shape != (ranks, ranks) or self.needed.shape != (ranks, ranks):
            raise ValueError(f"{ranks} half-keys kept and a grid of {self.sums.shape}")
        if len(self.values) != self.knn or len(self.weights) != self.knn:
            raise ValueError(f"{self.knn} slots, but values {self.values.shape}")

    @property
    def n(self) -> int:
        """Half-keys per set."""
        return int(self.half_scores.shape[1])

    @property
    def knn(self) -> int:
        """Reads of this head."""
        return len(self.slots)

    @property
    def total(self) -> np.ndarray:
        """The weighted sum of this head's values, ``[d_value]``."""
        summed: np.ndarray = self.coefficients @ self.values
        return summed

    def pair(self, rank: int) -> tuple[int, int]:
        """The key (i, j) of the read of that rank."""
        i, j = divmod(int(self.slots[rank]), self.n)
        return i, j

    def cell(self, rank: int) -> tuple[int, int]:
        """Where the read of that rank lies in ``sums``."""
        i, j = self.pair(rank)
        return int(np.flatnonzero(self.best[0] == i)[0]), int(np.flatnonzero(self.best[1] == j)[0])

    def to_frame(self) -> pd.DataFrame:
        """One row a read: slot, its half-keys, their scores, score and weight."""
        i, j = np.divmod(self.slots, self.n)
        return pd.DataFrame(
            {
                "slot": self.slots,
                "i": i,
                "j": j,
                "score_i": self.half_scores[0, i],
                "score_j": self.half_scores[1, j],
                "score": self.scores,
                "weight": self.weights,
                "coefficient": self.coefficients,
            }
        )


def walk_query(query: Tensor, half_keys: Tensor, values: Tensor, knn: int) -> LookupWalk:
    """The steps for ``query [half d_half]`` in a memory of its own, softmax over its reads.

    Args:
        query: both halves.
        half_keys: ``[half half_key d_half]``.
        values: the whole table ``[slot d_value]``.
        knn: reads.
    """
    half_scores = score_half_keys(query.flatten()[None], half_keys[None])[0]
    found = look_up(half_scores, knn)
    reads = (found.slots, found.scores, found.weights, found.coefficients)
    return _assemble(query, half_keys, half_scores, reads, values[found.slots], agrees=True)


def walk_trace(model: MemoryModel, trace: Trace, site: str, pos: int, head: int) -> LookupWalk:
    """The steps of one head at one traced token, ending in the reads the model itself made."""
    chosen = model.site(site)
    with torch.inference_mode():
        x = trace.inputs[site][0, pos]
        query, half_keys = chosen.queries(x)[head], chosen.half_keys()[head]
        half_scores = score_half_keys(query.flatten()[None], half_keys[None])[0]
        own = trace.reads[site]
        parts = (own.slots, own.scores, own.weights, own.coefficients)
        reads = tuple(part[0, pos, head] for part in parts)
        values = chosen.table.rows(reads[0])
        agrees = bool((select_slots(half_scores, len(reads[0])) == reads[0]).all())
        return _assemble(query, half_keys, half_scores, reads, values, agrees=agrees)


def _assemble(
    query: Tensor,
    half_keys: Tensor,
    half_scores: Tensor,
    reads: tuple[Tensor, ...],
    values: Tensor,
    *,
    agrees: bool,
) -> LookupWalk:
    slots, scores, weights, coefficients = (part.cpu() for part in reads)
    knn = len(slots)
    best = top_k(half_scores, min(half_scores.shape[-1], knn))
    kept = half_scores.gather(-1, best)
    needed = np.zeros((best.shape[1],) * 2, dtype=bool)
    needed[candidate_ranks(knn, best.shape[1])] = True
    return LookupWalk(
        query=query.float().cpu().numpy(),
        half_keys=half_keys.float().cpu().numpy(),
        half_scores=half_scores.float().cpu().numpy(),
        best=best.cpu().numpy(),
        best_scores=kept.float().cpu().numpy(),
        sums=(kept[0].double()[:, None] + kept[1].double()).cpu().numpy(),
        needed=needed,
        slots=slots.numpy(),
        scores=scores.float().numpy(),
        weights=weights.float().numpy(),
        coefficients=coefficients.float().numpy(),
        values=values.float().cpu().numpy(),
        agrees=agrees,
    )


@dataclass(frozen=True)
class Exhaustive:
    """What a search over every single key finds, beside what the lookup found."""

    keys: int  # n * n, all of them scored
    slots: tuple[int, ...]
    equal: bool
    seconds: float


def search_all_keys(walk: LookupWalk) -> Exhaustive:
    """Score all n * n keys of ``walk``'s memory, one by one, and compare the best with its reads.

    Scores are summed in float64 and ties go to the lowest slot, as in the lookup.
    """
    start = time.perf_counter()
    first, second = (scores.astype(np.float64) for scores in walk.half_scores)
    rows = max(1, _BLOCK // walk.n)
    slots, scores = np.empty(0, dtype=np.int64), np.empty(0)
    for i in range(0, walk.n, rows):
        block = (first[i : i + rows, None] + second).ravel()
        scores = np.concatenate([scores, block])
        slots = np.concatenate([slots, np.arange(i * walk.n, i * walk.n + len(block))])
        order = np.argsort(-scores, kind="stable")[: walk.knn]  # stable: the lowest slot first
        slots, scores = slots[order], scores[order]
    seconds = time.perf_counter() - start
    found = tuple(int(slot) for slot in slots)
    return Exhaustive(walk.n**2, found, found == tuple(walk.slots.tolist()), seconds)
