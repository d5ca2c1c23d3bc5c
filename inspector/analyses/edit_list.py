"""A list of edits: plain records that can be switched, undone, put into a URL, and made to act.

Order: masks act first, all of them in one lookup; then factors multiply what was looked up; then
reads fetch new values, of which a later edit's replace an earlier one's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, get_args

import pandas as pd
import torch
from torch import Tensor

from inspector.capture.lookup_edits import Edit
from inspector.capture.scoped_edits import MaskWithin, ScaleWithin, Scope
from inspector.capture.value_edits import NewValues, check_values, overlay_values
from inspector.errors import EditError
from inspector.families.base import MemoryModel

Kind = Literal["zero", "mask", "scale", "replace", "swap"]
KINDS: Final = get_args(Kind)


@dataclass(frozen=True)
class SlotEdit:
    """One edit of chosen slots of one table; a plain record that says what, where and why.

    ``zero``, ``mask`` and ``scale`` (by ``factor``) act on reads: of the sites named, or of all
    that read the table; of one head, at one position, if given. ``replace`` (by ``values``, a row
    for every slot) and ``swap`` (of two slots) act on the table, and so at all its sites.

    Raises:
        EditError: fields that no such edit has, or that contradict each other.
    """

    kind: Kind
    slots: tuple[int, ...]
    table: int = 0
    sites: tuple[str, ...] = ()
    head: int | None = None
    position: int | None = None
    factor: float | None = None
    values: tuple[tuple[float, ...], ...] | None = None
    on: bool = True
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no edit."""
        if self.kind not in KINDS:
            raise EditError(f"Found an edit {self.kind!r}, expected one of {', '.join(KINDS)}.")
        if not self.slots or min(self.slots) < 0 or len(set(self.slots)) != len(self.slots):
            raise EditError(f"An edit names slots from 0 on, each once; found {self.slots[:8]}.")
        if self.kind == "swap" and len(self.slots) != 2:
            raise EditError(f"A swap takes two slots; found {len(self.slots)}.")
        if self.kind in ("swap", "replace") and self.narrowed:
            raise EditError(
                f"To {self.kind} values acts on the table, at every site that reads it: leave out "
                "site, head and position."
            )
        if (self.factor is not None) != (self.kind == "scale"):
            raise EditError("A factor belongs to an edit that scales, and to no other.")
        if (self.values is not None) != (self.kind == "replace"):
            raise EditError("New values belong to an edit that replaces, and to no other.")
        if self.factor is not None and not math.isfinite(self.factor):
            raise EditError(f"A factor is a finite number; found {self.factor}.")
        if self.values is not None and len({len(row) for row in self.values}) > 1:
            raise EditError("New values have different lengths; expected vectors of one table.")
        if self.values is not None and len(self.values) != len(self.slots):
            raise EditError(f"Found {len(self.values)} new values for {len(self.slots)} slots.")

    @property
    def narrowed(self) -> bool:
        """Whether it acts on less than the table."""
        return bool(self.sites) or self.head is not None or self.position is not None

    @property
    def scope(self) -> Scope:
        """Where it acts."""
        return Scope(self.table, self.sites, self.head, self.position)

    def sites_changed(self, model: MemoryModel) -> tuple[str, ...]:
        """Every site of ``model`` that it acts at."""
        return self.sites or model.sites_of(self.table)

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults, as plain values."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            field.name: plain[field.name]
            for field in fields(self)
            if field.name in ("kind", "slots") or plain[field.name] != field.default
        }


def edits_frame(edits: Sequence[SlotEdit], model: MemoryModel) -> pd.DataFrame:
    """One row an edit: what it does, to which slots, and every site where it does."""
    return pd.DataFrame(
        {
            "on": edit.on,
            "kind": edit.kind,
            "table": edit.table,
            "slots": list(edit.slots),
            "factor": edit.factor,
            "sites": list(edit.sites_changed(model)),
            "head": edit.head,
            "position": edit.position,
            "note": edit.note,
        }
        for edit in edits
    )


def as_edits(model: MemoryModel, edits: Sequence[SlotEdit]) -> tuple[Edit, ...]:
    """What makes the edits that are on act: for ``trace``, ``session`` and their fellows.

    New values are rounded to the element type of their table, so that what is seen is what a
    patch would hold.

    Raises:
        EditError: the model has no such site, head or position.
        SlotError: it has no such table or slot, or values of another width.
    """
    on = [edit for edit in edits if edit.on]
    for edit in on:
        _check(model, edit)
    masks = [(e.scope, _slots(model, e)) for e in on if e.kind == "mask"]
    made: list[Edit] = [MaskWithin(masks)] if masks else []
    for edit in on:
        if edit.kind in ("zero", "scale"):
            made.append(ScaleWithin(edit.scope, _slots(model, edit), edit.factor or 0.0))
    values: list[NewValues] = []
    for edit in on:
        if edit.kind in ("replace", "swap"):
            values.append(_new_values(model, edit, values))
    return (*made, *values)


def _slots(model: MemoryModel, edit: SlotEdit) -> Tensor:
    return torch.tensor(edit.slots, device=model.device)


def _new_values(model: MemoryModel, edit: SlotEdit, before: Sequence[NewValues]) -> NewValues:
    table, slots = model.tables[edit.table], _slots(model, edit)
    if edit.values is not None:
        rows = torch.tensor(edit.values, dtype=torch.float64, device=model.device)
        new = NewValues(edit.table, slots, rows.to(table.weight.dtype))
        check_values(model, new)
        return new
    site = model.sites[model.sites_of(edit.table)[0]]
    laid = overlay_values(before).get(edit.table)  # two swaps in a row undo each other
    old = table.rows(slots) if laid is None else laid.rows(site, slots)
    return NewValues(edit.table, slots, old.flip(0))


def _check(model: MemoryModel, edit: SlotEdit) -> None:
    width = model.tables[edit.table].d_value if 0 <= edit.table < len(model.tables) else 0
    empty = torch.zeros(len(edit.slots), width)
    check_values(model, NewValues(edit.table, torch.tensor(edit.slots), empty))
    readers = model.sites_of(edit.table)
    if unknown := [site for site in edit.sites if site not in readers]:
        raise EditError(
            f"{', '.join(unknown)} does not read value table {edit.table} of {model.name}; "
            f"{', '.join(readers)} do."
        )
    heads = min(model.sites[name].info.heads for name in edit.sites_changed(model))
    if edit.head is not None and not 0 <= edit.head < heads:
        raise EditError(f"There is no head {edit.head}: heads are 0 to {heads - 1}.")
    if edit.position is not None and not 0 <= edit.position < model.positions:
        raise EditError(
            f"There is no position {edit.position}: {model.name} has 0 to {model.positions - 1}."
        )
