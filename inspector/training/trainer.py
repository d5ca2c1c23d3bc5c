"""Training a checkpoint from a configuration: seeded, resumable, one directory out."""

from __future__ import annotations

import ctypes
import dataclasses
import math
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from inspector.analyses.training_record import FOLDER as RECORD_FOLDER
from inspector.errors import ConfigError, TrainingError
from inspector.memory.layer import ProductKeyMemory
from inspector.memory.llama import MemoryLlamaConfig, MemoryLlamaForCausalLM
from inspector.memory.values import ValueTable
from inspector.training.checkpoint import save_checkpoint
from inspector.training.config import TrainingConfig
from inspector.training.corpus import Batch, Corpus
from inspector.training.data import TrainingData, make_data
from inspector.training.interventions import intervened
from inspector.training.monitor import WINDOW, Monitor
from inspector.training.progress import Meter, Progress
from inspector.training.run_folder import RunFolder, interrupted_only_after

_SAVE_EVERY_S = 120.0


def train(
    config: TrainingConfig,
    out: Path,
    *,
    device: str = "cpu",
    report: Callable[[Progress], None] | None = None,
    data: TrainingData | None = None,
    monitor_every: int = 0,
) -> Path:
    """Train ``config`` into the directory ``out`` and return it; ``data`` spares making it anew.

    A run that was killed goes on from its last saved state when called again with the same
    configuration; the same seed on the same machine gives the same result, bit for bit, either
    way. Ctrl-C takes effect between two steps and saves the state first. A finished run is left
    as it is. Snapshots go to ``out-step-N``, without the facts, which are those of ``out``. Each
    ``monitor_every`` steps, if any, how the memory is used goes to ``out/monitor``.

    Raises:
        TrainingError: ``out`` holds a run of another configuration, or something else; a source
            of facts is not installed; the loss became infinite.
        ConfigError: no data or no model can be made from ``config``.
    """
    folder = RunFolder(out.resolve(), config)
    if folder.finished:
        folder.forget_state()
        return out
    folder.check()
    _keep_freed_memory()
    run = _Run(config, folder, device, data)
    folder.claim()  # only now: a configuration that makes no run leaves no trace
    try:
        run.carry_on(report, monitor_every)
    except KeyboardInterrupt:
        run.save()
        raise
    return out


class _Run:
    """A run in progress: ``step`` steps are done. All of it follows from the configuration."""

    def __init__(
        self,
        config: TrainingConfig,
        folder: RunFolder,
        device: str,
        data: TrainingData | None = None,
    ) -> None:
        """Make data, tokenizer and model anew, then take up what was saved."""
        self._config, self._folder, self._device = config, folder, device
        torch.manual_seed(config.seed)
        data = data or make_data(config)
        self._world, self._tokenizer, self._corpus = data.world, data.tokenizer, data.corpus
        self._model = build_model(config, self._tokenizer).to(device)
        _check_positions(self._corpus, self._model)
        self._optimizer = _optimizer(self._model, config)
        self.step = folder.restore(self._model, self._optimizer)

    def carry_on(self, report: Callable[[Progress], None] | None, monitor_every: int = 0) -> None:
        """Train to the last step, write snapshots on the way and the checkpoint at the end."""
        steps = self._config.optimisation.steps
        meter = Meter(steps, report)
        monitor = self._monitor(monitor_every)
        self._model.train()
        saved = time.monotonic()
        while True:
            # Before the step, so that a run killed while it writes one writes it again.
            if self.step in self._config.snapshots:
                self._write(self._folder.snapshot(self.step), snapshot=True)
            if self.step >= steps:
                break
            meter.add(*self._advance())
            if monitor is not None:
                monitor.step(self.step)
            if time.monotonic() - saved > _SAVE_EVERY_S and self.step < steps:
                self.save()
                saved = time.monotonic()
        if monitor is not None:
            monitor.close()
        self._write(self._folder.out, snapshot=False)
        self._folder.forget_state()

    def _monitor(self, every: int) -> Monitor | None:
        """What watches the memory, from where the run goes on; None without either."""
        if not every or not self._model.memory_layers:
            return None
        monitor = Monitor(
            self._model.model,  # the trunk is what a step calls
            self._folder.out / RECORD_FOLDER,
            every=every,
            window=min(every, WINDOW),
            padding=self._tokenizer.pad_token_id,
        )
        monitor.begin(self.step)
        return monitor

    def save(self) -> None:
        """Save the state, to go on from here."""
        self._folder.save(self.step, self._model, self._optimizer)

    def _advance(self) -> tuple[int, float, int]:
        """One step: how many are done now, its loss, and the number of tokens it learned from."""
        with interrupted_only_after():
            batch = self._corpus.batch(self.step)
            loss = _train_step(
                self._model, self._optimizer, batch, self._config, self.step, self._device
            )
            if not math.isfinite(loss):
                raise TrainingError(
                    f"The loss is {loss} at step {self.step}: training has come apart. A smaller "
                    "lr or value_lr, or a longer warmup, would help."
                )
            self.step += 1
        return self.step, loss, int((batch.weights > 0).sum())

    def _write(self, out: Path, *, snapshot: bool) -> None:
        """Write the checkpoint, and after it the record that says it is whole."""
        facts = None if snapshot else self._world.facts
        dtype = self._config.table_dtype
        save_checkpoint(out, self._model, self._tokenizer, facts, table_dtype=dtype)
        made_from = {
            "facts": dict(Counter(fact.relation for fact in self._world.facts)),
            "dropped": dict(self._world.dropped),
            "sources": list(self._world.sources),
            "torch": torch.__version__,
            "device": torch.device(self._device).type,
        }
        if snapshot:
            made_from["snapshot_of"] = self._folder.out.name
        self._folder.write_record(out, self.step, made_from)


