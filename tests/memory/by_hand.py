"""A product-key lookup as slow and as plain as it can be: every key scored, one row at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection

import torch
from torch import Tensor


def best_slots(half_scores: Tensor, knn: int, masked: Collection[int] = ()) -> list[int]:
    """The knn slots with the largest sums, of ``half_scores [half half_key]``.

    All n * n keys are scored in Python's floats, which are float64, and sorted by score. Python's
    sort is stable, so that of equal scores the lowest slot comes first.
    """
    first, second = half_scores.tolist()
    scores = [a + b for a in first for b in second]
    slots = [slot for slot in range(len(scores)) if slot not in masked]
    return sorted(slots, key=lambda slot: -scores[slot])[:knn]


def best_slots_of_rows(half_scores: Tensor, knn: int, masked: Tensor | None = None) -> Tensor:
    """``best_slots`` for ``half_scores [... half half_key]``, with ``masked [... masked]``."""
    leading = half_scores.shape[:-2]
    rows = torch.zeros(*leading, knn, dtype=torch.int64)
    if masked is not None:
        masked = masked.expand(*leading, masked.shape[-1])
    for row in itertools.product(*map(range, leading)):
        left_out = () if masked is None else set(masked[row].tolist())
        rows[row] = torch.tensor(best_slots(half_scores[row], knn, left_out))
    return rows


def softmax(scores: list[float]) -> list[float]:
    """Weights of one head's reads."""
    powers = [math.exp(score - max(scores)) for score in scores]
    return [power / sum(powers) for power in powers]
