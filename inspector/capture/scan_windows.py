"""From a corpus to the batches that a scan runs: pieces, windows, chunks, batches.

A window is what the model reads at once: a document, or a part of one that is longer than the
model's positions; every part starts anew with the tokenizer's first token. A chunk is so many
windows, in the order of the corpus, that their reads fit into memory; its batches hold windows of
like length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from inspector.capture.corpus import Corpus
from inspector.capture.corpus_readers import Piece
from inspector.errors import UnknownToken
from inspector.families.base import MemoryModel

LONGEST_WINDOW: Final = 4096  # tokens, where the model has more positions: what fits into memory
_PIECE: Final = 2**16  # characters tokenised as one
_TOGETHER: Final = 2**18  # characters tokenised in one call


class Cursor(NamedTuple):
    """How far a corpus has been read: whole pieces, and windows of the piece after them."""

    pieces: int = 0
    windows: int = 0


@dataclass(frozen=True)
class Window:
    """Tokens that the model reads at once, with nothing before them."""

    ids: Sequence[int]
    opens: bool  # begins a document
    after: Cursor  # where to go on
    share: float | None  # of the corpus that has been read, where that is known


@dataclass(frozen=True, eq=False)
class Chunk:
    """Windows in the order of the corpus."""

    ids: np.ndarray  # [token] int32
    starts: np.ndarray  # [window + 1] int64: where each begins among the tokens; then their number
    opens: np.ndarray  # [window] bool: begins a document
    after: Cursor
    share: float | None
    exhausted: bool  # nothing of the corpus is left after it

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each window, ``[window]``."""
        return np.diff(self.starts)

    def documents(self, before: int) -> np.ndarray:
        """Each token's document, ``[token]`` int64, where ``before`` were begun before."""
        return np.repeat(before - 1 + np.cumsum(self.opens), self.lengths)

    def only(self, windows: np.ndarray) -> Chunk:
        """The windows chosen by ``windows [window]`` bool."""
        starts = np.concatenate([[0], np.cumsum(self.lengths[windows])])
        ids = self.ids[np.repeat(windows, self.lengths)]
        document = self.opens.cumsum()[windows]  # 0 was begun before the chunk
        opens = np.diff(document, prepend=0) > 0
        return replace(self, ids=ids, starts=starts, opens=opens, exhausted=False)


@dataclass(frozen=True, eq=False)
class Batch:
    """Windows of like length, padded on the right, where a causal model's tokens never look."""

    ids: Tensor  # [batch pos] int64
    real: Tensor | None  # [token] int64: which of the batch's flattened positions hold tokens
    tokens: Tensor  # [token] int64: which tokens of the chunk these are
    windows: np.ndarray  # [batch]: which of the chunk's windows

    def select(self, values: Tensor) -> Tensor:
        """``values [batch pos ...]`` of the tokens, without padding: ``[token ...]``."""
        flat = values.flatten(0, 1)
        return flat if self.real is None else flat.index_select(0, self.real)


def read_windows(
    model: MemoryModel,
    corpus: Corpus,
    start: Cursor = Cursor(),  # noqa: B008  a constant
) -> Iterator[Window]:
    """The windows of ``corpus`` from ``start`` on.

    Raises:
        CorpusError: it cannot be read.
    """
    length = min(model.positions, LONGEST_WINDOW)
    skip, number = start.windows, start.pieces
    pieces = islice(corpus.pieces(max(_PIECE, 8 * length)), start.pieces, None)
    while group := _take(pieces):
        texts = [piece.text for piece in group]
        for piece, ids in zip(group, model.tokenizer(texts, verbose=False).input_ids, strict=True):
            parts = _cut(ids, length, model.tokenizer.bos_token_id)
            for index, part in enumerate(parts[skip:], start=skip):
                last = index == len(parts) - 1
                after = Cursor(number + 1) if last else Cursor(number, index + 1)
                yield Window(part, piece.opens and index == 0, after, piece.share)
            skip, number = 0, number + 1


