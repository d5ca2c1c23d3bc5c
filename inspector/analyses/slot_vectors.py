"""What the slots of a table hold, as vectors: value rows, or what they write through a site."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import torch
from torch import Tensor

from inspector.analyses.gates import MeanGates, mean_gates
from inspector.capture.session import standing_rows
from inspector.errors import CacheError, SlotError
from inspector.families.base import MemoryModel, Site

BLOCK: Final = 16_384  # rows fetched and projected at a time


def slot_vectors(
    model: MemoryModel,
    table: int,
    site: str | None,
    slots: np.ndarray,
    *,
    gates: MeanGates | None = None,
    tell: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Value rows of ``slots [slot]``, or their contributions at ``site``: ``[slot d]`` float32.

    A contribution is that of a read with coefficient 1. Where a gate depends on the input it's the
    *static* one: through the mean gate of the tokens that read the slot, or through the site's
    mean gate where none did. ``d`` is d_value for value rows, d_model for contributions. Within
    standing edits they are the edited ones.

    Args:
        model: an opened checkpoint.
        table: number of the value table.
        site: a site that reads it; None for the value rows themselves.
        slots: slot numbers.
        gates: mean gates from a scan; those that the checkpoint ships by default.
        tell: is told the share done, and may raise to stop.

    Raises:
        SlotError: no such table, site or slot, or the site reads another table.
        CacheError: the site has a gate that depends on the input, and no scan says how it gates.
    """
    write = writer(model, table, site, gates)
    check_slots(model, table, slots)
    blocks = []
    for start in range(0, len(slots), BLOCK):
        blocks.append(write(slots[start : start + BLOCK]))
        if tell is not None:
            tell(min(1.0, (start + BLOCK) / len(slots)))
    return np.concatenate(blocks) if blocks else write(slots)


def table_blocks(
    model: MemoryModel, table: int, site: str | None, gates: MeanGates | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """The vectors of a whole table, a block at a time: its first slot, and ``[slot d]``."""
    write = writer(model, table, site, gates)
    total = model.tables[table].slots
    for start in range(0, total, BLOCK):
        yield start, write(np.arange(start, min(start + BLOCK, total)))


def writer(
    model: MemoryModel, table: int, site: str | None, gates: MeanGates | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """What gives the vectors of ``slots [slot]``: see ``slot_vectors``, whose errors it raises."""
    check_table(model, table)
    chosen = None if site is None else model.site(site)
    if chosen is not None and chosen.info.table != table:
        raise SlotError(f"{site} reads value table {chosen.info.table}, not {table}.")
    if chosen is not None and chosen.info.gated and gates is None:
        gates = _shipped_gates(model, chosen)

    reader = chosen or next(s for s in model.sites.values() if s.info.table == table)

    @torch.inference_mode()
    def write(slots: np.ndarray) -> np.ndarray:
        index = torch.from_numpy(np.ascontiguousarray(slots, dtype=np.int64))
        rows = standing_rows(reader, index.to(reader.table.weight.device))
        if chosen is not None:
            rows = _project(chosen, rows, index, gates)
        return np.ascontiguousarray(rows.float().cpu().numpy())

    return write


def check_table(model: MemoryModel, table: int) -> None:
    """Refuse a table that a model doesn't have.

    Raises:
        SlotError: so it is.
    """
    if not 0 <= table < len(model.tables):
        raise SlotError(
            f"There is no value table {table}: {model.name} has {len(model.tables)}, from 0 on."
        )


def check_slots(model: MemoryModel, table: int, slots: np.ndarray) -> None:
    """Refuse slots that a table doesn't have.

    Raises:
        SlotError: there are some.
    """
    last = model.tables[table].slots - 1
    if len(slots) and not (slots.min() >= 0 and slots.max() <= last):
        raise SlotError(
            f"Slots of table {table} are 0 to {last}; found {slots.min()} to {slots.max()}."
        )


def _project(site: Site, rows: Tensor, slots: Tensor, gates: MeanGates | None) -> Tensor:
    weight = next(site.module.parameters())
    gate = None
    if site.info.gated:
        assert gates is not None
        gate = gates.rows(site.info.name, slots)[0].to(weight.device, weight.dtype)
    return site.project(rows.to(weight.device, weight.dtype), gate)


def _shipped_gates(model: MemoryModel, site: Site) -> MeanGates:
    gates = mean_gates(model)
    if gates is None or site.info.name not in gates.sites:
        raise CacheError(
            f"{model.name} has no scan of its own that says how {site.info.name} gates each slot, "
            "so its contributions have no fixed direction. `inspector evaluate` makes it; value "
            "rows do without."
        )
    return gates
