"""New values for slots, in one session: the table that others read stays as it is.

A site's output is linear in its values once its reads and its gate are known, so that other values
add ``project(sum over reads of coefficient * (new - old), gate(x))`` to it, in any family.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from inspector.capture.lookup_edits import LookupInput
from inspector.errors import SlotError
from inspector.families.base import MemoryModel, Site
from inspector.memory.product_keys import SiteReads


@dataclass(frozen=True, eq=False)
class NewValues:
    """An edit: slots of a table hold other values, at every site that reads it.

    ``slots [slot]`` int64, each once; ``values [slot d_value]``, or ``[batch slot d_value]`` with
    other values for every row of the batch. Gradients flow into ``values``.
    """

    table: int
    slots: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        """Refuse parts that disagree."""
        if self.values.ndim not in (2, 3) or self.slots.shape != self.values.shape[-2:-1]:
            found = f"{tuple(self.slots.shape)} slots, values {tuple(self.values.shape)}"
            raise ValueError(f"table {self.table}: {found}")
        if len(self.slots.unique()) != len(self.slots):
            raise ValueError(f"table {self.table}: a slot is named twice")

    def __call__(self, made_from: LookupInput, reads: SiteReads) -> SiteReads:
        """The reads as they are: this edit changes what they fetch."""
        return reads


@dataclass(frozen=True, eq=False)
class Overlay:
    """The new values of one table: ``slots [slot]`` ascending, ``values [slot d_value]``.

    Or values by batch row, ``[batch slot d_value]``: then all reads asked about begin with that
    axis.
    """

    slots: Tensor
    values: Tensor

    def row(self, batch_row: int) -> Overlay:
        """The new values of one batch row."""
        return self if self.values.ndim == 2 else Overlay(self.slots, self.values[batch_row])

    def detached(self) -> Overlay:
        """The same without a gradient."""
        return Overlay(self.slots, self.values.detach())

    def to(self, device: torch.device) -> Overlay:
        """The same where a model computes: patches come from files, and so on the CPU."""
        return Overlay(self.slots.to(device), self.values.to(device))

    def rows(self, site: Site, slots: Tensor) -> Tensor:
        """Values of ``slots [...]`` as edited: ``[... d_value]``, as the table gives them."""
        old = site.table.rows(slots)
        place, hit = self._find(slots)
        new = self._take(self.values, place).to(old)
        return torch.where(hit[..., None], new, old)

    def added(self, site: Site, x: Tensor, reads: SiteReads) -> Tensor | None:
        """What the new values add to the site's output ``[batch pos d_model]``; None if nothing.

        ``x [batch pos d_model]`` is the site's input and ``reads [batch pos head knn]``. In half
        precision the sum is taken in float32.
        """
        place, hit = self._find(reads.slots)
        if not hit.any():
            return None
        exact = torch.promote_types(x.dtype, torch.float32)
        change = self.values.to(exact) - site.table.rows(self.slots).to(exact)
        batch, pos, head, rank = hit.nonzero(as_tuple=True)
        found = place[batch, pos, head, rank]
        vectors = change[found] if change.ndim == 2 else change[batch, found]
        weighed = vectors * reads.coefficients[batch, pos, head, rank, None].to(exact)
        flat = weighed.new_zeros(x.shape[0] * x.shape[1], weighed.shape[-1])
        total = flat.index_add(0, batch * x.shape[1] + pos, weighed)
        return site.project(total.view(*x.shape[:2], -1).to(x.dtype), site.gate(x))

    def _find(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Where each of ``slots [...]`` is among the edited, and whether it is one of them."""
        place = torch.searchsorted(self.slots, slots).clamp_max(len(self.slots) - 1)
        return place, self.slots[place] == slots

    def _take(self, rows: Tensor, place: Tensor) -> Tensor:
        if rows.ndim == 2:
            return rows[place]
        batch = torch.arange(len(rows), device=rows.device)
        return rows[batch.view(-1, *[1] * (place.ndim - 1)), place]


Overlays = Mapping[int, Overlay]


def overlay_values(edits: Iterable[object]) -> Overlays:
    """What all ``NewValues`` among ``edits`` come to, by table; of two for a slot the later."""
    by_table: dict[int, Overlay] = {}
    for edit in edits:
        if isinstance(edit, NewValues) and len(edit.slots):
            order = edit.slots.argsort()
            new = Overlay(edit.slots[order], edit.values[..., order, :])
            before = by_table.get(edit.table)
            by_table[edit.table] = new if before is None else _lay_over(before, new)
    return by_table


def _lay_over(before: Overlay, new: Overlay) -> Overlay:
    kept = ~torch.isin(before.slots, new.slots)
    slots = torch.cat([before.slots[kept], new.slots])
    parts = [before.values[..., kept, :], new.values]
    rows = max((len(part) for part in parts if part.ndim == 3), default=None)
    if rows is not None:
        parts = [part if part.ndim == 3 else part.expand(rows, -1, -1) for part in parts]
    kind = torch.promote_types(parts[0].dtype, parts[1].dtype)
    order = slots.argsort()
    return Overlay(slots[order], torch.cat([p.to(kind) for p in parts], dim=-2)[..., order, :])


def check_values(model: MemoryModel, edit: NewValues) -> None:
    """Hold new values against the table that they are for.

    Raises:
        SlotError: there is no such table or slot, or the values are no finite vectors of its width.
    """
    if not 0 <= edit.table < len(model.tables):
        raise SlotError(
            f"There is no value table {edit.table} in {model.name}: it has {len(model.tables)}."
        )
    table, slots = model.tables[edit.table], edit.slots
    if len(slots) and not 0 <= int(slots.min()) <= int(slots.max()) < table.slots:
        raise SlotError(
            f"Slots of table {edit.table} are 0 to {table.slots - 1}; found {int(slots.min())} to "
            f"{int(slots.max())}."
        )
    if edit.values.shape[-1] != table.d_value:
        raise SlotError(
            f"Values of table {edit.table} have {table.d_value} numbers; found "
            f"{edit.values.shape[-1]}."
        )
    if not edit.values.isfinite().all():
        raise SlotError(f"The new values of table {edit.table} hold NaN or infinite numbers.")
