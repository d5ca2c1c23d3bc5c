"""Where slots are read: each slot's strongest reads, and reads drawn at random from it.

Only reads in contexts seen for the first time take part: a slot's strongest reads are not four
times the same prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from inspector.capture.scan_counts import tensors_of
from inspector.capture.scan_prefixes import uniform
from inspector.capture.usage import SlotContexts

STRONGEST: Final = 4  # reads kept of every slot
DRAWN: Final = 12  # reads kept of every slot, a uniform sample of all
SHOWN: Final = 2  # of each quarter of those
_FIRST: Final = 1024  # tokens whose reads are taken in first
_AT_ONCE: Final = 2**16  # slots whose contexts are put in order together


class BestReads:
    """Per slot the ``kept`` reads of the largest value; of equal ones those that came first.

    Takes 16 bytes a slot and read kept.
    """

    def __init__(self, kept: int, slots: int, device: torch.device) -> None:
        """No read yet."""
        shape = (kept, slots)
        self.value = torch.full(shape, -1.0, device=device)  # descending along the first axis
        self.weight = torch.zeros(shape, device=device)
        self.read = torch.full(shape, -1, dtype=torch.int64, device=device)

    def offer(self, slots: Tensor, value: Tensor, weight: Tensor, read: Tensor) -> None:
        """Take in what is better than what is kept.

        ``slots``, ``value`` (float32, at least 0), ``weight`` and ``read``, the read's number, are
        all ``[read]``, in ascending order of ``read``.
        """
        chosen = (value > self.value[-1].index_select(0, slots)).nonzero().flatten()
        if not len(chosen):
            return
        slots, value = slots[chosen], value[chosen]
        order = _stable_order((slots << 31) | (0x7FFFFFFF - value.view(torch.int32).long()))
        slots, value, chosen = slots[order], value[order], chosen[order]
        rank = _rank_in_run(slots)
        for place in range(min(len(self.value), int(rank.max()) + 1)):
            at = (rank == place).nonzero().flatten()  # at most one read of each slot
            self._insert(slots[at], value[at], weight[chosen[at]], read[chosen[at]])

    def _insert(self, slots: Tensor, value: Tensor, weight: Tensor, read: Tensor) -> None:
        mine = (value, weight, read)
        for row in range(len(self.value)):
            kept = (self.value[row], self.weight[row], self.read[row])
            held = tuple(k.index_select(0, slots) for k in kept)
            better = mine[0] > held[0]
            for k, new, old in zip(kept, mine, held, strict=True):
                k.index_copy_(0, slots, torch.where(better, new, old))
            mine = tuple(torch.where(better, o, n) for n, o in zip(mine, held, strict=True))  # type: ignore[assignment]


def _stable_order(keys: Tensor) -> Tensor:
    """What sorts ``keys [item]``, equal ones in the order they have."""
    if keys.device.type != "cpu":
        return keys.sort(stable=True).indices
    array = keys.numpy()
    order = np.argsort(array)  # five times as fast as the stable sort, which few inputs need
    ordered = array[order]
    if (ordered[1:] == ordered[:-1]).any():
        order = np.argsort(array, kind="stable")
    return torch.from_numpy(order)


def _rank_in_run(sorted_values: Tensor) -> Tensor:
    """How many equal values come before each of ``sorted_values [item]``."""
    place = torch.arange(len(sorted_values), device=sorted_values.device)
    starts = torch.ones_like(sorted_values, dtype=torch.bool)
    starts[1:] = sorted_values[1:] != sorted_values[:-1]
    return place - torch.where(starts, place, 0).cummax(0).values


class ReadContexts:
    """The contexts of one table's slots, in 256 bytes a slot.

    A read's number is ``token * sources + source``. The random sample of a slot is uniform over
    its reads: every (token, source) has a random number of its own that depends on the seed
    alone, and the reads with the smallest are kept.
    """

    def __init__(self, slots: int, sources: int, seed: int, device: torch.device) -> None:
        """No read yet."""
        self._sources, self._seed = sources, seed
        self.strongest = BestReads(STRONGEST, slots, device)
        self.drawn = BestReads(DRAWN, slots, device)

    def add(self, slots: Tensor, coefficients: Tensor, source: Tensor, tokens: Tensor) -> None:
        """Take in the reads of some tokens.

        Args:
            slots: ``[token read]`` int64.
            coefficients: ``[token read]`` float32.
            source: ``[read]`` int64, ascending.
            tokens: ``[token]`` int64, their numbers in the scan, ascending.
        """
        start = 0
        while start < len(tokens):
            # Never more than came before: what is kept by then turns most of the next away.
            size = max(int(tokens[start]), _FIRST)
            part = slice(start, start + size)
            self._add(slots[part], coefficients[part], source, tokens[part])
            start += size

    def _add(self, slots: Tensor, coefficients: Tensor, source: Tensor, tokens: Tensor) -> None:
        read = (tokens[:, None] * self._sources + source).flatten()
        number = np.arange(self._sources), tokens.cpu().numpy()[:, None]
        draw = torch.from_numpy((1 / uniform(self._seed, *number)).astype(np.float32))
        drawn = draw.to(slots.device).index_select(1, source).flatten()
        weight, slots = coefficients.flatten(), slots.flatten()
        self.strongest.offer(slots, weight.abs(), weight, read)
        self.drawn.offer(slots, drawn, weight, read)

    def tensors(self) -> dict[str, Tensor]:
        """What must be kept to go on."""
        return {
            f"{name}.{key}": tensor
            for name, best in (("strongest", self.strongest), ("drawn", self.drawn))
            for key, tensor in tensors_of(best).items()
        }

    def result(self, sources: Sequence[tuple[int, int]]) -> SlotContexts:
        """The contexts, where ``sources`` are pairs of block number and head."""
        layers, heads = np.array(sources, dtype=np.int16).reshape(-1, 2).T
        size = self.drawn.value.shape[1]
        starts = range(0, size, _AT_ONCE)
        parts = [self._in_order(start, min(start + _AT_ONCE, size)) for start in starts]
        slot, kind, weight, read = (
            np.concatenate([part[field] for part in parts]) for field in range(4)
        )
        token, source = np.divmod(read, self._sources)
        return SlotContexts(slot, kind, layers[source], heads[source], weight, token)

    def _in_order(self, start: int, end: int) -> tuple[np.ndarray, ...]:
        """Slot, kind, weight and read of what is shown of the slots from ``start`` to ``end``."""
        slot, _, weight, read = _entries(self.strongest, start, end)
        drawn = _of_quarters(*_entries(self.drawn, start, end))
        kind = np.concatenate([np.zeros(len(slot), dtype=np.int8), drawn[1]])
        slot, weight, read = (
            np.concatenate([mine, others])
            for mine, others in ((slot, drawn[0]), (weight, drawn[2]), (read, drawn[3]))
        )
        order = np.lexsort((read, -np.abs(weight), kind, slot))
        return slot[order].astype(np.int32), kind[order], weight[order], read[order]


def _entries(best: BestReads, start: int, end: int) -> tuple[np.ndarray, ...]:
    """Slot, value, weight and read of all that is kept of some slots, each ``[entry]``."""
    read = best.read[:, start:end].cpu().numpy()
    row, slot = (read >= 0).nonzero()
    value, weight = (t[:, start:end].cpu().numpy() for t in (best.value, best.weight))
    return slot + start, value[row, slot], weight[row, slot], read[row, slot]


def _of_quarters(
    slot: np.ndarray, value: np.ndarray, weight: np.ndarray, read: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Slot, kind, weight and read of two reads from each quarter of every slot's sample.

    The quarters are the sample's own: of 12 reads in order of their strength the three weakest
    make up the first. So their bounds are estimates of the quartiles of all of the slot's reads.
    """
    order = np.lexsort((read, np.abs(weight), slot))
    slot, value, weight, read = (field[order] for field in (slot, value, weight, read))
    first, counts = np.unique(slot, return_index=True, return_counts=True)[1:]
    rank = np.arange(len(slot)) - np.repeat(first, counts)
    kind = (rank * 4 // np.repeat(counts, counts) + 1).astype(np.int8)
    order = np.lexsort((-value, kind, slot))  # the values are random: the first are a fair draw
    run = torch.from_numpy((slot[order].astype(np.int64) << 3) | kind[order])
    shown = order[(_rank_in_run(run) < SHOWN).numpy()]
    return slot[shown], kind[shown], weight[shown], read[shown]
