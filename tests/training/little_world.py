"""A training run of seconds: a few facts of every relation, two blocks, both with memory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from inspector.analyses.facts import TEMPLATES
from inspector.training import data, trainer
from inspector.training.config import Optimisation, TrainingConfig
from inspector.training.world_facts import WorldFacts, build_world_facts

LIMITS = dict.fromkeys(TEMPLATES, 14)
MODEL = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 48,
    "tie_word_embeddings": True,
    "memory_layers": [0, 1],
    "memory_heads": 2,
    "memory_knn": 4,
    "memory_half_keys": 8,
    "memory_d_key": 16,
}


def config_of(
    steps: int, *, model: Mapping[str, Any] | None = None, **settings: Any
) -> TrainingConfig:
    """A configuration of ``steps`` steps; ``model`` and ``settings`` replace single entries."""
    optimisation = Optimisation(steps=steps, batch=32, lr=1e-2, value_lr=3e-2, warmup=5)
    entries = {"name": "little", "vocabulary": 500, "limits": LIMITS, "optimisation": optimisation}
    return TrainingConfig(**{**entries, "model": {**MODEL, **(model or {})}, **settings})


def build_facts_once(patch: pytest.MonkeyPatch) -> None:
    """Let runs of every seed share their facts: building them takes most of a short run's time."""
    patch.setattr(data, "build_world_facts", _built)


def _built(seed: int, limits: Mapping[str, int] | None) -> WorldFacts:
    return _built_once(tuple(sorted((limits or {}).items())))


@cache
def _built_once(limits: tuple[tuple[str, int], ...]) -> WorldFacts:
    return build_world_facts(limits=dict(limits) or None)


def train_little_world(out: Path) -> Path:
    """A checkpoint that knows about half of its facts."""
    with pytest.MonkeyPatch.context() as patch:
        build_facts_once(patch)
        return trainer.train(config_of(240), out)
