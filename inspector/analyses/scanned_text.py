"""The text of a scan again: which tokens the model read together, and a fair sample of them.

A window is what the model read at once: a document, or a part of one that is longer than its
positions. A scan keeps its tokens and where documents begin; the windows of long documents begin
with the tokenizer's first token, or follow from their length where it has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inspector.capture.scan_prefixes import prefix_hashes
from inspector.capture.scan_windows import LONGEST_WINDOW
from inspector.capture.usage import Usage
from inspector.families.base import MemoryModel


@dataclass(frozen=True, eq=False)
class WindowSample:
    """Whole windows of a scan, drawn at random.

    ``starts``, ``ends [window]`` are places among the scan's tokens, ascending. ``first [token]``
    bool is True where a token of the sample ends a prefix that no earlier one of it ends.
    """

    starts: np.ndarray
    ends: np.ndarray
    first: np.ndarray
    seed: int
    complete: bool  # it holds all windows there are

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each window, ``[window]``."""
        return np.asarray(self.ends - self.starts)

    @property
    def tokens(self) -> np.ndarray:
        """The sample's tokens by their place in the scan, ``[token]`` int64."""
        within = np.arange(self.lengths.sum()) - np.repeat(
            self.lengths.cumsum() - self.lengths, self.lengths
        )
        return np.asarray(np.repeat(self.starts, self.lengths) + within)


def window_of(model: MemoryModel, usage: Usage, token: int) -> tuple[int, int]:
    """Start and end of the window in which the scan read its ``token``."""
    document = int(np.searchsorted(usage.document_starts, token, side="right")) - 1
    start = int(usage.document_starts[document])
    after = usage.document_starts[document + 1 : document + 2]
    end = int(after[0]) if len(after) else usage.tokens
    cuts = _cuts(model, usage, start, end)
    place = int(np.searchsorted(cuts, token, side="right")) - 1
    return int(cuts[place]), int(cuts[place + 1]) if place + 1 < len(cuts) else end


def _cuts(model: MemoryModel, usage: Usage, start: int, end: int) -> np.ndarray:
    """Where windows begin in the document from ``start`` to ``end``."""
    length = min(model.positions, LONGEST_WINDOW)
    if end - start <= length:
        return np.array([start])
    opening = model.tokenizer.bos_token_id
    ids = np.asarray(usage.token_ids[start:end])
    if opening is not None and len(ids) and ids[0] == opening:
        return start + np.flatnonzero(ids == opening)
    return np.arange(start, end, length)


def sample_windows(model: MemoryModel, usage: Usage, tokens: int, seed: int = 0) -> WindowSample:
    """Windows drawn at random until they hold at least ``tokens`` tokens, or all of them."""
    bounds = np.append(np.asarray(usage.document_starts), usage.tokens)
    long = np.flatnonzero(np.diff(bounds) > min(model.positions, LONGEST_WINDOW))
    cuts = [_cuts(model, usage, int(bounds[d]), int(bounds[d + 1])) for d in long]
    starts = np.unique(np.concatenate([bounds[:-1], *cuts])).astype(np.int64)
    ends = np.append(starts[1:], usage.tokens)
    starts, ends = starts[ends > starts], ends[ends > starts]
    order = np.random.default_rng(seed).permutation(len(starts))
    enough = int(np.searchsorted((ends - starts)[order].cumsum(), tokens)) + 1
    chosen = np.sort(order[:enough])
    sample = WindowSample(starts[chosen], ends[chosen], np.empty(0, dtype=bool), seed, False)
    ids = np.asarray(usage.token_ids[sample.tokens])
    first = np.zeros(len(ids), dtype=bool)
    if len(ids):
        edges = np.append(0, sample.lengths.cumsum())
        first[np.unique(prefix_hashes(ids, edges), return_index=True)[1]] = True
    return WindowSample(sample.starts, sample.ends, first, seed, len(chosen) == len(starts))
