"""A fair sample of a corpus that was not scanned: whole windows, drawn at random in one reading.

Every window gets a random number, and those with the smallest are kept until they hold enough
tokens. So the corpus is read and tokenised once, however long it is, and only the sample is held;
it is what drawing from a shuffled corpus would give.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from inspector.capture.corpus import Corpus
from inspector.capture.scan_windows import Window, read_windows
from inspector.families.base import MemoryModel

_EVERY = 256  # windows between two looks at whether to stop
Item = TypeVar("Item")


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
    drawn = _drawn(
        read_windows(model, corpus), lambda window: len(window.ids), tokens, seed, cancel
    )
    return None if drawn is None else CorpusSample(*drawn, seed)


def sample_texts(corpus: Corpus, characters: int, seed: int = 0) -> tuple[str, ...]:
    """Documents drawn at random until they hold at least so many ``characters``, or all.

    The same for every model. Of a document longer than that, parts are drawn.

    Raises:
        CorpusError: the corpus cannot be read.
    """
    pieces = corpus.pieces(characters)
    drawn = _drawn(pieces, lambda piece: len(piece.text), characters, seed, lambda: False)
    assert drawn is not None  # nobody stopped it
    return tuple(piece.text for piece in drawn[0])


def _drawn(
    items: Iterable[Item],
    size: Callable[[Item], int],
    enough: int,
    seed: int,
    cancel: Callable[[], bool],
) -> tuple[tuple[Item, ...], int, int] | None:
    """``items`` in the order they were drawn, their size, and that of all; None if stopped."""
    rng = np.random.default_rng(seed)
    kept: list[tuple[float, int, Item]] = []  # a heap, the one to give up first at its top
    held = seen = 0
    for number, item in enumerate(items):
        if number % _EVERY == 0 and cancel():
            return None
        seen, held = seen + size(item), held + size(item)
        heapq.heappush(kept, (-rng.random(), number, item))
        while held - size(kept[0][2]) >= enough:
            held -= size(heapq.heappop(kept)[2])
    return tuple(item for *_, item in sorted(kept, key=lambda each: -each[0])), held, seen
