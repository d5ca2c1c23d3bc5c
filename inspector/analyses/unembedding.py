"""The tokens nearest to vectors of the residual stream: exact search with FAISS."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import torch
from torch import Tensor, nn

from inspector.families.base import MemoryModel


@dataclass(frozen=True, eq=False)
class NearestTokens:
    """Best tokens of some vectors, best first; ids and logits are ``[vector top]``."""

    ids: np.ndarray
    logits: np.ndarray


class Unembedding:
    """The head's rows times the final norm's scale, searchable: ``[d_vocab d_model]``.

    A vector's logit for a token is their inner product: what the vector adds to that token's
    logit, up to the division by the position's rms, which is the same for all tokens.
    """

    def __init__(self, model: MemoryModel) -> None:
        """Index ``model``'s unembedding, in float32."""
        self.matrix = np.ascontiguousarray(model.backbone.unembedding().float().cpu().numpy())
        self.mean = self.matrix.mean(0)
        self._centred = (self.matrix - self.mean).T @ (self.matrix - self.mean)
        self._centred /= len(self.matrix)
        self._index: Any = faiss.IndexFlatIP(self.matrix.shape[1])
        self._index.add(self.matrix)

    def promoted(self, vectors: Tensor, top: int) -> NearestTokens:
        """The ``top`` tokens with the largest logits for ``vectors [vector d_model]``."""
        return self._search(_rows(vectors), top)

    def suppressed(self, vectors: Tensor, top: int) -> NearestTokens:
        """The ``top`` tokens with the smallest logits, smallest first."""
        found = self._search(-_rows(vectors), top)
        return NearestTokens(found.ids, -found.logits)

    def standing(self, vectors: Tensor) -> np.ndarray:
        """Top logit standardised over the vocabulary, ``[vector]``; unchanged by scaling."""
        rows = _rows(vectors)
        best = self._search(rows, 1).logits[:, 0]
        spread = np.sqrt(np.einsum("vd,de,ve->v", rows, self._centred, rows))
        return np.asarray((best - rows @ self.mean) / np.maximum(spread, 1e-12))

    def _search(self, rows: np.ndarray, top: int) -> NearestTokens:
        logits, ids = self._index.search(rows, min(top, len(self.matrix)))
        return NearestTokens(ids, logits)


def _rows(vectors: Tensor) -> np.ndarray:
    return np.ascontiguousarray(vectors.detach().float().cpu().numpy())


# Indexing copies the matrix, so it's done once per model and goes when the model goes.
_INDEXED: weakref.WeakKeyDictionary[nn.Module, Unembedding] = weakref.WeakKeyDictionary()


def unembedding_of(model: MemoryModel) -> Unembedding:
    """The searchable unembedding of ``model``, made once."""
    if model.module not in _INDEXED:
        _INDEXED[model.module] = Unembedding(model)
    return _INDEXED[model.module]


def null_vectors(table: Tensor, count: int, seed: int) -> Tensor:
    """Random value vectors with the covariance of ``table [slot d_value]``: ``[count d_value]``.

    The covariance is that of all rows, or of 32,768 rows drawn at random with ``seed`` where the
    table is larger.
    """
    generator = torch.Generator().manual_seed(seed)
    limit = 32_768
    if len(table) > limit:
        table = table[torch.randperm(len(table), generator=generator)[:limit].to(table.device)]
    rows = table.detach().double().cpu()
    rows = rows - rows.mean(0)
    covariance = rows.T @ rows / max(len(rows) - 1, 1)
    values, vectors = torch.linalg.eigh(covariance)
    noise = torch.randn(count, len(values), generator=generator, dtype=torch.float64)
    drawn: Tensor = (noise * values.clamp_min(0).sqrt()) @ vectors.T
    return drawn
