"""Patches: new values for a few slots of one checkpoint, with what, why, when and how well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inspector.analyses.edit_list import SlotEdit, as_edits
from inspector.analyses.fact_edit import FactEdit
from inspector.capture.value_edits import NewValues, Overlay, check_values, overlay_values
from inspector.errors import PatchError
from inspector.families.base import MemoryModel


@dataclass(frozen=True, eq=False)
class TablePatch:
    """New values of one table, and those that they replace, on the CPU.

    ``slots [slot]`` int64, ascending, each once; ``values`` and ``old [slot d_value]`` in the
    table's element type.
    """

    table: int
    slots: Tensor
    values: Tensor
    old: Tensor

    def __post_init__(self) -> None:
        """Refuse parts that disagree."""
        if self.values.ndim != 2 or self.values.shape != self.old.shape:
            raise ValueError(f"values {self.values.shape} and old {self.old.shape} disagree")
        if self.slots.shape != self.values.shape[:1] or bool((self.slots.diff() <= 0).any()):
            raise ValueError("slots must ascend and be as many as the values")


@dataclass(frozen=True, eq=False)
class Patch:
    """A change of a checkpoint's values that can be kept, sent, stacked and applied.

    ``fingerprint`` is that of the checkpoint it was made for; ``figures`` are plain values, such as
    ``FactEdit.to_json`` gives. ``when`` is in UTC, ISO 8601.
    """

    what: str
    why: str
    when: str
    fingerprint: str
    checkpoint: str
    tables: tuple[TablePatch, ...]
    figures: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a table that comes twice."""
        if len({part.table for part in self.tables}) != len(self.tables):
            raise ValueError("a patch has one part for each table")

    def __len__(self) -> int:
        """Number of values that it changes."""
        return sum(len(part.slots) for part in self.tables)

    def new_values(self, device: torch.device | str = "cpu") -> tuple[NewValues, ...]:
        """The edits: for ``trace(edits=)`` and ``session``."""
        return tuple(
            NewValues(part.table, part.slots.to(device), part.values.to(device))
            for part in self.tables
        )

    def slot_edits(self) -> tuple[SlotEdit, ...]:
        """The same as records for a list of edits."""
        return tuple(
            SlotEdit(
                "replace",
                tuple(part.slots.tolist()),
                part.table,
                values=tuple(tuple(row) for row in part.values.double().tolist()),
                note=self.what,
            )
            for part in self.tables
        )

    def to_frame(self) -> pd.DataFrame:
        """One row a changed slot: the norms of its old and new values, and of their difference."""
        parts = []
        for part in self.tables:
            old, new = part.old.double(), part.values.double()
            norms = [each.norm(dim=-1).numpy() for each in (old, new, new - old)]
            named = dict(zip(("old_norm", "new_norm", "moved"), norms, strict=True))
            parts.append(pd.DataFrame({"table": part.table, "slot": part.slots.numpy(), **named}))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    def to_json(self) -> dict[str, Any]:
        """All of it but the values."""
        return {
            "what": self.what,
            "why": self.why,
            "when": self.when,
            "fingerprint": self.fingerprint,
            "checkpoint": self.checkpoint,
            "slots": {str(part.table): part.slots.tolist() for part in self.tables},
            "figures": dict(self.figures),
        }


def make_patch(
    model: MemoryModel,
    edits: Sequence[NewValues],
    what: str,
    why: str = "",
    figures: Mapping[str, Any] | None = None,
) -> Patch:
    """A patch of ``model`` that holds ``edits``; slots whose values don't change are left out.

    Raises:
        PatchError: nothing changes.
        SlotError: the model has no such table or slot, or values of another width.
    """
    for edit in edits:
        check_values(model, edit)
    parts = [_part(model, table, new) for table, new in sorted(overlay_values(edits).items())]
    tables = tuple(part for part in parts if len(part.slots))
    if not tables:
        raise PatchError("There is nothing to keep in a patch: no value changes.")
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return Patch(what, why, when, model.fingerprint, model.name, tables, figures or {})


