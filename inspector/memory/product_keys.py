"""Product-key lookup: from two sets of half-key scores to the exact best slots.

Lample et al. 2019, "Large Memory Layers with Product Keys", section 3.1; the same retrieval core
serves "Memory Layers at Scale" (Berges et al. 2024). A key (i, j) pairs half-key i of set 1 with
half-key j of set 2; its score is the sum of the two half scores and its slot is ``i * n + j``. So
n * n keys are searched by looking at 2 * n half-keys.

All functions are pure. Shapes name their axes as in the rest of the package
(``batch pos head knn half half_key slot``); ``...`` stands for any leading axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class SiteReads:
    """The reads a lookup selected, in descending order of score, and what multiplies their values.

    Invariant: ``scores[r] = half_scores[0][slots[r] // n] + half_scores[1][slots[r] % n]``.
    """

    slots: Tensor  # [... head knn] int64, 0 <= slot < n * n
    scores: Tensor  # [... head knn] before normalisation
    weights: Tensor  # [... head knn] after it
    coefficients: Tensor  # [... head knn] the weights, times an activation in families with one


def score_half_keys(query: Tensor, half_keys: Tensor) -> Tensor:
    """Score both halves of every head's query against that head's half-keys.

    Args:
        query: ``[... head d_key]``; its first half belongs to set 1, its second to set 2.
        half_keys: ``[head half half_key d_half]`` with ``half = 2`` and ``d_half = d_key / 2``.

    Returns:
        ``[... head half half_key]``: products in the format of the weights, as the model was
        trained, handed on in float32 at least, for the sums and the softmax that follow. In half
        precision equal scores are therefore common; ties go to the lowest slot.
    """
    halves = query.unflatten(-1, (2, -1))  # [... head half d_half]
    scores = torch.einsum("...hsd,hsnd->...hsn", halves, half_keys)
    return scores if scores.dtype == torch.float64 else scores.float()


def top_k(scores: Tensor, k: int, tiebreak: Tensor | None = None) -> Tensor:
    """Indices of the k largest scores on the last axis, best first.

    Equal scores come in ascending order of ``tiebreak`` (by default of their index), also where
    the tie straddles rank k: ``torch.topk`` alone promises neither.
    """
    size = scores.shape[-1]
    best, index = scores.topk(min(k + 1, size), dim=-1)
    tied = (best[..., 1:] == best[..., :-1]).any(-1)
    index = index[..., :k]
    if not tied.any():
        return index
    # Ties are rare in real scores, so only the rows that have one pay for a full stable sort.
    rows = scores[tied]
    if tiebreak is None:
        order = rows.sort(dim=-1, descending=True, stable=True).indices
    else:
        first = tiebreak.expand_as(scores)[tied].argsort(dim=-1)
        order = rows.gather(-1, first).sort(dim=-1, descending=True, stable=True).indices
        order = first.gather(-1, order)
    index[tied] = order[..., :k]
    return index


@lru_cache(maxsize=64)
def _candidate_ranks(k: int, ranks: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    pairs = [(a, b) for a in range(ranks) for b in range(ranks) if (a + 1) * (b + 1) <= k]
    return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)


def candidate_ranks(k: int, ranks: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Pairs of ranks (a, b) that can be among the best k sums of two descending lists.

    (a, b) has ``(a + 1) * (b + 1) - 1`` pairs that are at least as good in both halves, so it can
    be dropped once that number reaches k: 119 pairs remain of 1,024 for k = 32.
    """
    return _candidate_ranks(k, ranks)


@torch.no_grad()
def select_slots(half_scores: Tensor, knn: int, masked: Tensor | None = None) -> Tensor:
    """The knn slots with the largest summed half scores: the exact answer of a search over n * n.

    Sums are compared in float64, where adding two float32 numbers does not round; equal sums go
    to the lowest slot.

    Args:
        half_scores: ``[... half half_key]``.
        knn: how many slots to return; at most ``n * n`` less the masked ones.
        masked: slots that must not be chosen, ``[... masked]`` (broadcasts over the leading axes;
            pad with -1). Others take their place.

    Returns:
        ``[... knn]`` int64, best first.

    Raises:
        ValueError: fewer than knn slots can be chosen.
    """
    n = half_scores.shape[-1]
    depth = knn + (0 if masked is None else masked.shape[-1])
    ranks = min(n, depth)
    if knn > n * n or (depth > n * n and _fewest_left(masked, n) < knn):
        raise ValueError(f"{knn} slots were asked for, of {n * n} keys less the masked ones")
    best = top_k(half_scores, ranks)  # [... half rank]
    best_scores = half_scores.gather(-1, best).double()
    first, second = (torch.tensor(r, device=best.device) for r in candidate_ranks(depth, ranks))
    sums = best_scores[..., 0, :][..., first] + best_scores[..., 1, :][..., second]
    slots = best[..., 0, :][..., first] * n + best[..., 1, :][..., second]  # [... candidate]
    if masked is not None:
        hit = (slots[..., :, None] == masked[..., None, :]).any(-1)
        sums = sums.masked_fill(hit, -torch.inf)
    return slots.gather(-1, top_k(sums, knn, tiebreak=slots))


def _fewest_left(masked: Tensor | None, n: int) -> int:
    if masked is None:
        return n * n
    rows = masked.reshape(-1, masked.shape[-1]).tolist()
    return n * n - max((len({s for s in row if s >= 0}) for row in rows), default=0)


def slot_scores(half_scores: Tensor, slots: Tensor) -> Tensor:
    """Scores of given slots, ``[... knn]``, from ``half_scores [... half half_key]``."""
    n = half_scores.shape[-1]
    first = half_scores[..., 0, :].gather(-1, slots // n)
    return first + half_scores[..., 1, :].gather(-1, slots % n)


def look_up(half_scores: Tensor, knn: int, masked: Tensor | None = None) -> SiteReads:
    """Select, score and weigh: the whole lookup from ``half_scores [... head half half_key]``.

    Gradients flow through scores and weights, not through the choice of slots.
    """
    slots = select_slots(half_scores, knn, masked)
    scores = slot_scores(half_scores, slots)
    weights = scores.softmax(-1)
    return SiteReads(slots, scores, weights, weights)
