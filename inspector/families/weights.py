"""Checks of weights as they are read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor

from inspector.errors import CheckpointError

_WHOLE: Final = 2**26  # numbers; of a larger tensor, rows drawn at random are looked at
_ROWS: Final = 4096
_FLOATS: Final = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def some_rows(tensor: Tensor, seed: int = 0) -> Tensor:
    """``tensor`` itself, or of a large one as many rows as can be read at once, at random."""
    if tensor.numel() <= _WHOLE or tensor.ndim < 2:
        return tensor
    generator = torch.Generator().manual_seed(seed)
    return tensor[torch.randint(len(tensor), (_ROWS,), generator=generator).to(tensor.device)]


def check_finite(source: str, name: str, tensor: Tensor) -> None:
    """Refuse weights that are no numbers. Of a table larger than memory, rows drawn at random.

    Raises:
        CheckpointError: ``tensor`` holds NaN or infinite numbers, or is of another kind.
    """
    if tensor.dtype not in _FLOATS:
        raise CheckpointError(
            f"{source}: {name} is stored as {tensor.dtype}; expected floating-point numbers of 64, "
            "32 or 16 bits."
        )
    if not torch.isfinite(some_rows(tensor)).all():
        raise CheckpointError(f"{source}: {name} holds NaN or infinite numbers.")


def sampling_notes(tables: Iterable[Tensor]) -> tuple[str, ...]:
    """What is to be said where tables were too large to look at every number of theirs."""
    large = [table for table in tables if table.numel() > _WHOLE]
    if not large:
        return ()
    rows = " and ".join(f"{len(table):,}" for table in large)
    return (
        f"The values are too many to read at once: of {rows} rows, {_ROWS:,} drawn at random were "
        "checked for numbers that are none. Others show when they are read.",
    )
