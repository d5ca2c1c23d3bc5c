"""A fair sample of a corpus that was not scanned: whole windows, drawn at random in one reading.

Every window gets a random number, and those with the smallest are kept until they hold enough
tokens. So the corpus is read and tokenised once, however long it is, and only the sample is held;
it is what drawing from a shuffled corpus would give.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from inspector.capture.corpus import Corpus
from inspector.capture.scan_windows import Window, read_windows
from inspector.families.base import MemoryModel

_EVERY = 256  # windows between two looks at whether to stop


@dataclass(frozen=True)
class CorpusSample:
    """Windows of a corpus in the order they were drawn, so that any first part is fair as well.

    A window is what the model reads at once: a document, or a part of one that is longer than its
    positions.
    """

    windows: tuple[Window, ...]
    tokens: int  # in them
    drawn_from: int  # tokens of the whole corpus
    seed: int

    @property
    def complete(self) -> bool:
        """Whether it's the whole corpus."""
        return self.tokens == self.drawn_from


def sample_corpus(
    model: MemoryModel,
    corpus: Corpus,
    tokens: int,
    seed: int = 0,
    *,
    cancel: Callable[[], bool] = lambda: False,
) -> CorpusSample | None:
    """Windows drawn at random until they hold at least ``tokens`` tokens, or all; None if stopped.

    Raises:
        CorpusError: the corpus cannot be read.
    """
    rng = np.random.default_rng(seed)
    kept: list[tuple[float, int, Window]] = []  # a heap, the one to give up first at its top
    held = seen = 0
    for number, window in enumerate(read_windows(model, corpus)):
        if number % _EVERY == 0 and cancel():
            return None
        length = len(window.ids)
        seen, held = seen + length, held + length
        heapq.heappush(kept, (-rng.random(), number, window))
        while held - len(kept[0][2].ids) >= tokens:
            held -= len(heapq.heappop(kept)[2].ids)
    drawn = tuple(window for *_, window in sorted(kept, key=lambda item: -item[0]))
    return CorpusSample(drawn, held, seen, seed)
