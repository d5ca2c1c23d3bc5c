"""A checkpoint whose values are planted clusters, each about one token."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from inspector.capture.load import load
from inspector.families.base import MemoryModel
from tests.families.damage import change_tensors

HALF_KEYS = 20
SLOTS = HALF_KEYS**2
TABLE = "model.value_tables.0.weight"


def planted_values(model: MemoryModel, tokens: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """Values ``[slot d_model]``, each a token's unembedding and noise; and which token's."""
    random = np.random.default_rng(4)
    about = random.integers(0, len(tokens), SLOTS)
    heads = model.backbone.unembedding()[torch.from_numpy(tokens[about])]
    heads = 6 * heads / heads.norm(dim=-1, keepdim=True)
    noise = random.standard_normal(heads.shape).astype(np.float32)
    return heads + 0.2 * torch.from_numpy(noise), about


def write_map_model(
    tiny_checkpoint: Callable[..., Path],
    folder: Path,
    tokens: np.ndarray,
    change: Callable[[torch.Tensor], None] | None = None,
) -> tuple[Path, np.ndarray]:
    """The checkpoint, whose values reach the residual stream as they are; and each slot's token."""
    source = tiny_checkpoint(memory_projection="none", memory_half_keys=HALF_KEYS)
    values, about = planted_values(load(source, device="cpu"), tokens)
    if change is not None:
        change(values)
    path = Path(shutil.copytree(source, folder))
    change_tensors(path, lambda tensors: tensors.update({TABLE: values.contiguous()}))
    return path, about


def load_spoilt(path: Path, change: Callable[[torch.Tensor], None]) -> MemoryModel:
    """The checkpoint with values that loading refuses where it sees them: a table may be too large
    for it to look at every row."""
    model = load(path, device="cpu")
    with torch.no_grad():
        change(model.tables[0].weight)
    return model
