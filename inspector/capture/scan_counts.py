"""What a scan counts: reads of slots, per chunk, and standings of half-keys, per batch.

All that is added up are whole numbers (weights in units of 2^-30), so that the sums are the same
whatever the order and size of the batches, and on a GPU, where adding floats is not repeatable.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from inspector.capture.usage import MARGIN_EDGES
from inspector.families.base import SiteInfo
from inspector.memory.product_keys import candidate_ranks, top_k

WEIGHT_UNIT: Final = 2.0**-30
_COVERAGE_POINTS: Final = 256
_BLOCK: Final = {"cpu": 2**20, "cuda": 2**26}  # half scores looked at together: what a cache holds


def sort_last(values: Tensor) -> Tensor:
    """``values`` in ascending order along the last axis; NumPy's sort is ten times torch's."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.numpy(), axis=-1))
    return values.sort(-1).values


def tensors_of(state: object) -> dict[str, Tensor]:
    """The tensors that an object keeps as its attributes, by name."""
    return {name: value for name, value in vars(state).items() if isinstance(value, Tensor)}


class TableCounts:
    """Reads of one value table. A *source* is one head of one site that reads it.

    Takes 24 bytes a slot and source, and 16 bytes a slot.
    """

    def __init__(self, slots: int, sources: int, device: torch.device) -> None:
        """Nothing read yet."""
        shape = (sources, slots)
        self.reads = torch.zeros(shape, dtype=torch.int64, device=device)
        self.weights = torch.zeros(shape, dtype=torch.int64, device=device)  # in WEIGHT_UNIT
        self.contexts = torch.zeros(shape, dtype=torch.int64, device=device)
        self.documents = torch.zeros(slots, dtype=torch.int32, device=device)
        self.last_document = torch.full((slots,), -1, dtype=torch.int32, device=device)
        self.first_token = torch.full((slots,), -1, dtype=torch.int64, device=device)

    def add(
        self,
        slots: Tensor,
        coefficients: Tensor,
        *,
        source: Tensor,
        fresh: Tensor,
        document: Tensor,
        start: int,
    ) -> None:
        """Count the reads of a chunk.

        Args:
            slots: ``[token read]`` int64; a token's reads come in the order of their sources.
            coefficients: ``[token read]``.
            source: ``[read]`` int64.
            fresh: ``[token]`` bool, whether the prefix is seen for the first time.
            document: ``[token]`` int64, ascending.
            start: tokens before this chunk.
        """
        at = (slots + source * self.reads.shape[1]).flatten()
        units = (coefficients.abs().double() / WEIGHT_UNIT).round().long()
        self.reads.view(-1).index_add_(0, at, torch.ones_like(at))
        self.weights.view(-1).index_add_(0, at, units.flatten())
        first = fresh.long()[:, None].expand_as(slots)
        self.contexts.view(-1).index_add_(0, at, first.flatten())
        self._add_documents(slots, document, start)

    def _add_documents(self, slots: Tensor, document: Tensor, start: int) -> None:
        """Count each slot once in every document, and note where it was first read."""
        bits = max(len(slots) - 1, 1).bit_length()
        token = torch.arange(len(slots), device=slots.device)[:, None]
        order = sort_last(((slots << bits) | token).flatten())  # by slot, then by token
        slot, token = order >> bits, order & ((1 << bits) - 1)
        own = document[token]
        new_slot = torch.ones_like(slot, dtype=torch.bool)
        new_slot[1:] = slot[1:] != slot[:-1]
        new = new_slot.clone()
        new[1:] |= own[1:] != own[:-1]
        new[new_slot] &= own[new_slot] != self.last_document[slot[new_slot]]
        slot_once = slot[new]
        self.documents.index_add_(0, slot_once, torch.ones_like(slot_once, dtype=torch.int32))
        in_last = slots[document == document[-1]].flatten()  # it may go on in the next chunk
        self.last_document[in_last] = document[-1].int()
        slot, token = slot[new_slot], token[new_slot]
        unread = self.first_token[slot] < 0
        self.first_token[slot[unread]] = token[unread] + start

    def coverage(self, tokens: int) -> np.ndarray:
        """Tokens scanned and distinct slots read by then, ``[point 2]`` int64."""
        first = self.first_token[self.first_token >= 0].cpu().numpy()
        points = np.unique(np.geomspace(1, max(tokens, 1), _COVERAGE_POINTS).round())[:tokens]
        read = np.searchsorted(np.sort(first), points)  # read before the point is read by it
        return np.stack([points, read], axis=-1).astype(np.int64)


