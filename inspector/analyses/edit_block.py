"""``with inspector.edit(model, zero=[17]):`` everything in the block runs the model as edited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from inspector.analyses.edit_list import SlotEdit, as_edits
from inspector.capture.session import standing
from inspector.families.base import MemoryModel


@contextmanager
def edit(  # noqa: PLR0913  every kind of edit has its own
    model: MemoryModel,
    *,
    zero: Sequence[int] = (),
    mask: Sequence[int] = (),
    scale: Mapping[int, float] | None = None,
    replace: Mapping[int, Sequence[float] | Tensor] | None = None,
    swap: Sequence[tuple[int, int]] = (),
    edits: Sequence[SlotEdit] = (),
    table: int = 0,
    sites: Sequence[str] | None = None,
    head: int | None = None,
    position: int | None = None,
) -> Iterator[tuple[SlotEdit, ...]]:
    """Within the block, passes of ``model`` in this thread (or task) go through these edits.

    The model itself isn't touched: other threads see it as it is, and so does the code after the
    block. Gives the edits as a list. Nothing that is measured in the block is kept in the cache.

    Args:
        model: an opened checkpoint.
        zero: slots whose reads get 0 as coefficient; the other weights stay.
        mask: slots that are left out before the top k, so that others take their place.
        scale: slots and what the coefficients of their reads are multiplied by.
        replace: slots and their new values, ``[d_value]`` each; at every site of the table.
        swap: pairs of slots that exchange their values; at every site of the table.
        edits: more edits, as records.
        table: the value table that the slots are of.
        sites: limits ``zero``, ``mask`` and ``scale`` to these sites; None is all of the table's.
        head: limits them to one head.
        position: limits them to one position.

    Raises:
        EditError: the edits contradict each other, or the model has no such site or head.
        SlotError: it has no such slot, or values of another width.
    """
    names = tuple(sites or ())

    def narrowed(kind: str, slots: Sequence[int], factor: float | None = None) -> SlotEdit:
        chosen = tuple(int(slot) for slot in slots)
        return SlotEdit(kind, chosen, table, names, head, position, factor)  # type: ignore[arg-type]

    made = [narrowed(kind, slots) for kind, slots in (("zero", zero), ("mask", mask)) if slots]
    made += [narrowed("scale", [slot], float(by)) for slot, by in (scale or {}).items()]
    if replace:
        rows = tuple(tuple(torch.as_tensor(v).double().tolist()) for v in replace.values())
        made.append(SlotEdit("replace", tuple(map(int, replace)), table, values=rows))
    made += [SlotEdit("swap", (int(a), int(b)), table) for a, b in swap]
    listed = (*made, *edits)
    with standing(model, as_edits(model, listed)):
        yield listed
