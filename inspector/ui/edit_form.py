"""From what was typed into boxes to an edit: slots, where, and new values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from inspector.errors import EditError

if TYPE_CHECKING:
    from inspector.analyses.edit_list import Kind, SlotEdit
    from inspector.families.base import MemoryModel

_ONE: Final = re.compile(r"[^\s,;()]*\([^()]*\)|[^\s,;]+")  # an address with its key, or a number
_NUMBER_BREAK: Final = re.compile(r"[\s,;\[\]]+")


@dataclass(frozen=True)
class EditAsked:
    """The boxes as they were filled in; ``source`` and ``numbers`` are for a replacement."""

    kind: Kind
    slots: str
    sites: tuple[str, ...] = ()
    head: int | None = None
    factor: float | None = None
    source: str = ""
    numbers: str = ""


def slots_of(model: MemoryModel, text: str, site: str | None = None) -> tuple[int, tuple[int, ...]]:
    """The table and the slots that ``text`` names, each once, in their order.

    Args:
        model: whose slots are meant.
        text: numbers or addresses, with commas or spaces between them.
        site: meant where none is named; the first one by default.

    Raises:
        EditError: there are none, or they lie in several tables.
        SlotError: one of them is no address of a slot.
    """
    from inspector.analyses.slot_address import parse_address

    found = [parse_address(model, each, site) for each in _ONE.findall(text)]
    if not found:
        raise EditError("No slots are named. Type their numbers or addresses.")
    tables = {model.site(each.site).info.table for each in found}
    if len(tables) > 1:
        raise EditError(
            f"These slots lie in {len(tables)} value tables; an edit is of one. Make one for each."
        )
    return tables.pop(), tuple(dict.fromkeys(each.slot for each in found))


def make_edits(model: MemoryModel, asked: EditAsked) -> tuple[SlotEdit, ...]:
    """The edit that was asked for, held against ``model``.

    Raises:
        EditError: it makes no sense.
        SlotError: there is no such slot.
    """
    from inspector.analyses.edit_list import SlotEdit, as_edits

    table, slots = slots_of(model, asked.slots, asked.sites[0] if asked.sites else None)
    values = _values(model, asked, table, len(slots)) if asked.kind == "replace" else None
    note = f"value of slot {asked.source.strip()}" if values and asked.source.strip() else ""
    edit = SlotEdit(
        asked.kind, slots, table, asked.sites, asked.head, None, asked.factor, values, note=note
    )
    as_edits(model, [edit])
    return (edit,)


def _values(
    model: MemoryModel, asked: EditAsked, table: int, count: int
) -> tuple[tuple[float, ...], ...]:
    """The new value, once for each slot."""
    import torch

    if bool(asked.source.strip()) == bool(asked.numbers.strip()):
        raise EditError("Say by what: the value of another slot, or numbers. Fill in one of them.")
    if asked.source.strip():
        its_table, (source, *more) = slots_of(model, asked.source)
        if more or its_table != table:
            raise EditError("Values are replaced by that of one slot of the same table.")
        row = model.tables[table].rows(torch.tensor([source], device=model.device))[0]
        return (tuple(row.double().tolist()),) * count
    try:
        numbers = tuple(float(part) for part in _NUMBER_BREAK.split(asked.numbers) if part)
    except ValueError as error:
        raise EditError(f"Found something that is no number: {error}.") from None
    return (numbers,) * count
