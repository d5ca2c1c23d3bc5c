"""Changing what a native checkpoint holds, and opening what is left of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from inspector.families import native  # noqa: F401  registers itself
from inspector.families.base import MemoryModel
from inspector.families.registry import open_checkpoint

TABLE = "model.value_tables.0.weight"
CPU = torch.device("cpu")


def opened(path: Path, dtype: torch.dtype | None = None) -> MemoryModel:
    return open_checkpoint(path, device=CPU, dtype=dtype)


def change_tensors(path: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    file = path / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def change_config(path: Path, **fields: Any) -> None:
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
