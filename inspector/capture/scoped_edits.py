"""Masks and factors for slots within a scope: a site, a head, a position, or the whole table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inspector.capture.lookup_edits import LookupInput
from inspector.families.base import Site
from inspector.memory.product_keys import SiteReads


@dataclass(frozen=True)
class Scope:
    """Where an edit of slots acts. Together with a slot, all four name a single read."""

    table: int = 0
    sites: tuple[str, ...] = ()  # names; empty for every site that reads the table
    head: int | None = None  # None for every head
    position: int | None = None  # None for every position

    def covers(self, site: Site) -> bool:
        """Whether it has anything to do with reads of ``site``."""
        named = not self.sites or site.info.name in self.sites
        return named and site.info.table == self.table

    def narrow(self, full: Tensor, elsewhere: float) -> Tensor:
        """``full [batch pos head ...]`` within the scope and ``elsewhere`` outside of it."""
        if self.head is None and self.position is None:
            return full
        result = torch.full_like(full, elsewhere)
        pos = slice(None) if self.position is None else slice(self.position, self.position + 1)
        head = slice(None) if self.head is None else slice(self.head, self.head + 1)
        result[:, pos, head] = full[:, pos, head]
        return result


@dataclass(frozen=True)
class MaskWithin:
    """Remove slots before the top k, all in one lookup: pairs of a scope and ``slots [slot]``."""

    parts: Sequence[tuple[Scope, Tensor]]

    def masked(self, made_from: LookupInput) -> Tensor | None:
        """Slots masked at this site, ``[batch pos head masked]``, -1 pads; None if none are."""
        leading = made_from.half_scores.shape[:3]
        here = [
            scope.narrow(slots.expand(*leading, -1), -1)
            for scope, slots in self.parts
            if scope.covers(made_from.site)
        ]
        return torch.cat(here, dim=-1) if here else None

    def __call__(self, made_from: LookupInput, reads: SiteReads) -> SiteReads:
        """The site's own lookup over what is left."""
        masked = self.masked(made_from)
        return reads if masked is None else made_from.without(masked)


@dataclass(frozen=True)
class ScaleWithin:
    """Multiply the coefficients of reads of ``slots [slot]`` by ``factor``; 0 zeroes them."""

    scope: Scope
    slots: Tensor
    factor: float

    def __call__(self, made_from: LookupInput, reads: SiteReads) -> SiteReads:
        """The reads with their coefficients multiplied where they are in scope."""
        if not self.scope.covers(made_from.site):
            return reads
        old = reads.coefficients
        scaled = torch.zeros_like(old) if self.factor == 0 else old * self.factor
        where = self.scope.narrow(torch.isin(reads.slots, self.slots), False)
        return replace(reads, coefficients=torch.where(where, scaled, old))
