"""The tokens at both ends of a vector's logits: exact, and never all logits of all vectors at once.

A block of vectors is multiplied with all tokens into one buffer. Of every run of neighbouring
tokens the largest and the smallest logit are taken, and only the runs that can hold a winner are
looked at again. The few candidates are then scored in float64, so that what comes out depends
neither on the size of the blocks nor on the device: see ``rank_ends``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

_RUN: Final = 64  # neighbouring tokens whose largest logit stands for all of them
_SPARE: Final = 4  # candidates beyond those asked for: they prove that none was missed
_BUFFER: Final = 1 << 24  # logits held at once
_BLOCK: Final = 512  # vectors multiplied at once
# Relative error of one multiplication, by the precision that torch was told to multiply with.
_PRECISION: Final = {"highest": 2.0**-23, "high": 2.0**-10, "medium": 2.0**-7}


@dataclass(frozen=True, eq=False)
class TokenEnds:
    """The tokens with the largest logits and those with the smallest, best first.

    Ids int64 and logits float32, all ``[vector top]``, on the CPU.
    """

    promoted: Tensor
    promoted_logits: Tensor
    suppressed: Tensor
    suppressed_logits: Tensor


def rank_ends(tokens: Tensor, vectors: Tensor, top: int) -> TokenEnds:
    """The ``top`` tokens at both ends of the inner products of ``vectors`` with ``tokens``.

    Exact: logits are inner products rounded once, to float32; equal ones are ordered by token id,
    lowest first. A float32 product of d numbers is at most d * 2^-23 * |vector| * |token| off
    (Higham 2002, Accuracy and Stability of Numerical Algorithms, section 3.1), so candidates
    whose product lies further than twice that below the last winner's cannot win. Where the spare
    candidates don't reach that far down, all tokens are scored in float64.

    Args:
        tokens: ``[token d]`` float32.
        vectors: ``[vector d]`` float32, on the same device.
        top: how many; all tokens where there are fewer.
    """
    top = min(top, len(tokens))
    longest = tokens.norm(dim=-1).max().double()
    parts = []
    for block, logits in products(tokens, vectors):
        slack = 2 * _error(tokens, block, longest)
        high = _end(tokens, block, logits, top, slack, largest=True)
        low = _end(tokens, block, logits, top, slack, largest=False)
        parts.append([part.cpu() for part in (*high, *low)])
    if not parts:
        ids, logits = torch.empty(0, top, dtype=torch.long), torch.empty(0, top)
        return TokenEnds(ids, logits, ids, logits)
    return TokenEnds(*(torch.cat(each) for each in zip(*parts, strict=True)))


def largest_logits(tokens: Tensor, vectors: Tensor) -> Tensor:
    """The largest inner product of each of ``vectors [vector d]`` with ``tokens``: ``[vector]``.

    In float32, so off by its rounding.
    """
    found = [logits.amax(-1) for _, logits in products(tokens, vectors)]
    return torch.cat(found) if found else vectors.new_empty(0)


def products(tokens: Tensor, vectors: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of ``vectors`` with their logits ``[vector token]``, in a buffer that is reused."""
    size = max(1, min(_BLOCK, _BUFFER // len(tokens), len(vectors)))
    buffer = vectors.new_empty(size, len(tokens))
    for block in vectors.split(size):
        yield block, torch.mm(block, tokens.T, out=buffer[: len(block)])


def _error(tokens: Tensor, block: Tensor, longest: Tensor) -> Tensor:
    """How far a float32 logit of each vector can be off: ``[vector]`` float64."""
    each = _PRECISION[torch.get_float32_matmul_precision()]
    error: Tensor = block.norm(dim=-1).double() * longest * (each * tokens.shape[1])
    return error


def _end(
    tokens: Tensor, block: Tensor, logits: Tensor, top: int, slack: Tensor, *, largest: bool
) -> tuple[Tensor, Tensor]:
    """Ids and logits ``[vector top]`` of one end, best first."""
    wanted = min(top + _SPARE, len(tokens))
    rough, ids = _candidates(logits, wanted, largest=largest)
    found = _score(tokens, block, ids, top, largest=largest)
    if wanted < len(tokens):
        gap = (rough[:, top - 1] - rough[:, -1]).abs().double()
        unsure = (~(gap > slack)).nonzero().flatten()
        if len(unsure):
            whole = _among_all(tokens, block[unsure], top, largest=largest)
            for part, right in zip(found, whole, strict=True):
                part[unsure] = right
    return found


def _candidates(logits: Tensor, wanted: int, *, largest: bool) -> tuple[Tensor, Tensor]:
    """The ``wanted`` best float32 logits and their tokens, ``[vector wanted]``, best first."""
    runs = logits.shape[1] // _RUN
    if runs <= wanted:
        rough, ids = logits.topk(wanted, largest=largest)
        return rough, ids
    inside = logits[:, : runs * _RUN].unflatten(1, (runs, _RUN))
    ends = inside.amax(-1) if largest else inside.amin(-1)
    chosen = ends.topk(wanted, largest=largest, sorted=False).indices  # [vector wanted]
    within = inside.gather(1, chosen[:, :, None].expand(-1, -1, _RUN)).flatten(1)
    rest = logits[:, runs * _RUN :]  # fewer than a run: candidates all of them
    rough, place = torch.cat([within, rest], 1).topk(wanted, largest=largest)
    run = chosen.gather(1, (place // _RUN).clamp_max(wanted - 1))
    ids = torch.where(
        place < wanted * _RUN, run * _RUN + place % _RUN, place + (runs - wanted) * _RUN
    )
    return rough, ids


def _score(
    tokens: Tensor, block: Tensor, ids: Tensor, top: int, *, largest: bool
) -> tuple[Tensor, Tensor]:
    """The ``top`` best of candidates ``ids [vector candidate]``, scored in float64."""
    ids = ids.sort(-1).values
    rows = tokens[ids].double()  # [vector candidate d]
    exact = torch.bmm(rows, block.double()[:, :, None])[:, :, 0].float()
    return _in_order(exact, ids, top, largest=largest)


def _among_all(
    tokens: Tensor, vectors: Tensor, top: int, *, largest: bool
) -> tuple[Tensor, Tensor]:
    """The ``top`` best of all tokens, all scored in float64: slow, for vectors that need it."""
    every = torch.arange(len(tokens), device=tokens.device)
    ids = torch.empty(len(vectors), top, dtype=torch.long, device=tokens.device)
    logits = torch.empty(len(vectors), top, device=tokens.device)
    zero = ~vectors.any(-1)
    ids[zero], logits[zero] = every[:top], 0.0  # all logits of a value of zeros are equal
    others = (~zero).nonzero().flatten()
    if not len(others):
        return ids, logits
    wide = tokens.double()
    for part in others.split(max(1, _BUFFER // 4 // len(tokens))):
        exact = (vectors[part].double() @ wide.T).float()
        ids[part], logits[part] = _in_order(
            exact, every.expand(len(part), -1), top, largest=largest
        )
    return ids, logits


def _in_order(logits: Tensor, ids: Tensor, top: int, *, largest: bool) -> tuple[Tensor, Tensor]:
    """Best first; of equal logits the one with the lower id, as ``ids`` ascend in each row."""
    order = torch.sort(logits, dim=-1, descending=largest, stable=True).indices[:, :top]
    return ids.gather(1, order), logits.gather(1, order)