def build_model(
    config: TrainingConfig, tokenizer: PreTrainedTokenizerFast
) -> MemoryLlamaForCausalLM:
    """A freshly initialised model of ``config`` for ``tokenizer``.

    Raises:
        ConfigError: its ``model`` entries make no model.
    """
    known = {entry.name for entry in dataclasses.fields(MemoryLlamaConfig)}
    if unknown := sorted(set(config.model) - known):
        raise ConfigError(
            f"model.{', model.'.join(unknown)} is unknown; what counts is what MemoryLlamaConfig "
            f"has: {', '.join(sorted(known))}."
        )
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    settings = {"vocab_size": len(tokenizer), **special, **config.model}
    try:
        return MemoryLlamaForCausalLM(MemoryLlamaConfig(**settings))
    except Exception as error:  # noqa: BLE001  transformers' validators raise many kinds
        raise ConfigError(f"The model entries make no model: {error}") from None


def _check_positions(corpus: Corpus, model: MemoryLlamaForCausalLM) -> None:
    positions = model.config.max_position_embeddings
    if corpus.longest > positions:
        raise ConfigError(
            f"model.max_position_embeddings = {positions}, but the longest sentence has "
            f"{corpus.longest} tokens."
        )


def _optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    tables = [m.weight for m in model.modules() if isinstance(m, ValueTable)]
    memory = {
        id(p) for m in model.modules() if isinstance(m, ProductKeyMemory) for p in m.parameters()
    }
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for parameter in model.parameters():
        if any(parameter is table for table in tables):
            continue
        backbone = parameter.ndim > 1 and id(parameter) not in memory
        (decayed if backbone else kept).append(parameter)
    hp = config.optimisation
    groups: list[dict[str, Any]] = [
        {"params": decayed, "lr": hp.lr, "weight_decay": hp.weight_decay},
        {"params": kept, "lr": hp.lr, "weight_decay": 0.0},
        {"params": tables, "lr": hp.value_lr, "weight_decay": 0.0},
    ]
    groups = [{**group, "peak": group["lr"]} for group in groups if group["params"]]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def _train_step(
    model: MemoryLlamaForCausalLM,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: TrainingConfig,
    step: int,
    device: str,
) -> float:
    hp = config.optimisation
    warm = min(1.0, (step + 1) / hp.warmup)
    rate = warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / hp.steps)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * rate
    kind = torch.device(device).type  # "cuda" of "cuda:1"
    with torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"):
        loss = answer_loss(model, batch, device)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def answer_loss(model: MemoryLlamaForCausalLM, batch: Batch, device: str) -> torch.Tensor:
    """Weighted mean cross-entropy in nats; padding is cut before the head, the largest matrix."""
    with nullcontext() if batch.source is None else intervened(model, batch.source.to(device)):
        hidden = model.model(batch.ids.to(device)).last_hidden_state
    real = batch.weights > 0
    logits = model.lm_head(hidden[real.to(device)]).float()
    each = functional.cross_entropy(logits, batch.targets[real].to(device), reduction="none")
    weights = batch.weights[real].to(device)
    return (each * weights).sum() / weights.sum()


def _keep_freed_memory() -> None:
    """Have malloc keep its memory: returning it to the system made a step 2-3 times slower."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
