"""Counting the reads of one memory layer while it trains, where it runs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from inspector.memory.product_keys import SiteReads


class SiteCounts:
    """Reads of one site since the last ``clear``: per slot, and per half-key of every head.

    Kept on the device of the model until they are asked for.
    """

    def __init__(self, name: str, half_keys: int) -> None:
        """Of a site called ``name`` with ``half_keys`` in each set."""
        self.name, self.half_keys = name, half_keys
        self.tokens = 0
        self._reads: Tensor | None = None  # [slot]
        self._weights: Tensor | None = None  # [slot]
        self._halves: Tensor | None = None  # [head half half_key]

    def clear(self) -> None:
        """Begin anew."""
        self.tokens = 0
        for counts in (self._reads, self._weights, self._halves):
            if counts is not None:
                counts.zero_()

    @torch.no_grad()
    def add(self, reads: SiteReads, counted: Tensor | None) -> None:
        """Count ``reads [... head knn]`` at the positions ``counted [...]``; None: at all."""
        slots, weights = reads.slots, reads.coefficients.abs()
        if counted is None or counted.shape != slots.shape[:-2]:
            slots, weights = slots.flatten(0, -3), weights.flatten(0, -3)
        else:
            slots, weights = slots[counted], weights[counted]  # [token head knn]
        heads, n = slots.shape[1], self.half_keys
        if self._reads is None or self._weights is None or self._halves is None:
            self._reads = slots.new_zeros(n * n)
            self._weights = torch.zeros(n * n, dtype=torch.float64, device=slots.device)
            self._halves = slots.new_zeros(heads * 2 * n)
        flat = slots.flatten()
        one = torch.ones_like(flat)
        self._reads.index_add_(0, flat, one)
        self._weights.index_add_(0, flat, weights.flatten().double())
        start = torch.arange(heads, device=slots.device)[:, None] * 2 * n
        self._halves.index_add_(0, (start + slots // n).flatten(), one)
        self._halves.index_add_(0, (start + n + slots % n).flatten(), one)
        self.tokens += len(slots)

    @property
    def reads(self) -> np.ndarray:
        """Reads of each slot over all heads, ``[slot]``."""
        if self._reads is None:
            return np.zeros(self.half_keys**2, dtype=np.int64)
        return np.asarray(self._reads.cpu().numpy())

    @property
    def weights(self) -> np.ndarray:
        """Summed |coefficients| of each slot over all heads, ``[slot]``."""
        if self._weights is None:
            return np.zeros(self.half_keys**2)
        return np.asarray(self._weights.cpu().numpy())

    @property
    def half_key_reads(self) -> np.ndarray:
        """Reads in which each half-key took part, ``[head half half_key]``."""
        if self._halves is None:
            return np.zeros((1, 2, self.half_keys), dtype=np.int64)
        return np.asarray(self._halves.view(-1, 2, self.half_keys).cpu().numpy())


class PrefixFilter:
    """Which positions of a batch begin as no position counted before did: ``[batch pos]`` bool.

    A causal model repeats itself for equal prefixes, so each is counted once.
    """

    # The mixing steps of splitmix64 (Steele, Lea and Flood 2014): equal hashes of different
    # prefixes are as rare as chance makes them.
    _GAMMA, _FIRST, _SECOND = map(
        np.uint64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
    )

    def __init__(self, padding: int | None) -> None:
        """``padding`` is the id that fills up rows at their end, if it's used for nothing else."""
        self._padding = padding
        self._seen = np.empty(0, dtype=np.uint64)

    def clear(self) -> None:
        """Forget all prefixes."""
        self._seen = np.empty(0, dtype=np.uint64)

    def __call__(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Positions of ``ids [batch pos]`` to count; ``mask`` is 0 on padding, if it is given."""
        tokens = ids.detach().cpu().numpy()
        real = np.ones(tokens.shape, dtype=bool)
        if mask is not None and mask.shape == ids.shape:
            real &= mask.detach().cpu().numpy() != 0
        if self._padding is not None:
            real &= tokens != self._padding
        prefixes = self._hashes(tokens)
        places = np.flatnonzero(real)
        hashes, first = np.unique(prefixes.ravel()[places], return_index=True)
        new = ~np.isin(hashes, self._seen, assume_unique=True)
        self._seen = np.concatenate([self._seen, hashes[new]])
        counted = np.zeros(tokens.size, dtype=bool)
        counted[places[first[new]]] = True
        return torch.from_numpy(counted.reshape(tokens.shape)).to(ids.device)

    def _hashes(self, tokens: np.ndarray) -> np.ndarray:
        """A number for every prefix, ``[batch pos]``: equal prefixes have equal ones."""
        found = np.empty(tokens.shape, dtype=np.uint64)
        state = np.full(len(tokens), self._GAMMA, dtype=np.uint64)
        for pos in range(tokens.shape[1]):
            state = (state ^ tokens[:, pos].astype(np.uint64)) + self._GAMMA
            state = (state ^ (state >> np.uint64(30))) * self._FIRST
            state = (state ^ (state >> np.uint64(27))) * self._SECOND
            state = state ^ (state >> np.uint64(31))
            found[:, pos] = state
        return found
