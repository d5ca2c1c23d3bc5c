"""What an edit of a lookup is: called with what the lookup is made from, and with its reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from inspector.families.base import Site
from inspector.memory.product_keys import SiteReads


@dataclass(frozen=True)
class LookupInput:
    """What one lookup of a pass is made from."""

    site: Site
    half_scores: Tensor  # [batch pos head half half_key]
    x: Tensor  # [batch pos d_model] what the site reads
    earlier: tuple[Edit, ...] = ()  # edits that this lookup went through before

    def without(self, masked: Tensor) -> SiteReads:
        """The site's own lookup with ``masked`` slots (``[... masked]``, -1 pads) left out.

        What earlier edits mask stays masked, and their other changes are made to it.
        """
        gone = [edit.masked(self) for edit in self.earlier if isinstance(edit, MaskingEdit)]
        parts = [part for part in (*gone, masked) if part is not None]
        reads = self.site.select(self.half_scores, self.x, _side_by_side(parts))
        for edit in self.earlier:
            if not isinstance(edit, MaskingEdit):
                reads = edit(self, reads)
        return reads


def _side_by_side(parts: list[Tensor]) -> Tensor:
    """Masked slots ``[... masked]`` of several edits in one; leading axes broadcast."""
    leading = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*leading, part.shape[-1]) for part in parts], dim=-1)


class Edit(Protocol):
    """A change to the reads of one forward pass. ``NewValues`` changes what they fetch instead."""

    def __call__(self, made_from: LookupInput, reads: SiteReads) -> SiteReads:
        """The reads that the site is to use instead of ``reads``, all ``[batch pos head knn]``."""


@runtime_checkable
class MaskingEdit(Edit, Protocol):
    """An edit that masks slots and does nothing else, so that later lookups can keep to it."""

    def masked(self, made_from: LookupInput) -> Tensor | None:
        """What it masks here, broadcasting to ``[batch pos head masked]``, -1 pads; or None."""
