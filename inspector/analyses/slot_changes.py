"""What a training, a fine-tune or a patch did to each slot: values, half-keys, usage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor

from inspector.analyses.comparability import compare_sizes
from inspector.analyses.slot_tfidf import SlotTfidf
from inspector.analyses.usage_measures import table_reads
from inspector.analyses.verdicts import Verdict, judge_usage
from inspector.capture.usage import Usage
from inspector.errors import ComparisonError
from inspector.families.base import MemoryModel

_BLOCK = 65_536  # values held at once


@dataclass(frozen=True, eq=False)
class SlotChanges:
    """One table before and after, slot by slot.

    ``value_drift [slot]``: the distance between both values over the norm of the one before
    (infinite where that was zero and the other isn't); ``value_cosine [slot]`` between them, NaN
    where one is zero; ``touched [slot]`` whether any number of the value differs. Both are None
    where values have other widths. ``half_key_drift`` per site ``[head half half_key]``, relative
    likewise; ``key_drift [slot]`` the larger drift of its two half-keys, mean over sites and heads.
    ``reads`` and ``verdicts`` are those of two scans, before and after ``[2 slot]``, None without.
    """

    table: int
    value_drift: np.ndarray | None
    value_cosine: np.ndarray | None
    touched: np.ndarray | None
    half_key_drift: Mapping[str, np.ndarray]
    key_drift: np.ndarray | None
    reads: np.ndarray | None
    verdicts: np.ndarray | None
    slots: int

    def __post_init__(self) -> None:
        """Refuse parts that disagree in length."""
        for part in (self.value_drift, self.value_cosine, self.touched, self.key_drift):
            if part is not None and part.shape != (self.slots,):
                raise ValueError(f"{self.slots} slots, but a part of {part.shape}")
        for pair in (self.reads, self.verdicts):
            if pair is not None and pair.shape != (2, self.slots):
                raise ValueError(f"two scans of {self.slots} slots, but {pair.shape}")

    @property
    def died(self) -> np.ndarray:
        """Alive before and dead after, ``[slot]`` bool; none without scans."""
        return self._turned(Verdict.ALIVE, Verdict.DEAD)

    @property
    def revived(self) -> np.ndarray:
        """Dead before and alive after, ``[slot]`` bool; none without scans."""
        return self._turned(Verdict.DEAD, Verdict.ALIVE)

    def _turned(self, before: Verdict, after: Verdict) -> np.ndarray:
        if self.verdicts is None:
            return np.zeros(self.slots, dtype=bool)
        turned: np.ndarray = (self.verdicts[0] == before) & (self.verdicts[1] == after)
        return turned

    def order(self) -> np.ndarray:
        """Slots, the most changed first: by drift of the value, else of its key, else of reads."""
        for part in (self.value_drift, self.key_drift):
            if part is not None and part.any():
                return np.argsort(-part, kind="stable")
        if self.reads is not None:
            return np.argsort(-np.abs(self.reads[1] - self.reads[0]), kind="stable")
        return np.arange(self.slots)

    def to_frame(self, top: int | None = None) -> pd.DataFrame:
        """One row a slot, the most changed first."""
        order = self.order()[:top]
        columns: dict[str, object] = {"slot": order}
        for name in ("value_drift", "value_cosine", "touched", "key_drift"):
            part = getattr(self, name)
            if part is not None:
                columns[name] = part[order]
        if self.reads is not None:
            columns |= {"reads_before": self.reads[0][order], "reads_after": self.reads[1][order]}
        if self.verdicts is not None:
            labels = np.array([verdict.label for verdict in Verdict])
            columns["verdict_before"] = labels[self.verdicts[0][order]]
            columns["verdict_after"] = labels[self.verdicts[1][order]]
        return pd.DataFrame(columns)


def slot_changes(
    before: MemoryModel,
    after: MemoryModel,
    table: int = 0,
    usages: tuple[Usage, Usage] | None = None,
) -> SlotChanges:
    """Hold table ``table`` of two checkpoints against each other.

    Args:
        before: the earlier, original or first checkpoint.
        after: the other.
        table: the value table.
        usages: a scan of each over the same corpus; without them usage isn't compared.

    Raises:
        ComparisonError: their slots can't be compared, with the reasons.
    """
    sizes = compare_sizes(before, after)
    if table not in sizes.tables:
        raise ComparisonError(
            f"Slots of table {table} cannot be compared. "
            + (" ".join(sizes.reasons) or "There is no such table.")
        )
    slots = before.tables[table].slots
    drift = cosine = touched = None
    if table in sizes.values:
        drift, cosine, touched = _value_changes(before, after, table)
    half_keys = {
        name: _half_key_drift(before, after, name)
        for name in sizes.half_keys
        if before.site(name).info.table == table
    }
    reads = verdicts = None
    if usages is not None:
        reads = np.stack([table_reads(usage, table) for usage in usages])
        verdicts = np.stack([judge_usage(usage).values[table].verdicts for usage in usages])
    return SlotChanges(
        table, drift, cosine, touched, half_keys, _key_drift(half_keys), reads, verdicts, slots
    )


def _value_changes(
    before: MemoryModel, after: MemoryModel, table: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first, second = before.tables[table], after.tables[table]
    drift, cosine = np.empty(first.slots, np.float32), np.empty(first.slots, np.float32)
    touched = np.empty(first.slots, dtype=bool)
    with torch.inference_mode():
        for start in range(0, first.slots, _BLOCK):
            here = slice(start, min(start + _BLOCK, first.slots))
            old, new = (t.weight[here].cpu().float() for t in (first, second))
            drift[here] = _relative(old, new).numpy()
            scale = old.norm(dim=-1) * new.norm(dim=-1)
            inner = (old * new).sum(-1)
            cosine[here] = torch.where(scale > 0, inner / scale, torch.nan).numpy()
            touched[here] = (old != new).any(-1).numpy()
    return drift, cosine, touched


def _relative(old: Tensor, new: Tensor) -> Tensor:
    """Distance over the norm before, on the last axis; 0 where nothing changed."""
    distance = (new - old).norm(dim=-1)
    return torch.where(distance > 0, distance / old.norm(dim=-1), 0.0)


def _half_key_drift(before: MemoryModel, after: MemoryModel, name: str) -> np.ndarray:
    old, new = (model.site(name).half_keys().detach().cpu().float() for model in (before, after))
    drift: np.ndarray = _relative(old, new).numpy()
    return drift


def _key_drift(half_keys: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Per slot the larger drift of its half-keys, mean over sites and heads."""
    if not half_keys:
        return None
    n = next(iter(half_keys.values())).shape[-1]
    total, count = np.zeros((n, n)), 0
    for drift in half_keys.values():
        for first, second in drift:
            total += np.maximum(first[:, None], second[None, :])
            count += 1
    return (total / count).ravel().astype(np.float32)


@dataclass(frozen=True)
class Specificity:
    """Whether the slots that changed are those that a text reads and others don't.

    ``auc``: the chance that a touched slot has a higher TF-IDF on the text than an untouched one
    (0.5 if they are no more specific; None where all or none are touched). ``among_best``: share
    of the touched slots among as many of the highest TF-IDF; ``read``: share that the text reads.
    """

    touched: int
    read: float
    among_best: float
    auc: float | None

    def to_frame(self) -> pd.DataFrame:
        """One row."""
        return pd.DataFrame([vars(self)])


def specificity(changes: SlotChanges, tfidf: SlotTfidf) -> Specificity:
    """Hold the touched slots of a table against a text's TF-IDF (Lin et al. 2025).

    Raises:
        ComparisonError: it isn't known which slots were touched, or the tables differ in size.
    """
    if changes.touched is None or len(tfidf.score) != changes.slots:
        raise ComparisonError(
            f"The text was scanned over {len(tfidf.score):,} slots and the comparison is of "
            f"{changes.slots:,}, whose values must have one width."
        )
    touched = changes.touched
    count = int(touched.sum())
    if not count:
        return Specificity(0, 0.0, 0.0, None)
    best = np.argsort(-tfidf.score, kind="stable")[:count]
    best = best[tfidf.reads[best] > 0]  # what isn't read isn't specific
    auc = None
    if count < changes.slots:
        test = mannwhitneyu(tfidf.score[touched], tfidf.score[~touched], method="asymptotic")
        auc = float(test.statistic) / (count * (changes.slots - count))
    return Specificity(
        touched=count,
        read=float((tfidf.reads[touched] > 0).mean()),
        among_best=float(touched[best].sum()) / count,
        auc=auc,
    )
