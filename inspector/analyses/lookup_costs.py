"""What a lookup costs beside a search over every key, counted and measured, as n grows.

For one query of one head. Counted: multiplications for the scores and comparisons for the best
knn (one pass over what was scored; ties and the order among the best come on top in both).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from inspector.memory.product_keys import candidate_ranks, look_up, score_half_keys

SIZES = (16, 32, 64, 128, 256, 512, 1000, 1024, 2048, 4096)
_BLOCK = 2**16  # keys of the flat memory that are held at once
_QUICK, _SLOW = 7, 3  # timed runs


@dataclass(frozen=True)
class LookupCost:
    """The price of one query in a memory of ``n * n`` slots, both ways."""

    n: int
    slots: int
    multiplications: int  # product keys: n * d_key
    comparisons: int  # 2 n for the best of both halves, then the candidates
    flat_multiplications: int  # n * n * d_key
    flat_comparisons: int
    milliseconds: float  # median, measured on this machine
    flat_milliseconds: float


def count_costs(n: int, d_key: int, knn: int) -> tuple[int, int, int, int]:
    """Multiplications and comparisons with product keys, then those of a flat search."""
    candidates = len(candidate_ranks(knn, min(n, knn))[0])
    return n * d_key, 2 * n + candidates, n * n * d_key, n * n


def measure_costs_by_size(
    d_key: int, knn: int, sizes: Sequence[int] = SIZES, seed: int = 0
) -> tuple[LookupCost, ...]:
    """Count and time one query for every n, on random keys.

    The flat memory of the largest sizes would not fit in memory, so one block of 65,536 keys is
    scored again and again until n * n keys have been: the same work, on keys that are still in
    reach of the processor, which favours the flat search.
    """
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(1, d_key, generator=generator)
    block = torch.randn(min(_BLOCK, max(sizes) ** 2), d_key, generator=generator)
    costs = []
    for n in sizes:
        half_keys = torch.randn(1, 2, n, d_key // 2, generator=generator)
        fast = _median(partial(_product_keys, query, half_keys, knn), _QUICK)
        times = _SLOW if n > 500 else _QUICK
        slow = _median(partial(_flat, query, block, n * n, knn), times)
        costs.append(LookupCost(n, n * n, *count_costs(n, d_key, knn), 1e3 * fast, 1e3 * slow))
    return tuple(costs)


def costs_frame(costs: Sequence[LookupCost]) -> pd.DataFrame:
    """One row a size."""
    return pd.DataFrame([vars(cost) for cost in costs])


def _product_keys(query: Tensor, half_keys: Tensor, knn: int) -> Tensor:
    return look_up(score_half_keys(query, half_keys), knn).slots


def _flat(query: Tensor, block: Tensor, keys: int, knn: int) -> Tensor:
    best = torch.empty(0)
    for start in range(0, keys, len(block)):
        part = block[: min(len(block), keys - start)]
        best = torch.cat([best, (part @ query[0]).topk(min(knn, len(part))).values])
    return best.topk(knn).values


def _median(run: Callable[[], object], times: int) -> float:
    seconds = []
    with torch.inference_mode():
        run()
        for _ in range(times):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
