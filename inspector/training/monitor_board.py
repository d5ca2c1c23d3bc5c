"""The same record for TensorBoard, where it is installed; nothing depends on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

_LEFT_OUT: Final = frozenset({"step", "seconds", "table", "site", "steps", "slots", "half_keys"})


class Board:
    """Writes each number of a record as a curve of its own."""

    def __init__(self, writer: Any) -> None:
        """``writer`` is a ``SummaryWriter``."""
        self._writer = writer

    def add(self, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Add the rows of one record."""
        for row in rows:
            place = f"memory/table{row['table']}" + (f"/{row['site']}" if row["site"] else "")
            for name, value in row.items():
                if name not in _LEFT_OUT and value is not None and math.isfinite(value):
                    self._writer.add_scalar(f"{place}/{name}", value, step)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def open_board(folder: Path) -> Board | None:
    """A board in ``folder/tensorboard``; None where TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return Board(SummaryWriter(log_dir=str(folder / "tensorboard")))
