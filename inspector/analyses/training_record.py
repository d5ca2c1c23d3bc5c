"""What a monitor wrote down while a model trained: how its memory was used, step after step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from inspector.errors import TrainingError

FOLDER: Final = "monitor"
"""The folder of a run's record, in the folder of the run."""
FORMAT: Final = 1
ABOUT: Final = b"memory_inspector_monitor"
QUANTILES: Final = (0, 5, 25, 50, 75, 95, 100)
NORMS: Final = tuple(f"norm_{percent}" for percent in QUANTILES)

_KEYS: Final = ("step", "table", "site")
SCHEMA: Final = pa.schema(
    [
        ("step", pa.int64()),
        ("seconds", pa.float64()),  # since the epoch
        ("table", pa.int64()),
        ("site", pa.string()),  # null: all sites of the table
        ("steps", pa.int64()),
        ("tokens", pa.int64()),
        ("reads", pa.int64()),
        ("slots", pa.int64()),
        ("slots_read", pa.int64()),
        ("usage", pa.float64()),
        ("unevenness", pa.float64()),
        ("unevenness_share", pa.float64()),
        ("effective", pa.float64()),
        ("gini", pa.float64()),
        ("weighted_unevenness", pa.float64()),
        ("weighted_effective", pa.float64()),
        ("half_keys", pa.int64()),
        ("half_keys_unread", pa.int64()),
        ("half_keys_dead", pa.int64()),
        *((name, pa.float64()) for name in NORMS),
    ]
)
"""One row a step, table and site; ``site`` is null for all the sites of a table together.

``tokens`` distinct prefixes were counted over the last ``steps`` steps (every position where the
ids were not known). ``half_keys_unread`` were not read there at all; ``half_keys_dead`` of all are
read significantly less often than a tenth of uniform use gives (see ``verdicts``). ``norm_5`` is
the 5th percentile of the values' norms.
"""


@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """A record: ``frame`` by ascending step as in ``SCHEMA``, and ``about`` the run."""

    path: Path
    frame: pd.DataFrame
    about: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Refuse a frame that is no record."""
        if list(self.frame.columns) != SCHEMA.names:
            raise ValueError(f"columns {list(self.frame.columns)}, expected {SCHEMA.names}")
        if not self.frame["step"].is_monotonic_increasing:
            raise ValueError("steps are not in order")

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps with a record, ascending."""
        return tuple(int(step) for step in self.frame["step"].unique())

    @property
    def tables(self) -> tuple[int, ...]:
        """Numbers of the value tables."""
        return tuple(int(table) for table in sorted(self.frame["table"].unique()))

    def of(self, table: int, site: str | None = None) -> pd.DataFrame:
        """The rows of one table over all its sites, or of one site of it."""
        rows = self.frame[self.frame["table"] == table]
        return rows[rows["site"].isna() if site is None else rows["site"] == site]

    def sites_of(self, table: int) -> tuple[str, ...]:
        """Sites that read a table, in the order of the model."""
        return tuple(self.frame[self.frame["table"] == table]["site"].dropna().unique())

    def to_frame(self) -> pd.DataFrame:
        """One row a step, table and site."""
        return self.frame.copy()


def record_folder(path: Path) -> Path | None:
    """Where the record at ``path`` lies: in it, or in its ``monitor``; None if there is none."""
    for folder in (path / FOLDER, path):
        if folder.is_dir() and any(folder.glob("part-*.parquet")):
            return folder
    return None


def read_training_record(path: Path) -> TrainingRecord:
    """Read a record, also one that is being written: what is complete by now.

    Args:
        path: the folder of a run, its ``monitor``, or one ``.parquet`` file of it.

    Raises:
        TrainingError: there is no record, or it is broken.
    """
    if path.is_file():
        files = [path]
    else:
        folder = record_folder(path)
        if folder is None:
            raise TrainingError(
                f"{path} holds no record of a training: `inspector train` and the monitor write "
                f"one to {FOLDER}/part-*.parquet in the folder of a run."
            )
        files = sorted(folder.glob("part-*.parquet"))
    tables = [table for file in files if (table := _read(file)) is not None]
    if not tables:
        raise TrainingError(f"The record {path} has just gone: nothing could be read.")
    about = json.loads(tables[-1].schema.metadata[ABOUT])
    frame = pd.concat([table.to_pandas() for table in tables], ignore_index=True)
    # Where parts were just joined into one, both may be there: the same rows twice.
    frame = frame.drop_duplicates(list(_KEYS), keep="last")
    frame = frame.sort_values("step", kind="stable", ignore_index=True)
    return TrainingRecord(path, frame, about)


def _read(file: Path) -> pa.Table | None:
    """One part; None if it was joined with others while they were being listed."""
    try:
        table = pq.read_table(file)
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError) as error:
        raise TrainingError(f"{file} is no part of a record: {error}.") from None
    if ABOUT not in (table.schema.metadata or {}) or table.schema.names != SCHEMA.names:
        raise TrainingError(
            f"{file} is no part of a record: it has the columns {table.schema.names}."
        )
    return table


def norm_quantiles(norms: np.ndarray) -> dict[str, float]:
    """Quantiles of ``norms [slot]`` under their names in a record."""
    found = np.percentile(norms, QUANTILES)
    return {name: float(value) for name, value in zip(NORMS, found, strict=True)}
