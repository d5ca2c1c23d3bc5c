"""Edits of one forward pass: each is a small value that turns a site's reads into others.

Ablation has two meanings. *Zero*: a read's coefficient becomes 0 and the other weights stay.
*Mask*: the slot is removed before the top k, others take its place and the softmax is taken anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inspector.capture.lookup_edits import LookupInput
from inspector.families.base import Site
from inspector.memory.product_keys import SiteReads


def _covers(site: Site, sites: frozenset[str] | None) -> bool:
    return sites is None or site.info.name in sites


def _where(positions: Tensor, here: SiteReads, elsewhere: SiteReads) -> SiteReads:
    """Reads ``here`` at ``positions [batch pos]`` bool and those of ``elsewhere`` otherwise."""
    chosen = positions[..., None, None]
    return SiteReads(
        torch.where(chosen, here.slots, elsewhere.slots),
        torch.where(chosen, here.scores, elsewhere.scores),
        torch.where(chosen, here.weights, elsewhere.weights),
        torch.where(chosen, here.coefficients, elsewhere.coefficients),
    )


@dataclass(frozen=True)
class ZeroReads:
    """Zero chosen reads: per site a mask ``[batch pos head knn]``, True where zeroed.

    The masks come from a trace of the same input. Sites without a mask keep their reads.
    """

    masks: Mapping[str, Tensor]

    def __call__(self, made_from: LookupInput, reads: SiteReads) -> SiteReads:
        """The reads with 0 as coefficient where the mask says so."""
        mask = self.masks.get(made_from.site.info.name)
        if mask is None:
            return reads
        return replace(reads, coefficients=reads.coefficients.masked_fill(mask, 0.0))


@dataclass(frozen=True)
class ZeroPositions:
    """Zero every read at chosen positions: ``positions [batch pos]`` bool, None for all."""

    positions: Tensor | None = None
    sites: frozenset[str] | None = None

    def __call__(self, made_from: LookupInput, reads: SiteReads) -> SiteReads:
        """The reads with 0 as coefficient at those positions."""
        if not _covers(made_from.site, self.sites):
            return reads
        if self.positions is None:
            return replace(reads, coefficients=torch.zeros_like(reads.coefficients))
        mask = self.positions[..., None, None]
        return replace(reads, coefficients=reads.coefficients.masked_fill(mask, 0.0))


@dataclass(frozen=True)
class ScaleReads:
    """Multiply coefficients: per site ``factors [batch pos head knn]``, differentiable.

    With factors of one that require a gradient, the gradient of any output is what a read's
    coefficient times its derivative comes to. Sites without factors keep their reads.
    """

    factors: Mapping[str, Tensor]

    def __call__(self, made_from: LookupInput, reads: SiteReads) -> SiteReads:
        """The reads with their coefficients multiplied."""
        factors = self.factors.get(made_from.site.info.name)
        if factors is None:
            return reads
        return replace(reads, coefficients=reads.coefficients * factors)


def _per_read(slots: Tensor) -> Tensor:
    """Slots as ``[... masked]`` that broadcasts over ``[batch pos head]``."""
    return slots[:, None, None, :] if slots.ndim == 2 else slots


@dataclass(frozen=True)
class ZeroSlots:
    """Zero every read of chosen slots, at all sites by default.

    ``slots [slot]`` for the whole batch, ``[batch slot]`` with a row per variant, or
    ``[batch pos head slot]`` (axes of size 1 broadcast) to limit where; -1 pads. Slots are numbers
    within a table: where a model has several, name the sites of the one that is meant
    (``model.sites_of``).
    """

    slots: Tensor
    sites: frozenset[str] | None = None

    def __call__(self, made_from: LookupInput, reads: SiteReads) -> SiteReads:
        """The reads with 0 as coefficient where they read one of the slots."""
        if not _covers(made_from.site, self.sites):
            return reads
        if self.slots.ndim == 1:
            mask = torch.isin(reads.slots, self.slots)
        else:
            mask = (reads.slots[..., None] == _per_read(self.slots)[..., None, :]).any(-1)
        return replace(reads, coefficients=reads.coefficients.masked_fill(mask, 0.0))


@dataclass(frozen=True)
class MaskSlots:
    """Remove slots before the top k, so that others take their place.

    ``slots [masked]`` for the whole batch, ``[batch masked]`` with a row per variant, or
    ``[batch pos head masked]`` (axes of size 1 broadcast), padded with -1; ``positions
    [batch pos]`` bool limits where, None is everywhere. As with ``ZeroSlots``, name the sites
    where there are several tables. It looks the reads up anew and makes the earlier edits' other
    changes to them.
    """

    slots: Tensor
    positions: Tensor | None = None
    sites: frozenset[str] | None = None

    def __call__(self, made_from: LookupInput, reads: SiteReads) -> SiteReads:
        """The site's own lookup over what is left, by this edit and by those before it."""
        if not _covers(made_from.site, self.sites):
            return reads
        without = made_from.without(_per_read(self.slots))
        if self.positions is None:
            return without
        return _where(self.positions, without, reads)

    def masked(self, made_from: LookupInput) -> Tensor | None:
        """What it removes here, ``[batch pos head masked]``, -1 where it removes nothing."""
        if not _covers(made_from.site, self.sites):
            return None
        gone = _per_read(self.slots)
        if self.positions is None:
            return gone
        return torch.where(self.positions[:, :, None, None], gone, -1)


@dataclass(frozen=True)
class SwapReads:
    """At chosen positions, use the reads of another pass instead of the model's own.

    ``positions [batch pos]`` bool; ``donors`` per site reads ``[batch pos head knn]`` laid out
    like the receiving input (only those positions are looked at). Gates stay the receiver's, and
    sites without a donor keep their reads.
    """

    positions: Tensor
    donors: Mapping[str, SiteReads]

    def __call__(self, made_from: LookupInput, reads: SiteReads) -> SiteReads:
        """The donor's reads at the chosen positions, the model's own elsewhere."""
        donor = self.donors.get(made_from.site.info.name)
        if donor is None:
            return reads
        return _where(self.positions, donor, reads)
