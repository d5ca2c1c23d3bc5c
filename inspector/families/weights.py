"""Checks of weights as they are read."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from inspector.errors import CheckpointError

_WHOLE: Final = 2**26  # numbers; of a larger tensor, rows drawn at random are looked at
_ROWS: Final = 4096


def some_rows(tensor: Tensor, seed: int = 0) -> Tensor:
    """``tensor`` itself, or of a large one as many rows as can be read at once, at random."""
    if tensor.numel() <= _WHOLE or tensor.ndim < 2:
        return tensor
    generator = torch.Generator().manual_seed(seed)
    return tensor[torch.randint(len(tensor), (_ROWS,), generator=generator).to(tensor.device)]


def check_finite(source: str, name: str, tensor: Tensor) -> None:
    """Refuse weights that are no numbers. Of a table larger than memory, rows drawn at random.

    Raises:
        CheckpointError: ``tensor`` holds NaN or infinite numbers.
    """
    if not torch.isfinite(some_rows(tensor)).all():
        raise CheckpointError(f"{source}: {name} holds NaN or infinite numbers.")