def _take(pieces: Iterator[Piece]) -> list[Piece]:
    taken, characters = [], 0
    for piece in pieces:
        taken.append(piece)
        characters += len(piece.text)
        if characters >= _TOGETHER:
            break
    return taken


def _cut(ids: list[int], length: int, first: object) -> list[list[int]]:
    """``ids`` in parts of at most ``length`` that all begin with ``first``, if ``ids`` do."""
    if len(ids) <= length:
        return [ids] if ids else []
    head = ids[:1] if ids[0] == first and length > 1 else []
    step = length - len(head)
    return [head + ids[at : at + step] for at in range(len(head), len(ids), step)]


def make_chunks(windows: Iterator[Window], tokens: int, limit: int | None) -> Iterator[Chunk]:
    """Chunks of at most ``tokens`` tokens (a longer window stands alone), ``limit`` in all."""
    kept: list[Window] = []
    size, left, exhausted = 0, limit, True
    for window in windows:
        if left is not None and len(window.ids) > left:
            exhausted, window = False, replace(window, ids=window.ids[:left])  # noqa: PLW2901
        if kept and size + len(window.ids) > tokens:
            yield _as_chunk(kept, exhausted=False)
            kept, size = [], 0
        if window.ids:
            kept.append(window)
            size += len(window.ids)
        if left is not None:
            left -= len(window.ids)
        if not exhausted:
            break
    if kept:
        yield _as_chunk(kept, exhausted)


def _as_chunk(windows: Sequence[Window], exhausted: bool) -> Chunk:
    starts = np.concatenate([[0], np.cumsum([len(window.ids) for window in windows])])
    return Chunk(
        ids=np.concatenate([np.asarray(window.ids, dtype=np.int32) for window in windows]),
        starts=starts.astype(np.int64),
        opens=np.array([window.opens for window in windows]),
        after=windows[-1].after,
        share=windows[-1].share,
        exhausted=exhausted,
    )


def check_vocabulary(model: MemoryModel, ids: np.ndarray) -> None:
    """Refuse tokens that the model has no embedding for.

    Raises:
        UnknownToken: the tokenizer is another model's.
    """
    size = model.backbone.head.out_features
    if int(ids.max()) >= size:
        raise UnknownToken(
            f"The tokenizer of {model.name} gives token {int(ids.max())}, but the model has "
            f"{size:,} tokens. Put the tokenizer it was trained with beside it."
        )


def make_batches(chunk: Chunk, tokens: int, device: torch.device) -> Iterator[Batch]:
    """The windows of ``chunk`` in batches of at most ``tokens`` positions, short windows first.

    A longer window is a batch of its own. A batch that is half full ends where windows get
    longer, so that little is padded.
    """
    order = np.argsort(chunk.lengths, kind="stable")
    lengths = chunk.lengths[order].tolist()
    start = 0
    for end in range(1, len(order) + 1):
        if end < len(order):
            wider = lengths[end] > lengths[end - 1]
            half_full = (end - start) * lengths[end - 1] * 2 >= tokens
            if (end - start + 1) * lengths[end] <= tokens and not (wider and half_full):
                continue
        yield _pad(chunk, order[start:end], device)
        start = end


def _pad(chunk: Chunk, windows: np.ndarray, device: torch.device) -> Batch:
    lengths = chunk.lengths[windows]
    pos = np.arange(lengths.max())
    here = pos < lengths[:, None]  # [batch pos]
    token = np.where(here, chunk.starts[windows][:, None] + pos, 0)
    ids = np.where(here, chunk.ids[token], 0).astype(np.int64)
    real = None if here.all() else torch.from_numpy(np.flatnonzero(here)).to(device)
    tokens = torch.from_numpy(token[here]).to(device)
    return Batch(torch.from_numpy(ids).to(device), real, tokens, windows)
