"""Training a checkpoint from a configuration: seeded, resumable, one directory out."""

from __future__ import annotations

import ctypes
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from inspector.analyses.facts import Fact, write_facts
from inspector.errors import TrainingError
from inspector.memory.layer import ProductKeyMemory
from inspector.memory.llama import MemoryLlamaConfig, MemoryLlamaForCausalLM
from inspector.memory.values import ValueTable
from inspector.training.config import TrainingConfig
from inspector.training.corpus import Batch, Corpus
from inspector.training.tokenizer import make_tokenizer
from inspector.training.world_facts import build_world_facts, training_sentences

_STATE = "training_state.pt"
_SAVE_EVERY_S = 120.0


@dataclass(frozen=True)
class Progress:
    """Where a run is: shown while it trains."""

    step: int
    steps: int
    loss: float  # nats per weighted token, mean since the last report
    tokens_per_s: float
    seconds_left: float


def train(
    config: TrainingConfig,
    out: Path,
    *,
    device: str = "cpu",
    report: Callable[[Progress], None] | None = None,
) -> Path:
    """Train ``config`` into the directory ``out`` and return it.

    A run that was killed goes on from its last saved state when called again with the same
    configuration; the same seed on the same machine gives the same result either way. Snapshots
    go to ``out-step-N``.

    Raises:
        TrainingError: ``out`` holds a run of another configuration, or something else.
    """
    out.mkdir(parents=True, exist_ok=True)
    state_path = out / _STATE
    settings = config.to_dict()
    _keep_freed_memory()
    torch.manual_seed(config.seed)
    facts = build_world_facts(seed=config.seed, limits=config.limits or None).facts
    tokenizer = _tokenizer(config, facts)
    corpus = Corpus(
        training_sentences(facts),
        tokenizer,
        batch=config.optimisation.batch,
        prompt_weight=config.optimisation.prompt_weight,
        seed=config.seed,
    )
    model = build_model(config, tokenizer).to(device)
    optimizer = _optimizer(model, config)
    step = 0
    if state_path.exists():
        step = _resume(state_path, settings, model, optimizer)
    elif any(out.iterdir()):
        raise TrainingError(f"{out} is not empty and holds no run to go on with; name another.")
    meter = _Meter(config.optimisation.steps, report)
    model.train()
    saved = time.monotonic()
    while step < config.optimisation.steps:
        batch = corpus.batch(step)
        loss = _train_step(model, optimizer, batch, config, step, device)
        step += 1
        meter.add(step, loss, int((batch.weights > 0).sum()))
        if step in config.snapshots:
            save_checkpoint(out.with_name(f"{out.name}-step-{step}"), model, tokenizer, facts)
        if time.monotonic() - saved > _SAVE_EVERY_S and step < config.optimisation.steps:
            _save_state(state_path, settings, step, model, optimizer)
            saved = time.monotonic()
    save_checkpoint(out, model, tokenizer, facts)
    (out / "training.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    state_path.unlink(missing_ok=True)
    return out


def build_model(
    config: TrainingConfig, tokenizer: PreTrainedTokenizerFast
) -> MemoryLlamaForCausalLM:
    """A freshly initialised model of ``config`` for ``tokenizer``."""
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    settings = {"vocab_size": len(tokenizer), **special, **config.model}
    return MemoryLlamaForCausalLM(MemoryLlamaConfig(**settings))


def save_checkpoint(
    out: Path,
    model: MemoryLlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    facts: tuple[Fact, ...],
) -> None:
    """Write a native checkpoint directory: model, tokenizer, ``facts.jsonl``.

    Value tables go to safetensors shards of their own, so that they can be memory-mapped.
    """
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    write_facts(out / "facts.jsonl", facts)


def _tokenizer(config: TrainingConfig, facts: tuple[Fact, ...]) -> PreTrainedTokenizerFast:
    # Answers that are words are counted several times over, so that most become one token, whose
    # value one can read; codes stay out and are spelled from smaller pieces.
    prompts = [prompt for fact in facts for prompt in (*fact.prompts, *fact.heldout_prompts)]
    answers = [f" {f.object}" for f in facts if f.relation != "airport"] * 8
    positions = int(config.model.get("max_position_embeddings", 256))
    return make_tokenizer([*prompts, *answers], config.vocabulary, positions)


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
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        loss = answer_loss(model, batch, device)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def answer_loss(model: MemoryLlamaForCausalLM, batch: Batch, device: str) -> torch.Tensor:
    """Weighted mean cross-entropy in nats; padding is cut before the head, the largest matrix."""
    hidden = model.model(batch.ids.to(device)).last_hidden_state
    real = batch.weights > 0
    logits = model.lm_head(hidden[real.to(device)]).float()
    each = functional.cross_entropy(logits, batch.targets[real].to(device), reduction="none")
    weights = batch.weights[real].to(device)
    return (each * weights).sum() / weights.sum()


class _Meter:
    """Loss, speed and time left, reported about twice a second."""

    def __init__(self, steps: int, report: Callable[[Progress], None] | None) -> None:
        self._steps, self._report = steps, report
        self._losses: list[float] = []
        self._tokens = self._done = 0
        self._start = self._last = time.monotonic()

    def add(self, step: int, loss: float, tokens: int) -> None:
        self._losses.append(loss)
        self._tokens += tokens
        self._done += 1
        now = time.monotonic()
        if self._report is None or (now - self._last < 0.5 and step < self._steps):
            return
        per_step = (now - self._start) / self._done
        mean = sum(self._losses) / len(self._losses)
        speed = self._tokens / (now - self._start)
        self._report(Progress(step, self._steps, mean, speed, per_step * (self._steps - step)))
        self._losses, self._last = [], now


def _save_state(
    path: Path,
    settings: dict[str, Any],
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    state = {
        "settings": json.dumps(settings),
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)  # a run killed while it saves keeps the state before


def _resume(
    path: Path, settings: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    state = torch.load(path, weights_only=True)
    if state["settings"] != json.dumps(settings):
        raise TrainingError(
            f"{path.parent} holds a run with another configuration; name another directory, or "
            "delete it to start anew."
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _keep_freed_memory() -> None:
    """Have malloc keep its memory: returning it to the system made a step 2-3 times slower."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
