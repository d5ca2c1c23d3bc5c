"""Several patches on one checkpoint: do they conflict, and what do they come to together?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd
import torch

from inspector.analyses.patches import Patch, TablePatch
from inspector.errors import PatchError


@dataclass(frozen=True)
class PatchConflict:
    """Two patches, by their places in the order given, that can't both have their way.

    Either they were made for different checkpoints (``slots`` is empty), or both change these slots
    of ``table``, to different values.
    """

    first: int
    second: int
    table: int | None
    slots: tuple[int, ...]

    def to_frame(self) -> pd.DataFrame:
        """One row a slot."""
        named = {"first": self.first, "second": self.second, "table": self.table}
        return pd.DataFrame([{**named, "slot": slot} for slot in self.slots or (None,)])


def find_conflicts(patches: Sequence[Patch]) -> tuple[PatchConflict, ...]:
    """All conflicts between ``patches``, pair by pair in their order."""
    found = []
    for second, later in enumerate(patches):
        for first, earlier in enumerate(patches[:second]):
            if earlier.fingerprint != later.fingerprint:
                found.append(PatchConflict(first, second, None, ()))
                continue
            for a in earlier.tables:
                for b in later.tables:
                    if a.table == b.table and (slots := _disagree(a, b)):
                        found.append(PatchConflict(first, second, a.table, slots))
    return tuple(found)


def _disagree(a: TablePatch, b: TablePatch) -> tuple[int, ...]:
    """Slots that both change, to different values."""
    rows_a = torch.isin(a.slots, b.slots)
    rows_b = torch.isin(b.slots, a.slots)  # both ascend, so that these are the same slots in order
    differ = (a.values[rows_a] != b.values[rows_b].to(a.values.dtype)).any(-1)
    return tuple(a.slots[rows_a][differ].tolist())


def stack_patches(patches: Sequence[Patch], *, later_wins: bool = False) -> Patch:
    """One patch that does what ``patches`` do, one after the other.

    Args:
        patches: in their order; a single one is given back as it is.
        later_wins: where two disagree on a slot, take the later one's value.

    Raises:
        PatchError: there are none, they were made for different checkpoints, or they disagree.
    """
    if not patches:
        raise PatchError("There are no patches to stack. Name at least one.")
    conflicts = find_conflicts(patches)
    for conflict in conflicts:
        if not conflict.slots or not later_wins:
            raise PatchError(_sentence(patches, conflict))
    if len(patches) == 1:
        return patches[0]
    tables = sorted({part.table for patch in patches for part in patch.tables})
    return Patch(
        what="; ".join(patch.what for patch in patches),
        why="; ".join(patch.why for patch in patches if patch.why),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        fingerprint=patches[0].fingerprint,
        checkpoint=patches[0].checkpoint,
        tables=tuple(_stack(table, patches) for table in tables),
        figures={"stacked": [patch.to_json() for patch in patches]},
    )


def _stack(table: int, patches: Sequence[Patch]) -> TablePatch:
    parts = [part for patch in patches for part in patch.tables if part.table == table]
    last: dict[int, tuple[int, int]] = {}
    for number, part in enumerate(parts):
        for row, slot in enumerate(part.slots.tolist()):
            last[slot] = (number, row)
    chosen = sorted(last.items())
    return TablePatch(
        table,
        torch.tensor([slot for slot, _ in chosen]),
        torch.stack([parts[number].values[row] for _, (number, row) in chosen]),
        torch.stack([parts[number].old[row] for _, (number, row) in chosen]),
    )


def _sentence(patches: Sequence[Patch], conflict: PatchConflict) -> str:
    first, second = patches[conflict.first], patches[conflict.second]
    if not conflict.slots:
        return (
            f"{first.what!r} was made for the checkpoint {first.fingerprint[:12]} and "
            f"{second.what!r} for {second.fingerprint[:12]}: patches can be stacked only if they "
            "were made for the same one."
        )
    count, some = len(conflict.slots), ", ".join(map(str, conflict.slots[:5]))
    more = ", ..." if count > 5 else ""
    return (
        f"{first.what!r} and {second.what!r} both change {count} slots of table {conflict.table}, "
        f"to different values: {some}{more}. Leave one out, or say that the later one wins."
    )
