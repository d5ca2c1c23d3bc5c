"""Reads that new half-keys push aside, and the values with which this changes least.

Where a lookup's reads include new ones, the softmax takes their weight from all the others: a read
pushed out of the top k loses all of its weight, one that stays a part of it. What the new reads
displace is the mean of these values, each weighted by what it lost; with it as their value the
lookup's sum stays exactly what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inspector.families.base import Site
from inspector.memory.product_keys import score_half_keys
from inspector.memory.values import ValueTable

NO_OWNER = -1


@dataclass(frozen=True, eq=False)
class DisplacedReads:
    """The sampled lookups of one head that new half-keys change.

    ``slots [lookup knn]`` are read then, with ``weights [lookup knn]``, which are 0 where a read
    isn't new; ``owners [lookup knn half]`` numbers the new half-keys it's owed to (``NO_OWNER``:
    that half isn't new); ``targets [lookup d_value]`` is what the new reads displace.
    """

    slots: Tensor
    weights: Tensor
    owners: Tensor
    targets: Tensor

    @property
    def new(self) -> Tensor:
        """Which reads are new, ``[lookup knn]`` bool."""
        return (self.owners != NO_OWNER).any(-1)


def find_displaced(
    before: Site, after: Site, queries: Tensor, head: int, owners: Tensor
) -> DisplacedReads:
    """Look ``queries`` up with old and new half-keys.

    Args:
        before: the site as it was.
        after: the same with new half-keys.
        queries: of this head, ``[lookup half d_half]``.
        head: whose half-keys to take.
        owners: the number of each new half-key, ``NO_OWNER`` for the others, ``[half half_key]``.
    """
    old, new = (
        site.select(
            score_half_keys(queries.flatten(-2)[:, None], site.half_keys()[[head]].float()), None
        )
        for site in (before, after)
    )
    old_slots, old_weights = old.slots[:, 0], old.weights[:, 0]  # [lookup knn]
    slots, weights = new.slots[:, 0], new.weights[:, 0]
    n = owners.shape[1]
    owned = torch.stack([owners[0][slots // n], owners[1][slots % n]], dim=-1)
    is_new = (owned != NO_OWNER).any(-1)
    changed = is_new.any(-1)
    same = (old_slots[:, :, None] == slots[:, None, :]) & ~is_new[:, None, :]
    kept = (same * weights[:, None, :]).sum(-1)
    lost = (old_weights - kept).clamp_min(0)[changed]
    values = before.table.rows(old_slots[changed]).float()  # [lookup knn d_value]
    total = torch.einsum("lk,lkv->lv", lost, values)
    return DisplacedReads(
        slots[changed],
        (weights * is_new)[changed],
        owned[changed],
        total / lost.sum(-1, keepdim=True).clamp_min(1e-30),
    )


@dataclass(frozen=True, eq=False)
class SlotStart:
    """Values that slots of one table start with, and how far off they are.

    ``slots [slot]`` ascending, ``rows [slot d_value]``; ``errors`` for each of the displaced reads
    ``[lookup knn]``: the squared error in the sum of values that a new read makes.
    """

    slots: Tensor
    rows: Tensor
    errors: tuple[Tensor, ...]


def start_values(table: ValueTable, parts: Sequence[DisplacedReads], others: Tensor) -> SlotStart:
    """The mean of what new reads of a slot displace and, where others read it, of what it holds.

    Weights are those of the reads; the mean is thus the value with the least squared error over
    all of them. Its error among the ``others`` is laid on the new reads, by their weight.

    Args:
        table: the values as they are.
        parts: the new reads of all heads and sites that read ``table``.
        others: summed weight of other reads of each slot, for as many queries, ``[slot]``.
    """
    chosen = [(part, rank) for part in parts for rank in range(part.slots.shape[1])]
    slots = torch.cat([part.slots[part.new] for part in parts]).unique()
    held = table.rows(slots).float()
    stay = others.to(held)[slots]
    weight, total = stay.clone(), held * stay[:, None]
    for part, rank in chosen:
        at, own, targets = _of_rank(part, rank, slots)
        weight.index_add_(0, at, own)
        total.index_add_(0, at, targets * own[:, None])
    rows = total / weight.clamp_min(1e-30)[:, None]
    moved = (rows - held).square().sum(-1) * stay / (weight - stay).clamp_min(1e-30)
    errors = [torch.zeros_like(part.weights) for part in parts]
    for (part, rank), into in zip(chosen, _each_rank(errors), strict=True):
        at, own, targets = _of_rank(part, rank, slots)
        off = (rows[at] - targets).square().sum(-1)
        into[part.new[:, rank]] = own.square() * off + own * moved[at]
    return SlotStart(slots, rows, tuple(errors))


def _of_rank(part: DisplacedReads, rank: int, slots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the new reads at one rank: places in ``slots``, weights, targets."""
    new = part.new[:, rank]
    at = torch.searchsorted(slots, part.slots[new, rank])
    return at, part.weights[new, rank], part.targets[new]


def _each_rank(errors: Sequence[Tensor]) -> list[Tensor]:
    return [each[:, rank] for each in errors for rank in range(each.shape[1])]


def mean_displaced(parts: Sequence[DisplacedReads], count: int) -> tuple[Tensor, Tensor]:
    """What each of ``count`` new half-keys displaces in all: ``[revived d_value]``; its reads.

    Zero where it displaces nothing.
    """
    targets = parts[0].targets
    total = targets.new_zeros(count, targets.shape[1])
    weight, reads = targets.new_zeros(count), targets.new_zeros(count, dtype=torch.int64)
    for part in parts:
        for rank in range(part.slots.shape[1]):
            for half in (0, 1):
                owner = part.owners[:, rank, half]
                here = owner != NO_OWNER
                own, at = part.weights[here, rank], owner[here]
                total.index_add_(0, at, part.targets[here] * own[:, None])
                weight.index_add_(0, at, own)
                reads.index_add_(0, at, torch.ones_like(at))
    return total / weight.clamp_min(1e-30)[:, None], reads
