"""How far two models' predictions are apart on the same text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from torch import Tensor

from inspector.capture.corpus import Corpus
from inspector.capture.scan_windows import Batch, make_batches, make_chunks, read_windows
from inspector.capture.session import logits
from inspector.families.base import MemoryModel

_CHUNK: Final = 2**16  # tokens
_LOGITS: Final = 2**25  # numbers of one batch's logits


class Divergence(NamedTuple):
    """Mean KL of the next-token distribution in nats a token, over so many tokens."""

    kl: float
    tokens: int


def mean_kl(
    model: MemoryModel, other: MemoryModel, corpus: Corpus, tokens: int | None = None
) -> Divergence:
    """Mean of KL(model || other) over the tokens of ``corpus``, at most ``tokens`` of them.

    Both must have the tokenizer of ``model``.
    """
    total, count = 0.0, 0
    for batch in _batches(model, corpus, tokens):
        first, second = (batch.select(logits(each, batch.ids)) for each in (model, other))
        total += float(_kl(first, second).double().sum())
        count += len(batch.tokens)
    return Divergence(total / max(count, 1), count)


def _batches(model: MemoryModel, corpus: Corpus, tokens: int | None) -> Iterator[Batch]:
    size = max(model.positions, _LOGITS // model.backbone.head.out_features)
    for chunk in make_chunks(read_windows(model, corpus), _CHUNK, tokens):
        yield from make_batches(chunk, min(size, 4096), model.device)


def _kl(first: Tensor, second: Tensor) -> Tensor:
    """KL of ``[token d_vocab]`` logits: ``[token]``."""
    p, q = first.float().log_softmax(-1), second.float().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)
