"""How an edit is called where there is little room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from inspector.analyses.edit_list import SlotEdit
    from inspector.families.base import MemoryModel

EXPLAINED: Final = {
    "zero": "The coefficients of their reads become 0; the other weights stay.",
    "mask": "They are removed before the top k: others take their place, and the softmax is taken "
    "anew.",
    "scale": "The coefficients of their reads are multiplied by a factor.",
    "replace": "They hold other values, at every site that reads the table.",
    "swap": "Two slots hold each other's value, at every site that reads the table.",
}


def title(edit: SlotEdit) -> str:
    """Kind and slots: ``zero slot 5``, ``scale ×0.5 12 slots``."""
    factor = f" ×{edit.factor:g}" if edit.factor is not None else ""
    named = f"slot {edit.slots[0]}" if len(edit.slots) == 1 else f"{len(edit.slots)} slots"
    return f"{edit.kind}{factor} {named}"


def place(edit: SlotEdit, model: MemoryModel) -> str:
    """Every site that it changes, and the head and position if it's only one."""
    try:
        sites = edit.sites_changed(model)
    except IndexError:
        sites = ()
    parts = [" ".join(sites) or f"table {edit.table}"]
    parts += [f"H{edit.head}"] if edit.head is not None else []
    parts += [f"position {edit.position}"] if edit.position is not None else []
    return " · ".join(parts)


def counted(count: int, noun: str) -> str:
    """A number and its noun."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