class SiteCounts:
    """How the half-keys of one site stood, and how narrowly its lookups were decided."""

    def __init__(self, info: SiteInfo, device: torch.device) -> None:
        """No lookup seen yet."""
        n, shape = info.half_keys, (info.heads, 2, info.half_keys)
        self._info = info
        self._nearest = min(info.knn, n)  # how many of a half can be among the reads
        self.half_hits = torch.zeros(shape, dtype=torch.int64, device=device)
        self.half_rank = torch.full(shape, n, dtype=torch.int32, device=device)  # n: not seen
        self.half_margin = torch.full(shape, -torch.inf, device=device)
        self.margins = torch.zeros(
            (info.heads, len(MARGIN_EDGES) + 1), dtype=torch.int64, device=device
        )
        self.co_firing = torch.zeros((info.heads, info.heads), dtype=torch.int64, device=device)

    def add(self, half_scores: Tensor, slots: Tensor) -> None:
        """Count lookups: ``half_scores [token head half half_key]``, ``slots [token head knn]``."""
        block = max(_BLOCK[half_scores.device.type] // half_scores[0].numel(), 1)
        for part in half_scores.split(block):
            ascending = sort_last(part)
            margin = part - ascending[..., -self._nearest, None]  # to the k-th best of each half
            best = margin.amax(0).float()
            torch.maximum(self.half_margin, best, out=self.half_margin)
            self._add_hits(part, ascending, margin >= 0)
            self._add_ranks(part, ascending)
            self._add_margins(ascending)
        for part in slots.split(block):
            self._add_co_firing(part)

    def _add_hits(self, scores: Tensor, ascending: Tensor, hit: Tensor) -> None:
        """Count the best k of each half, and note their ranks."""
        k, n = self._nearest, scores.shape[-1]
        if k < n:
            tied = ascending[..., -k - 1] == ascending[..., -k]
            if tied.any():  # then the lookup prefers the lowest half-keys
                rows = scores[tied]
                hit[tied] = torch.zeros_like(rows, dtype=torch.bool).scatter_(
                    -1, top_k(rows, k), True
                )
        at = true_places(hit).view(-1, k)  # k of every row of scores, in ascending order
        rank = _ranks_within(scores.reshape(-1)[at], ascending[..., -k:].reshape(-1, k))
        key = (at % self.half_hits.numel()).flatten()
        self.half_hits.view(-1).index_add_(0, key, torch.ones_like(key))
        self.half_rank.view(-1).scatter_reduce_(0, key, rank.flatten().int(), "amin")

    def _add_ranks(self, scores: Tensor, ascending: Tensor) -> None:
        """Lower ``half_rank`` of those never among the best k that stood better than before."""
        n = scores.shape[-1]
        best = self.half_rank.view(-1)
        if (best == n).any():  # the first tokens: rank them all, to start from
            rank = _ranks_within(scores[:64], scores[:64].sort(-1).values)
            torch.minimum(self.half_rank, rank.amin(0).int(), out=self.half_rank)
        keys = (best > self._nearest).nonzero().flatten()  # what is next to the best k can only hit
        if not len(keys):
            return
        # To rank better it must reach the score that now stands one rank above it.
        above = keys - keys % n + n - best[keys]
        own = scores.flatten(1).index_select(1, keys)
        better = own >= ascending.flatten(1).index_select(1, above)
        token, place = better.nonzero(as_tuple=True)
        for some, at in zip(token.split(2**22 // n), place.split(2**22 // n), strict=True):
            key = keys[at]
            rank = _rank(scores.flatten(1, 2)[some, key // n], key % n)
            best.scatter_reduce_(0, key, rank, "amin")

    def _add_margins(self, ascending: Tensor) -> None:
        n, knn = ascending.shape[-1], self._info.knn
        if knn >= n * n:
            return  # every slot is read: there is none that just missed
        depth = min(n, knn + 1)
        top = ascending[..., -depth:].flip(-1).double()
        first, second = (
            torch.tensor(ranks, device=top.device) for ranks in candidate_ranks(knn + 1, depth)
        )
        sums = sort_last(top[..., 0, :][..., first] + top[..., 1, :][..., second])
        gap = (sums[..., -knn] - sums[..., -knn - 1]).contiguous()  # [token head]
        edges = torch.from_numpy(MARGIN_EDGES).to(gap.device)
        bins = torch.bucketize(gap, edges, right=True)
        head = torch.arange(len(self.margins), device=bins.device) * self.margins.shape[1]
        at = (bins + head).flatten()
        self.margins.view(-1).index_add_(0, at, torch.ones_like(at))

    def _add_co_firing(self, slots: Tensor) -> None:
        for head in range(slots.shape[1]):
            self.co_firing[head, head] += len(slots)
            for other in range(head):
                same = slots[:, head, :, None] == slots[:, other, None, :]
                both = same.flatten(1).any(1).sum()
                self.co_firing[head, other] += both
                self.co_firing[other, head] += both


def true_places(flags: Tensor) -> Tensor:
    """Where ``flags`` are true, by their number: ``[place]`` int64; NumPy is the faster again."""
    if flags.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(flags.numpy()))
    return flags.flatten().nonzero().flatten()


def _ranks_within(rows: Tensor, ascending: Tensor) -> Tensor:
    """The rank of every score among those of its row, the largest first: ``[... score]`` int64."""
    if (ascending[..., 1:] == ascending[..., :-1]).any():  # equal ones in the order they have
        order = rows.argsort(dim=-1, descending=True, stable=True)
        place = torch.arange(rows.shape[-1], device=rows.device).expand_as(order)
        return torch.empty_like(order).scatter_(-1, order, place)
    rank = torch.zeros_like(rows, dtype=torch.int64)
    for score in ascending.unbind(-1):
        rank += score[..., None] > rows
    return rank


def _rank(scores: Tensor, key: Tensor) -> Tensor:
    """The rank of ``key [row]`` among ``scores [row half_key]``, ties to the lowest: ``[row]``."""
    own = scores.gather(1, key[:, None])
    lower = torch.arange(scores.shape[1], device=key.device) < key[:, None]
    return ((scores > own) | ((scores == own) & lower)).sum(1, dtype=torch.int32)
