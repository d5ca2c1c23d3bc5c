"""Values that training never touched: those whose norm is still what initialisation gave them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from inspector.families.base import MemoryModel
from inspector.memory.values import ValueTable

_WITHIN: Final = 4.0  # standard deviations: 6 in 100,000 initial norms lie outside
_OVERLAP: Final = 0.05  # of trained values may look untrained before norms stop telling
_SAMPLE: Final = 2_000
_CHUNK: Final = 4_096


@dataclass(frozen=True, eq=False)
class Untrained:
    """Which of ``slots [item]`` hold a value still at its initial norm: ``untrained [item]`` bool.

    ``note`` says on what this rests, or why it can't be told: then none is called untrained.
    """

    slots: np.ndarray
    untrained: np.ndarray
    known: bool
    note: str


def initial_norms(model: MemoryModel, table: int) -> tuple[float, float] | None:
    """Mean and standard deviation of the norms that values start with; None if unknown.

    Native tables start normal with standard deviation d_value^-0.5, so that a norm is d_value^-0.5
    times a chi variable with d_value degrees of freedom. Other families' tables may have started
    in any way.
    """
    if model.provenance.family != "native":
        return None
    size = model.tables[table].d_value
    mean = math.sqrt(2 / size) * math.exp(math.lgamma((size + 1) / 2) - math.lgamma(size / 2))
    return mean, math.sqrt(max(1 - mean**2, 0.0))


def find_untrained(
    model: MemoryModel, table: int, slots: np.ndarray, alive: np.ndarray, seed: int = 0
) -> Untrained:
    """Tell which of ``slots`` were never trained, by the norm of their values.

    Values that are read must have moved for norms to tell anything: of a random sample of those
    ``alive`` at most 5 % may have a norm like an initial one.

    Args:
        model: the checkpoint.
        table: number of its value table.
        slots: the slots asked about, ``[item]``.
        alive: slots that are read, to compare with.
        seed: of the sample.
    """

    def unknown(why: str) -> Untrained:
        note = f"Whether values were never trained cannot be told: {why}."
        return Untrained(slots, np.zeros(len(slots), dtype=bool), known=False, note=note)

    initial = initial_norms(model, table)
    if initial is None:
        return unknown(f"how a {model.provenance.family} checkpoint's values start is not known")
    if not len(alive):
        return unknown("no value is read, so there is nothing to compare with")
    mean, deviation = initial
    sample = np.random.default_rng(seed).permutation(alive)[:_SAMPLE]
    alike = np.abs(_norms(model.tables[table], sample) - mean) <= _WITHIN * deviation
    bounds = f"{mean - _WITHIN * deviation:.3f} to {mean + _WITHIN * deviation:.3f}"
    if alike.mean() > _OVERLAP:
        return unknown(
            f"{alike.mean():.0%} of {len(sample):,} values that are read also have a norm of "
            f"{bounds}, as values have that were just initialised"
        )
    untrained = np.abs(_norms(model.tables[table], slots) - mean) <= _WITHIN * deviation
    note = (
        f"Values start with a norm of {bounds}; of {len(sample):,} values that are read "
        f"{alike.mean():.1%} have such a norm."
    )
    return Untrained(slots, untrained, known=True, note=note)


@torch.no_grad()
def _norms(table: ValueTable, slots: np.ndarray) -> np.ndarray:
    """Norms of the values of ``slots``, fetched a chunk at a time: ``[item]``."""
    index = torch.from_numpy(np.ascontiguousarray(slots)).to(table.weight.device, torch.int64)
    chunks = [table.rows(part).float().norm(dim=-1).cpu() for part in index.split(_CHUNK)]
    return np.asarray(torch.cat(chunks).numpy())
