"""Watching a training: how its memory is used, every so many steps, at next to no cost.

For any PyTorch model with ``ProductKeyMemory`` in it:

    monitor = Monitor(model, run / "monitor", every=100)
    for step, batch in enumerate(batches, start=1):
        loss = model(batch).loss
        ...
        optimizer.step()
        monitor.step(step)
    monitor.close()

Hooks count the slots that the model itself chose, on the few steps before each record; on all
others they return at once. ``inspector.training.monitor_callback`` is the same for transformers'
Trainer.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from inspector.analyses.evidence import most_hits_within
from inspector.analyses.training_record import norm_quantiles
from inspector.analyses.usage_measures import spread
from inspector.analyses.verdicts import CHANCE, DEAD_BELOW
from inspector.errors import TrainingError
from inspector.memory.layer import ProductKeyMemory
from inspector.memory.product_keys import SiteReads
from inspector.memory.values import ValueTable
from inspector.training.monitor_board import open_board
from inspector.training.monitor_counts import PrefixFilter, SiteCounts
from inspector.training.monitor_parts import RecordParts

EVERY: Final = 50
WINDOW: Final = 8
BUDGET: Final = 0.02


@dataclass(frozen=True)
class _Site:
    name: str
    layer: ProductKeyMemory
    table: int
    counts: SiteCounts


class Monitor:
    """Records usage, unevenness, dead half-keys and value norms of a model while it trains.

    A record covers the last ``window`` steps before it: of every distinct prefix in their batches
    the reads are counted once (where the batch holds token ids; every position else). It is
    written to ``folder`` at once, so that it can be read meanwhile; see ``training_record.SCHEMA``
    for what it holds, and ``read_training_record`` for reading it.
    """

    def __init__(
        self,
        model: nn.Module,
        folder: Path,
        *,
        every: int = EVERY,
        window: int = WINDOW,
        budget: float | None = BUDGET,
        padding: int | None = None,
        board: bool = True,
    ) -> None:
        """Watch ``model`` and write to ``folder``.

        Args:
            model: the module that the training calls, in train mode.
            folder: of this record alone; it is made when there is something to write.
            every: record each time so many steps are done, and after the first.
            window: count reads over so many steps before a record.
            budget: leave records out that would bring the monitor's own share of the time above
                this; None records all.
            padding: the token id that fills up rows, if it is used for nothing else.
            board: also write for TensorBoard, where it is installed.

        Raises:
            TrainingError: the model has no memory layer, or the numbers make no sense.
        """
        if every < 1 or not 1 <= window <= every:
            raise TrainingError(f"A window of {window} steps, a record every {every}: found none.")
        self._sites = _sites_of(model)
        self._tables = _tables_of(self._sites)
        self._every, self._window, self._budget = every, window, budget
        names = {site.name: site.table for site in self._sites}
        about = {"every": every, "window": window, "sites": names}
        self._parts = RecordParts(folder, about)
        self._board = open_board(folder) if board else None
        self._prefixes = PrefixFilter(padding)
        self._counted: Tensor | None = None
        self._waiting: set[str] = set()  # sites not yet counted in this forward pass
        self._counting = False
        self._steps = 0
        self._spent, self._started = 0.0, time.perf_counter()
        self._recorded = 0
        self._hooks = [model.register_forward_pre_hook(self._enter, with_kwargs=True)]
        for site in self._sites:
            self._hooks.append(
                site.layer.top_slots.register_forward_hook(partial(self._count, site))
            )
        self._restart(0)

    def begin(self, step: int) -> None:
        """Go on after ``step`` steps: what was recorded later, before a kill, is dropped."""
        self._parts.forget_after(step)
        self._restart(step)

    def _restart(self, step: int) -> None:
        self._clear()
        self._recorded = step
        self._arm(step + 1)

    def step(self, step: int) -> None:
        """Note that ``step`` steps are done; call it after every step of the optimizer.

        Raises:
            TrainingError: a record cannot be written, or no pass of the model was seen.
        """
        if self._counting:
            self._steps += 1
            if self._is_due(step):
                self._record(step)
        self._arm(step + 1)

    def close(self) -> None:
        """Take the hooks off; nothing is written."""
        for hook in self._hooks:
            hook.remove()
        if self._board is not None:
            self._board.close()

    @property
    def share(self) -> float:
        """The monitor's own share of the time since it began."""
        return self._spent / max(time.perf_counter() - self._started, 1e-9)

    # --- when -----------------------------------------------------------------------------------

    def _is_due(self, step: int) -> bool:
        return step == 1 or step % self._every == 0

    def _arm(self, step: int) -> None:
        """Decide whether the coming ``step`` is counted."""
        into = (step - 1) % self._every - (self._every - self._window)  # 0: the window's first
        if step == 1 or into == 0:
            self._clear()
            self._counting = step == 1 or self._may_spend()
        elif into < 0:
            self._counting = False

    def _may_spend(self) -> bool:
        return self._budget is None or self._recorded == 0 or self.share < self._budget

    def _clear(self) -> None:
        for site in self._sites:
            site.counts.clear()
        self._prefixes.clear()
        self._steps = 0

    # --- hooks ----------------------------------------------------------------------------------

    def _enter(self, module: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        """A forward pass begins: find out which of its positions to count."""
        if not (self._counting and module.training):
            return
        start = time.perf_counter()
        ids = named.get("input_ids", inputs[0] if inputs else None)
        known = isinstance(ids, Tensor) and ids.ndim == 2 and not ids.is_floating_point()
        self._counted = self._prefixes(ids, named.get("attention_mask")) if known else None
        # Each site once: where activations are checkpointed, the lookup runs again going back.
        self._waiting = {site.name for site in self._sites}
        self._spent += time.perf_counter() - start

    def _count(self, site: _Site, module: nn.Module, _inputs: object, reads: SiteReads) -> None:
        if not (self._counting and module.training and site.name in self._waiting):
            return
        start = time.perf_counter()
        self._waiting.discard(site.name)
        site.counts.add(reads, self._counted)
        self._spent += time.perf_counter() - start

    # --- what -----------------------------------------------------------------------------------

    def _record(self, step: int) -> None:
        start = time.perf_counter()
        if not any(site.counts.tokens for site in self._sites):
            raise TrainingError(
                "The monitor saw no forward pass: give it the module that the training calls, "
                "in train mode."
            )
        now = {"step": step, "seconds": time.time(), "steps": self._steps}
        rows = [
            {**now, **row}
            for number, table in self._tables.items()
            for row in _rows(number, table, [s for s in self._sites if s.table == number])
        ]
        self._parts.add(rows, step)
        if self._board is not None:
            self._board.add(rows, step)
        self._recorded = step
        self._spent += time.perf_counter() - start


def _rows(number: int, table: ValueTable, sites: Sequence[_Site]) -> list[dict[str, Any]]:
    """What there is to say of one table: over all its sites, then site by site."""
    norms = norm_quantiles(_norms(table))
    reads = {site.name: site.counts.reads for site in sites}
    weights = {site.name: site.counts.weights for site in sites}
    halves = {site.name: half_key_counts(site.counts, site.layer.shape.knn) for site in sites}
    whole = {
        "site": None,
        "tokens": max(site.counts.tokens for site in sites),
        **_measures(np.sum(list(reads.values()), axis=0), np.sum(list(weights.values()), axis=0)),
        **{name: sum(each[name] for each in halves.values()) for name in halves[sites[0].name]},
        **norms,
    }
    rows = [whole]
    for site in sites:
        measured = _measures(reads[site.name], weights[site.name])
        own = {"site": site.name, "tokens": site.counts.tokens, **measured, **halves[site.name]}
        rows.append(own)
    return [{"table": number, **row} for row in rows]


def _measures(reads: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    counted, weighted = spread(reads), spread(weights)
    return {
        "reads": int(reads.sum()),
        "slots": counted.items,
        "slots_read": counted.read,
        "usage": counted.usage,
        "unevenness": counted.unevenness,
        "unevenness_share": counted.unevenness_share,
        "effective": counted.effective,
        "gini": counted.gini,
        "weighted_unevenness": weighted.unevenness,
        "weighted_effective": weighted.effective,
    }


def half_key_counts(counts: SiteCounts, knn: int) -> dict[str, int]:
    """How many half-keys a site has, how many were not read, and how many are dead."""
    hits = counts.half_key_reads  # [head half half_key]
    expected = counts.tokens * knn / counts.half_keys
    dead = 0
    for each in hits.reshape(-1, counts.half_keys):
        dead += int((each <= most_hits_within(each, DEAD_BELOW * expected, 1.0, CHANCE)).sum())
    return {
        "half_keys": hits.size,
        "half_keys_unread": int((hits == 0).sum()),
        "half_keys_dead": dead,
    }


@torch.no_grad()
def _norms(table: ValueTable) -> np.ndarray:
    return np.asarray(table.weight.norm(dim=-1).float().cpu().numpy())


def _sites_of(model: nn.Module) -> tuple[_Site, ...]:
    layers = {n: m for n, m in model.named_modules() if isinstance(m, ProductKeyMemory)}
    if not layers:
        raise TrainingError(
            f"{type(model).__name__} has no memory layer to watch: none of its modules is a "
            "ProductKeyMemory."
        )
    tables: dict[int, int] = {}
    short = {path: _site_name(path) for path in layers}
    often = Counter(short.values())
    return tuple(
        _Site(
            short[path] if often[short[path]] == 1 else path,
            layer,
            tables.setdefault(id(layer.table), len(tables)),
            SiteCounts(path, layer.shape.half_keys),
        )
        for path, layer in layers.items()
    )


def _site_name(path: str) -> str:
    """``L4`` for a module such as ``model.layers.4.mlp``; the path itself without a number."""
    numbers = re.findall(r"(?:^|\.)(\d+)(?=\.|$)", path)
    return f"L{numbers[-1]}" if numbers else path


def _tables_of(sites: Sequence[_Site]) -> dict[int, ValueTable]:
    return {site.table: site.layer.table for site in sites}
