"""A tiny checkpoint with planted dead half-keys, and text on which they are found to be dead."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from inspector.analyses.facts import Fact, write_facts
from tests.conftest import SENTENCES
from tests.families.damage import change_tensors
from tests.families.tiny_native import write_checkpoint

HALF_KEYS = 16
KEYS = "model.layers.{}.mlp.half_key_scores.half_keys"
PLANTED = {("L0", 0, 0): (3, 7), ("L2", 1, 1): (5,)}  # site, head, half: half-keys


def write_planted(folder: Path) -> Path:
    """Planted half-keys are so short that next to no query prefers them; it ships two facts."""
    write_checkpoint(folder, SENTENCES, seed=3, memory_half_keys=HALF_KEYS, hidden_size=16)
    change_tensors(folder, _shorten)
    facts = [Fact("capital", name, "Lima", (f"The capital of {name} is",)) for name in "AB"]
    write_facts(folder / "facts.jsonl", facts)
    return folder


def _shorten(tensors: dict[str, torch.Tensor]) -> None:
    for (site, head, half), items in PLANTED.items():
        tensors[KEYS.format(site[1:])][head, half, list(items)] *= 1e-3


def planted_texts() -> list[str]:
    draw = random.Random(0)
    words = [word for sentence in SENTENCES for word in sentence.split()]
    return [" ".join(draw.choices(words, k=12)) for _ in range(400)]
