"""The tokens that vectors of the residual stream speak for, and how clearly."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from inspector.analyses.token_ranking import TokenEnds, largest_logits, rank_ends
from inspector.families.base import MemoryModel


@dataclass(frozen=True, eq=False)
class NearestTokens:
    """Best tokens of some vectors, best first; ids and logits are ``[vector top]``."""

    ids: np.ndarray
    logits: np.ndarray


class Unembedding:
    """The head's rows times the final norm's scale, searchable: ``tokens [d_vocab d_model]``.

    A vector's logit for a token is their inner product: what the vector adds to that token's
    logit, up to the division by the position's rms, which is the same for all tokens. Searches
    are exact, and what they find for a vector doesn't depend on the others it is asked with.
    """

    def __init__(self, model: MemoryModel) -> None:
        """Take ``model``'s unembedding in float32, where the model is."""
        self.tokens = model.backbone.unembedding().float().contiguous()
        wide = self.tokens.double()
        self.mean = wide.mean(0)
        self._covariance = wide.T @ wide / len(wide) - torch.outer(self.mean, self.mean)

    def ends(self, vectors: Tensor, top: int) -> TokenEnds:
        """The ``top`` tokens with the largest and with the smallest logits for ``vectors``."""
        return rank_ends(self.tokens, self._placed(vectors), top)

    def promoted(self, vectors: Tensor, top: int) -> NearestTokens:
        """The ``top`` tokens with the largest logits for ``vectors [vector d_model]``."""
        found = self.ends(vectors, top)
        return NearestTokens(found.promoted.numpy(), found.promoted_logits.numpy())

    def suppressed(self, vectors: Tensor, top: int) -> NearestTokens:
        """The ``top`` tokens with the smallest logits, smallest first."""
        found = self.ends(vectors, top)
        return NearestTokens(found.suppressed.numpy(), found.suppressed_logits.numpy())

    def standing(self, vectors: Tensor) -> np.ndarray:
        """Top logit standardised over the vocabulary, ``[vector]``; unchanged by scaling."""
        best = self.ends(vectors, 1).promoted_logits[:, 0]
        return np.asarray(self.standardise(vectors, best).numpy())

    def quick_standing(self, vectors: Tensor) -> Tensor:
        """``standing`` from float32 logits, so off by their rounding: ``[vector]`` float64."""
        return self.standardise(vectors, largest_logits(self.tokens, self._placed(vectors)))

    def standardise(self, vectors: Tensor, best: Tensor) -> Tensor:
        """``best`` logits ``[vector]`` less their mean, over their spread; float64, on the CPU."""
        wide = self._placed(vectors).double()
        spread = ((wide @ self._covariance) * wide).sum(-1).clamp_min(0).sqrt()
        gap = best.to(wide.device).double() - wide @ self.mean
        return (gap / spread.clamp_min(1e-12)).cpu()

    def _placed(self, vectors: Tensor) -> Tensor:
        return vectors.detach().to(self.tokens.device, torch.float32)


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
