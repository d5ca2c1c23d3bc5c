"""What reviving half-keys does to a model, on text that nothing was fitted to."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from inspector.analyses.divergence import mean_kl
from inspector.analyses.facts import read_facts
from inspector.analyses.recall import Question, measure_recall
from inspector.analyses.revive_plan import NewHalfKeys, RevivePlan
from inspector.analyses.usage_measures import half_key_reads, spread, table_reads
from inspector.capture.corpus import Corpus
from inspector.capture.load import load
from inspector.capture.scan import scan
from inspector.capture.usage import Usage
from inspector.families.base import MemoryModel
from inspector.families.native_edit import put_rows


@dataclass(frozen=True)
class ReviveLimits:
    """How many of those revived must be read, and how little else may change."""

    read: float = 0.5  # share of the half-keys revived, at least
    kl: float = 0.01  # nats a token, at most
    recall: float = 0.005  # share of all facts that may be lost, at most


@dataclass(frozen=True)
class Attempt:
    """What reviving so many half-keys did on the held-out part.

    ``read`` of them were read; ``kl`` is the mean divergence of the next-token distribution from
    the original's, in nats a token; ``effective`` slots are by table, counted. Once a limit is
    broken, the rest isn't measured: None. ``complaint`` says which; it's empty if all hold.
    """

    revived: int
    kl: float
    read: int | None = None
    recall: float | None = None
    effective: Mapping[int, float] | None = None
    complaint: str = ""


class Trial:
    """A second copy of a checkpoint, in memory, on which plans are tried and judged."""

    def __init__(
        self,
        model: MemoryModel,
        held_out: Corpus,
        *,
        tokens: int | None,
        seed: int,
        limits: ReviveLimits,
    ) -> None:
        """Measure the original on ``held_out``, at most ``tokens`` of it."""
        self.model, self._corpus, self._tokens = model, held_out, tokens
        self._seed, self._limits = seed, limits
        self.copy = load(model.path, str(model.device), model.dtype)
        usage = scan(model, held_out, tokens, seed=seed)
        self.tokens, self.effective = usage.tokens, _effective(usage)
        self._questions = _questions(model, seed)
        self.recall = self._ask(model)

    def measure(self, plan: RevivePlan) -> Attempt:
        """Try ``plan``; the cheapest limits are looked at first."""
        with self._with(plan):
            count = len(plan.half_keys)
            kl = mean_kl(self.model, self.copy, self._corpus, self._tokens).kl
            if not kl <= self._limits.kl:
                return Attempt(count, kl, complaint=f"KL is above {self._limits.kl:g}")
            usage = scan(self.copy, self._corpus, self._tokens, seed=self._seed, cache=False)
            read, effective = _count_read(usage, plan.half_keys), _effective(usage)
            if read < self._limits.read * count:
                few = f"fewer than {self._limits.read:.0%} are read"
                return Attempt(count, kl, read, None, effective, few)
            recall = self._ask(self.copy)
        complaint = ""
        if self.recall is not None and recall is not None:
            lost = self.recall - recall
            if lost > self._limits.recall + 1e-9:
                complaint = f"recall falls by more than {100 * self._limits.recall:g} points"
        return Attempt(count, kl, read, recall, effective, complaint)

    @contextmanager
    def _with(self, plan: RevivePlan) -> Iterator[None]:
        before = put_rows(self.copy, plan.edits(self.copy))
        try:
            yield
        finally:
            put_rows(self.copy, before)

    def _ask(self, model: MemoryModel) -> float | None:
        return measure_recall(model, self._questions).rate if self._questions else None


def _questions(model: MemoryModel, seed: int) -> Sequence[Question]:
    """Every fact that the checkpoint ships, in one of its training phrasings."""
    file = model.path / "facts.jsonl"
    if not file.is_file():
        return ()
    rng = random.Random(f"{seed} phrasing")
    return [Question(rng.choice(fact.prompts), fact.object) for fact in read_facts(file)]


def _effective(usage: Usage) -> dict[int, float]:
    measured = {table: spread(table_reads(usage, table)).effective for table in usage.tables}
    return {table: 0.0 if math.isnan(found) else found for table, found in measured.items()}


def _count_read(usage: Usage, half_keys: NewHalfKeys) -> int:
    """How many of ``half_keys`` were read in a scan."""
    read = np.zeros(len(half_keys), dtype=bool)
    for name, site in usage.sites.items():
        per_half = half_key_reads(site.reads, site.site.half_keys)  # [head half half_key]
        own = half_keys.site == name
        read[own] = per_half[half_keys.head[own], half_keys.half[own], half_keys.half_key[own]] > 0
    return int(read.sum())
