"""Does a value say anything? Its standing against null vectors through the same gate.

Null vectors have the covariance of the table's values. Where all values go through one gate, or
through none, they share the standings of one set of null vectors. Where each goes through a mean
gate of its own, each has null standings of its own, and null vectors are drawn only until it's
clear that a value doesn't stand out (Besag and Clifford 1991, Sequential Monte Carlo p-values).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import torch
from scipy.stats import false_discovery_control
from torch import Tensor

from inspector.analyses.unembedding import null_vectors
from inspector.memory.values import ValueTable

TESTED_AT: Final = 0.05
NULLS: Final = 9_999  # null vectors of a table
CONTEXT_NULLS: Final = 399  # a token's gate is met once: nothing is made beforehand
OWN_NULLS: Final = (99, 499)  # of a slot's own gate: for all, and where none of those reached it
FINER: Final = (2_499, NULLS)  # where none of those did either, and many slots are looked at
ENOUGH: Final = 5  # null vectors that stand as high: the value is like them, no more are drawn
_STEP: Final = 10  # null vectors of a slot at a time
_ROUNDING: Final = 1e-5  # where all vectors say the same, float32 must not tell them apart


def p_in_words(p_value: float) -> str:
    """``p = 0.012``, or ``p < 0.001``: no test by so many null vectors comes out as nought."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


# Given slots (positions) and which null vectors: the standings of these through those slots' gates,
# ``[slot null]`` float64.
Draw = Callable[[Tensor, slice], Tensor]

_NULL_VECTORS: weakref.WeakKeyDictionary[ValueTable, Tensor] = weakref.WeakKeyDictionary()


def nulls_of(table: ValueTable) -> Tensor:
    """Null values of a table, made once: ``[null d_value]`` float32."""
    if table not in _NULL_VECTORS:
        _NULL_VECTORS[table] = null_vectors(table.weight, NULLS, seed=0).float()
    return _NULL_VECTORS[table]


def shared_p_values(standing: Tensor, nulls: Tensor) -> Tensor:
    """The share of null standings ``[null]`` as high as each of ``standing [slot]``.

    The value itself counts among them, so it's never 0: (1 + those) / (1 + all).
    """
    below = torch.searchsorted(nulls.sort().values, _threshold(standing))
    return (1 + len(nulls) - below).double() / (1 + len(nulls))


def own_p_values(standing: Tensor, draw: Draw) -> Tensor:
    """P-values ``[slot]`` where each slot has null standings of its own, drawn as they are needed.

    Null vectors are drawn until 5 stand as high as the value: if the 5th does so as the l-th drawn
    the p-value is 5 / l, more than 0.05. If fewer than 5 of 99 do, it's (1 + those) / 100. Where
    none of 99 does, 400 more are drawn, and it's (1 + those) / 500 but at most 0.01. Under the null
    hypothesis it's at most a with probability at most a, whatever a is.

    Args:
        standing: ``[slot]`` float64.
        draw: gives null standings.
    """
    first, last = OWN_NULLS
    limit = _threshold(standing)
    p_values = torch.ones(len(standing), dtype=torch.float64)
    hits = torch.zeros(len(standing), dtype=torch.long)
    going = torch.arange(len(standing))
    for part in _steps(0, first):
        so_far = hits[going, None] + (draw(going, part) >= limit[going, None]).cumsum(1)
        enough = so_far >= ENOUGH
        stopped = enough[:, -1]
        drawn = part.start + 1 + enough[stopped].int().argmax(1)
        p_values[going[stopped]] = ENOUGH / drawn.double()
        hits[going] = so_far[:, -1]
        going = going[~stopped]
    p_values[going] = (1 + hits[going]).double() / (1 + first)
    alone = going[hits[going] == 0]
    return _draw_on(p_values, limit, alone, (first, last), draw)


def finer_p_values(p_values: Tensor, standing: Tensor, draw: Draw) -> Tensor:
    """``own_p_values`` made as fine as it takes to tell which of many slots are ``significant``.

    What no null vector reached has the least p-value that there can be. While that is too large for
    them to be significant, more null vectors are drawn for them: up to 2,499, then up to 9,999, and
    it's (1 + those that stand as high) / (1 + all), but no more than it was. That can only lower
    p-values, and were all of them taken so far they'd still be valid, so these are.
    """
    limit = _threshold(standing)
    found, drawn = p_values.clone(), OWN_NULLS[-1]
    for nulls in FINER:
        alone = (found == 1 / (1 + drawn)).nonzero().flatten()
        if not len(alone) or len(found) <= TESTED_AT * len(alone) * (1 + drawn):
            break
        found = _draw_on(found, limit, alone, (drawn, nulls), draw)
        drawn = nulls
    return found


def _draw_on(
    p_values: Tensor, limit: Tensor, slots: Tensor, drawn: tuple[int, int], draw: Draw
) -> Tensor:
    """P-values of ``slots``, which none of the first null vectors reached, from more of them."""
    hits = torch.zeros(len(slots), dtype=torch.long)
    for part in _steps(*drawn):
        hits += (draw(slots, part) >= limit[slots, None]).sum(1)
    found = p_values.clone()
    found[slots] = torch.minimum((1 + hits).double() / (1 + drawn[1]), p_values[slots])
    return found


def _steps(start: int, end: int) -> Iterator[slice]:
    for first in range(start, end, _STEP):
        yield slice(first, min(first + _STEP, end))


def _threshold(standing: Tensor) -> Tensor:
    return standing * (1 - _ROUNDING)


def significant(p_values: np.ndarray) -> np.ndarray:
    """Which stand out though many were looked at, ``[slot]`` bool.

    After Benjamini and Hochberg (1995), at 5 %: of those called so at most 5 % are expected to be
    null, where the p-values are independent or positively dependent.
    """
    if not len(p_values):
        return np.zeros(0, dtype=bool)
    return np.asarray(false_discovery_control(p_values, method="bh") <= TESTED_AT)
