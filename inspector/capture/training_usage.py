"""How often training read each slot, where a checkpoint ships that: ``mem_access_train.npy``.

It is less than a scan. A row's reads are summed over all memory layers, heads and ranks, and over
the whole of training, while the model was still another: they tell which values were trained, not
which are read now.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from inspector.errors import CheckpointError, CheckpointNotFound
from inspector.families.base import MemoryModel
from inspector.families.roots import check_root

FILE: Final = "mem_access_train.npy"
UNKNOWN: Final = (
    "which memory layer, head or rank read a slot: the counts are summed over all of them",
    "how strongly: reads are counted, not weighted",
    "in which contexts, and how many of them were distinct: no verdict such as dead can be given",
    "when: counts are of the whole of training, in which the half-keys moved",
)


@dataclass(frozen=True, eq=False)
class TrainingUsage:
    """Reads of each slot of one value table, counted during training."""

    source: Path
    table: int
    sites: tuple[str, ...]  # the memory layers whose reads were summed
    half_keys: int
    counts: np.ndarray  # [slot] int64
    unknown: tuple[str, ...] = UNKNOWN  # what it cannot tell

    def __post_init__(self) -> None:
        """Refuse counts of another table."""
        if self.counts.shape != (self.half_keys**2,):
            raise ValueError(f"{self.counts.shape} counts, {self.half_keys} half-keys")

    @property
    def reads(self) -> int:
        """All of them."""
        return int(self.counts.sum())

    @property
    def usage(self) -> float:
        """Share of the slots that were ever read in training."""
        return float(np.count_nonzero(self.counts)) / len(self.counts)

    def to_frame(self) -> pd.DataFrame:
        """One row for each slot that was read, the most read first."""
        slot = np.argsort(-self.counts, kind="stable")[: np.count_nonzero(self.counts)]
        return pd.DataFrame(
            {
                "table": self.table,
                "slot": slot,
                "i": slot // self.half_keys,
                "j": slot % self.half_keys,
                "reads": self.counts[slot],
            }
        )

    def to_json(self) -> dict[str, Any]:
        """For machines: sums, and what isn't known."""
        return {
            "source": str(self.source),
            "table": self.table,
            "sites": list(self.sites),
            "reads": self.reads,
            "slots": len(self.counts),
            "slots_read": int(np.count_nonzero(self.counts)),
            "usage": self.usage,
            "unknown": list(self.unknown),
        }


def read_training_usage(model: MemoryModel, file: Path | None = None) -> TrainingUsage:
    """What training counted, from ``file`` or from beside the checkpoint; it's mapped, not read.

    Raises:
        CheckpointNotFound: there is no such file.
        CheckpointError: it is broken, of another checkpoint, or there are several tables.
    """
    folder = model.path if model.path.is_dir() else model.path.parent
    source = folder / FILE if file is None else file
    check_root(source)
    counts = _counts(source)
    if len(model.tables) != 1:
        raise CheckpointError(
            f"{source} sums the reads of all memory layers, but {model.name} has "
            f"{len(model.tables)} value tables: which of them was read cannot be told."
        )
    sites = model.sites_of(0)
    slots = model.tables[0].slots
    if len(counts) != slots:
        raise CheckpointError(
            f"{source} counts reads of {len(counts):,} slots, but {model.name} has {slots:,}: it "
            "is another checkpoint's."
        )
    return TrainingUsage(source, 0, sites, model.site(sites[0]).info.half_keys, counts)


def _counts(source: Path) -> np.ndarray:
    try:
        found = np.load(source, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise CheckpointNotFound(
            f"There is no {source}: training's code wrote no counts of reads beside it."
        ) from None
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError) as error:
        raise CheckpointError(f"{source} cannot be read: {error}.") from None
    plain = isinstance(found, np.ndarray) and found.ndim == 1 and found.dtype.kind in "iu"
    if not plain or (found < 0).any():
        raise CheckpointError(f"{source} holds no counts: expected one whole number a slot.")
    counts: np.ndarray = found
    return counts
