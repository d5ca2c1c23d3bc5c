"""The scan that a static decoding of a checkpoint needs, over all it was trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from inspector.analyses.facts import Fact
from inspector.analyses.gates import FILE, measure_mean_gates, write_mean_gates
from inspector.families.base import MemoryModel
from inspector.training.world_facts import training_sentences


def equal_length_batches(
    model: MemoryModel, texts: Sequence[str], size: int = 256
) -> Iterator[Tensor]:
    """Encode ``texts`` into batches ``[batch pos]`` of equal length, so that none is padded."""
    by_length: dict[int, list[list[int]]] = defaultdict(list)
    for ids in model.tokenizer(list(texts)).input_ids:
        by_length[len(ids)].append(ids)
    for length in sorted(by_length):
        rows = by_length[length]
        for start in range(0, len(rows), size):
            yield torch.tensor(rows[start : start + size])


def write_training_gates(model: MemoryModel, facts: Sequence[Fact]) -> None:
    """Measure the mean gates over every training sentence and write them beside ``model``.

    A sentence is a prompt and its answer, each token read as in training; the end of text that
    follows is never read, only predicted.
    """
    texts = [f"{prompt} {answer}" for prompt, answer in training_sentences(facts)]
    corpus = f"all {len(texts):,} training sentences"
    gates = measure_mean_gates(model, equal_length_batches(model, texts), corpus)
    write_mean_gates(model.path / FILE, gates)


def has_gates(model: MemoryModel) -> bool:
    """Whether any site of ``model`` has a gate to measure."""
    return any(site.info.gated for site in model.sites.values())
