"""Edits of one forward pass: each is a small value that turns a site's reads into others.

Ablation has two meanings. *Zero*: a read's coefficient becomes 0 and the other weights stay.
*Mask*: the slot is removed before the top k, others take its place and the softmax is taken anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inspector.capture.session import SiteReads
from inspector.families.base import Site


def _covers(site: Site, sites: frozenset[str] | None) -> bool:
    return sites is None or site.info.name in sites


@dataclass(frozen=True)
class ZeroReads:
    """Zero chosen reads: per site a mask ``[batch pos head knn]``, True where zeroed.

    The masks come from a trace of the same input. Sites without a mask keep their reads.
    """

    masks: Mapping[str, Tensor]

    def __call__(self, site: Site, half_scores: Tensor, reads: SiteReads) -> SiteReads:
        """The reads with 0 as coefficient where the mask says so."""
        mask = self.masks.get(site.info.name)
        if mask is None:
            return reads
        return replace(reads, coefficients=reads.coefficients.masked_fill(mask, 0.0))


@dataclass(frozen=True)
class ZeroPositions:
    """Zero every read at chosen positions: ``positions [batch pos]`` bool, None for all."""

    positions: Tensor | None = None
    sites: frozenset[str] | None = None

    def __call__(self, site: Site, half_scores: Tensor, reads: SiteReads) -> SiteReads:
        """The reads with 0 as coefficient at those positions."""
        if not _covers(site, self.sites):
            return reads
        if self.positions is None:
            return replace(reads, coefficients=torch.zeros_like(reads.coefficients))
        mask = self.positions[..., None, None]
        return replace(reads, coefficients=reads.coefficients.masked_fill(mask, 0.0))


@dataclass(frozen=True)
class ZeroSlots:
    """Zero every read of chosen slots: ``slots [slot]``, at all sites by default.

    Slots are numbers within a table: where a model has several, name the sites of the one that is
    meant (``model.sites_of``).
    """

    slots: Tensor
    sites: frozenset[str] | None = None

    def __call__(self, site: Site, half_scores: Tensor, reads: SiteReads) -> SiteReads:
        """The reads with 0 as coefficient where they read one of the slots."""
        if not _covers(site, self.sites):
            return reads
        mask = torch.isin(reads.slots, self.slots)
        return replace(reads, coefficients=reads.coefficients.masked_fill(mask, 0.0))


@dataclass(frozen=True)
class MaskSlots:
    """Remove slots before the top k, so that others take their place.

    ``slots [masked]`` for the whole batch or ``[batch masked]`` with a row per variant, padded
    with -1; ``positions [batch pos]`` bool limits where, None is everywhere. As with
    ``ZeroSlots``, name the sites where there are several tables. It looks the reads up anew, so
    it comes before other edits, and one of them names all the slots that are to go.
    """

    slots: Tensor
    positions: Tensor | None = None
    sites: frozenset[str] | None = None

    def __call__(self, site: Site, half_scores: Tensor, reads: SiteReads) -> SiteReads:
        """The site's own lookup over what is left."""
        if not _covers(site, self.sites):
            return reads
        masked = self.slots if self.slots.ndim == 1 else self.slots[:, None, None, :]
        lookup = site.select(half_scores, masked)
        if self.positions is None:
            return SiteReads(lookup.slots, lookup.scores, lookup.weights, lookup.weights)
        here = self.positions[..., None, None]
        return SiteReads(
            torch.where(here, lookup.slots, reads.slots),
            torch.where(here, lookup.scores, reads.scores),
            torch.where(here, lookup.weights, reads.weights),
            torch.where(here, lookup.weights, reads.coefficients),
        )


@dataclass(frozen=True)
class SwapReads:
    """At chosen positions, use the reads of another pass instead of the model's own.

    ``positions [batch pos]`` bool; ``donors`` per site reads ``[batch pos head knn]`` laid out
    like the receiving input (only those positions are looked at). Gates stay the receiver's, and
    sites without a donor keep their reads.
    """

    positions: Tensor
    donors: Mapping[str, SiteReads]

    def __call__(self, site: Site, half_scores: Tensor, reads: SiteReads) -> SiteReads:
        """The donor's reads at the chosen positions, the model's own elsewhere."""
        donor = self.donors.get(site.info.name)
        if donor is None:
            return reads
        here = self.positions[..., None, None]
        return SiteReads(
            torch.where(here, donor.slots, reads.slots),
            torch.where(here, donor.scores, reads.scores),
            torch.where(here, donor.weights, reads.weights),
            torch.where(here, donor.coefficients, reads.coefficients),
        )
