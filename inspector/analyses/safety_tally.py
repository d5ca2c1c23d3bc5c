"""Counting contexts and what they suffer: equal ones once, the worst with their tokens."""

from __future__ import annotations

import hashlib
import heapq

import numpy as np

_SHOWN = 24  # tokens of a context that are told, the last ones


class SafetyTally:
    """What was found so far."""

    def __init__(self, keep: int) -> None:
        """Tokens are kept of the ``keep`` contexts that suffer most."""
        self.tokens = self.later = 0
        self.later_sum = self.later_worst = self.worst = 0.0
        self._keep = keep
        self._place: dict[bytes, int] = {}
        self._before: list[float] = []
        self._after: list[float] = []
        self._times: list[int] = []
        self._kept: list[tuple[float, int, tuple[int, ...]]] = []  # a heap, the least bad first

    def __len__(self) -> int:
        """Distinct contexts."""
        return len(self._before)

    def add(
        self,
        ids: np.ndarray,
        row: np.ndarray,
        pos: np.ndarray,
        read: np.ndarray,
        before: np.ndarray,
        after: np.ndarray,
    ) -> None:
        """Count tokens at ``row, pos`` of ``ids [batch pos]``; the other fields are ``[token]``.

        ``read`` says which are contexts; ``before`` and ``after`` are log-probabilities of the
        token at ``pos + 1``.
        """
        change = after - before
        self.later += int((~read).sum())
        self.later_sum += float(change[~read].sum())
        self.later_worst = min(self.later_worst, float(change[~read].min(initial=0.0)))
        self.worst = min(self.worst, float(change[read].min(initial=0.0)))
        for token in read.nonzero()[0].tolist():
            whole = ids[row[token], : pos[token] + 2]  # with the token that follows
            self._count(whole, float(before[token]), float(after[token]))

    def _count(self, whole: np.ndarray, before: float, after: float) -> None:
        key = hashlib.blake2b(np.ascontiguousarray(whole).tobytes(), digest_size=16).digest()
        if (known := self._place.get(key)) is not None:
            self._times[known] += 1
            return
        place = self._place[key] = len(self._before)
        self._before.append(before)
        self._after.append(after)
        self._times.append(1)
        item = (before - after, -place, tuple(whole[-_SHOWN - 1 :].tolist()))
        if len(self._kept) < self._keep:
            heapq.heappush(self._kept, item)
        elif self._kept and item > self._kept[0]:
            heapq.heapreplace(self._kept, item)

    def kept(self) -> list[tuple[int, ...]]:
        """Tokens of the worst contexts, each with the one that follows; the worst first."""
        return [ids for _, _, ids in sorted(self._kept, reverse=True)]

    def arrays(self) -> dict[str, np.ndarray]:
        """``before``, ``after``, ``change`` and ``times [context]``, the worst first."""
        before, after = np.array(self._before), np.array(self._after)
        change = after - before
        order = np.lexsort((np.arange(len(change)), change))
        return {
            "before": np.exp(before[order]),
            "after": np.exp(after[order]),
            "change": change[order],
            "times": np.array(self._times, dtype=np.int64)[order],
        }