def patch_of_fact(model: MemoryModel, edit: FactEdit, why: str = "") -> Patch:
    """A patch with which ``model`` does what ``edit`` found, and its figures.

    Raises:
        PatchError: nothing changes.
    """
    fact, answer = edit.goal.fact, edit.goal.answer
    about = f"{fact.relation} of {fact.subject}"
    what = f"Forget the {about}" if answer is None else f"The {about} is {answer}"
    return make_patch(model, edit.new_values(), what, why, edit.to_json())


def patch_of_list(model: MemoryModel, edits: Sequence[SlotEdit], what: str, why: str = "") -> Patch:
    """A patch of those of ``edits`` that are on.

    Zeroed and scaled slots become values that are zero or scaled, where that's at the whole table.

    Raises:
        PatchError: one of them cannot be told by values: a mask, or an edit of less than a table.
    """
    on = [edit for edit in edits if edit.on]
    for edit in on:
        if edit.kind == "mask" or edit.narrowed:
            raise PatchError(
                f"A patch holds values, and the {edit.kind} of slots {list(edit.slots[:8])} is "
                "none: switch it off, or zero, scale, replace or swap them at the whole table."
            )
    values = [made for made in as_edits(model, on) if isinstance(made, NewValues)]
    return make_patch(model, [*values, *_scaled(model, on, overlay_values(values))], what, why)


def _scaled(
    model: MemoryModel, edits: Sequence[SlotEdit], laid: Mapping[int, Overlay]
) -> list[NewValues]:
    """What zeroed and scaled slots amount to as values, over the values ``laid`` by other edits.

    Reads are scaled whatever stands in the list before or after: the factors act last.
    """
    factors: dict[int, dict[int, float]] = {}
    for edit in edits:
        if edit.kind in ("zero", "scale"):
            own = factors.setdefault(edit.table, {})
            for slot in edit.slots:
                own[slot] = own.get(slot, 1.0) * (edit.factor or 0.0)
    scaled = []
    for table, own in factors.items():
        slots = torch.tensor(list(own), device=model.device)
        old = _old(model, table, slots)
        if table in laid:
            old = laid[table].rows(model.sites[model.sites_of(table)[0]], slots)
        exact = torch.promote_types(old.dtype, torch.float32)
        factor = torch.tensor(list(own.values()), dtype=exact, device=model.device)[:, None]
        scaled.append(NewValues(table, slots, (old.to(exact) * factor).to(old.dtype)))
    return scaled


def _old(model: MemoryModel, table: int, slots: Tensor) -> Tensor:
    return model.tables[table].rows(slots).detach()


def _part(model: MemoryModel, table: int, new: Overlay) -> TablePatch:
    if new.values.ndim != 2:
        raise PatchError("A patch holds one value for each slot, not one for each input.")
    old = _old(model, table, new.slots)
    values = new.values.detach().to(old.dtype)
    changed = (values != old).any(-1)
    parts = (each[changed].cpu() for each in (new.slots, values, old))
    return TablePatch(table, *parts)


def check_base(model: MemoryModel, patch: Patch) -> None:
    """Refuse a patch that wasn't made for ``model``.

    Raises:
        PatchError: it was made for a checkpoint with another fingerprint, or the values that it
            replaces aren't there.
        SlotError: the model has no such table or slot, or values of another width.
    """
    if patch.fingerprint != model.fingerprint:
        raise PatchError(
            f"The patch {patch.what!r} was made for {patch.checkpoint} with fingerprint "
            f"{patch.fingerprint[:12]}; {model.name} has {model.fingerprint[:12]}. Open the "
            "checkpoint that it was made for."
        )
    for part in patch.tables:
        check_values(model, NewValues(part.table, part.slots, part.values))
        found = _old(model, part.table, part.slots.to(model.device)).cpu()
        differs = (found != part.old.to(found.dtype)).any(-1).numpy()
        if differs.any():
            slot = int(part.slots[int(np.argmax(differs))])
            raise PatchError(
                f"The patch {patch.what!r} replaces values that {model.name} doesn't hold, the "
                f"first at slot {slot} of table {part.table}: the patch was changed by hand."
            )
