"""The slots that a few phrasings read and other text seldom does, with how much each counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inspector.analyses.recall import Question, question_batches
from inspector.capture.scan import ScanProgress, scan
from inspector.capture.session import run_sites, session
from inspector.capture.usage import Usage
from inspector.errors import EditError
from inspector.families.base import MemoryModel


@dataclass(frozen=True, eq=False)
class SpecificSlots:
    """Slots by TF-IDF, best first; over all value tables together. All fields are ``[slot]``.

    ``score = c / sum of c * log((|B| + 1) / (1 + b))``: c sums |coefficient| over the reads at the
    positions that answer, b of the background's |B| documents read the slot (Lin et al. 2025,
    "Continual Learning via Sparse Memory Finetuning", which counts reads and batches; coefficients
    count here because a read that carries little can change little).
    """

    table: np.ndarray
    slot: np.ndarray
    weight: np.ndarray  # c, a share of the sum over all slots
    background: np.ndarray  # b
    score: np.ndarray

    def __len__(self) -> int:
        """Number of slots."""
        return len(self.slot)

    def of_table(self, table: int) -> Tensor:
        """Those of one value table, ``[slot]`` int64."""
        return torch.from_numpy(self.slot[self.table == table].astype(np.int64))

    def to_frame(self) -> pd.DataFrame:
        """One row a slot, best first."""
        return pd.DataFrame(vars(self))


def background_usage(
    model: MemoryModel,
    report: Callable[[ScanProgress], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Usage:
    """What the checkpoint's own facts read, each phrasing a document; from the cache if it's there.

    Raises:
        CorpusError: the checkpoint has no facts of its own; scan another corpus.
    """
    return scan(model, model.path, report=report, cancel=cancel)


def specific_slots(
    model: MemoryModel, questions: Sequence[Question], background: Usage, limit: int
) -> SpecificSlots:
    """At most ``limit`` slots that answering ``questions`` reads and the background seldom does.

    Raises:
        EditError: the background is another checkpoint's.
    """
    if background.fingerprint != model.fingerprint:
        raise EditError(
            f"The background scan is not of {model.name}: scan this checkpoint to know which of "
            "its slots are specific."
        )
    weights = _weights(model, questions)
    total = max(sum(float(weight.sum()) for weight in weights.values()), 1e-12)
    parts = []
    for table, weight in weights.items():
        read = weight.nonzero()[0]
        documents = background.tables[table].documents[read]
        rarity = np.log((background.documents + 1) / (1 + documents))
        share = weight[read] / total
        parts.append((np.full(len(read), table), read, share, documents, share * rarity))
    joined = [np.concatenate(each) for each in zip(*parts, strict=True)]
    best = np.argsort(-joined[-1], kind="stable")[:limit]
    return SpecificSlots(*(each[best] for each in joined))


def _weights(model: MemoryModel, questions: Sequence[Question]) -> dict[int, np.ndarray]:
    """Summed |coefficient| at answering positions, ``[slot]`` by table."""
    sums = {
        table: torch.zeros(rows.slots, dtype=torch.float64)
        for table, rows in enumerate(model.tables)
        if model.sites_of(table)
    }
    for batch in question_batches(model, questions):
        with session(record=True) as recording:
            run_sites(model, batch.ids)
        for name, reads in recording.reads.items():
            here = batch.answering[..., None, None].expand_as(reads.slots)
            table = model.sites[name].info.table
            weight = reads.coefficients[here].abs().double().cpu()
            sums[table].index_add_(0, reads.slots[here].cpu(), weight)
    return {table: total.numpy() for table, total in sums.items()}
