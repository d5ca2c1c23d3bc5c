"""Where the decoding of a whole table is kept: a folder of Parquet files, one for each block.

A block is written to a temporary name and renamed, so that what is there is whole; work that was
stopped goes on with the blocks that are missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from inspector.capture.cache import cache_folder, cache_key, replacing
from inspector.errors import CacheError

Columns = dict[str, np.ndarray]

BLOCK: Final = 2_048  # slots in a file
PAIRED: Final = ("promoted", "promoted_logits", "suppressed", "suppressed_logits")  # [slot top]
SINGLE: Final = ("standing", "p_value", "fallback")  # [slot]
_TYPES: Final = {
    **dict.fromkeys(("promoted", "suppressed"), np.int32),
    **dict.fromkeys(("promoted_logits", "suppressed_logits", "standing"), np.float32),
    "p_value": np.float64,
    "fallback": np.bool_,
}
_ABOUT: Final = b"inspector"
_LAST: Final = "p_values.parquet"


def empty_columns(slots: int, top: int) -> Columns:
    """Columns for ``slots`` slots, to be filled."""
    wide: Columns = {name: np.empty((slots, top), dtype=_TYPES[name]) for name in PAIRED}
    return wide | {name: np.empty(slots, dtype=_TYPES[name]) for name in SINGLE}


class DecodedStore:
    """The blocks of one decoding, or none where nothing is to be kept."""

    def __init__(self, parameters: Mapping[str, Any] | None) -> None:
        """Of the decoding that ``parameters`` (plain values) decide; None keeps nothing."""
        self.note = ""
        self._about = json.dumps(parameters, sort_keys=True).encode()
        self._folder: Path | None = None
        if parameters is not None:
            self._folder = cache_folder() / "decodings" / cache_key(parameters)

    def read(self, start: int, columns: Columns) -> bool:
        """Fill ``columns`` (views of the block that begins at slot ``start``), if it's kept."""
        if self._folder is None or not self._file(start).is_file():
            return False
        try:
            found = pq.ParquetFile(self._file(start), memory_map=True).read()
        except (OSError, pa.ArrowException):
            return False  # a broken block is made again
        if (found.schema.metadata or {}).get(_ABOUT) != self._about:
            return False
        if found.num_rows != len(columns["standing"]):
            return False
        for name, column in columns.items():
            flat = found.column(name).combine_chunks()
            if name in PAIRED:
                flat = flat.flatten()
            column[...] = flat.to_numpy(zero_copy_only=False).reshape(column.shape)
        return True

    def write(self, start: int, columns: Columns) -> None:
        """Keep a block. Where that fails, ``note`` says why and nothing more is kept."""
        if self._folder is None:
            return
        fields = {
            name: pa.FixedSizeListArray.from_arrays(pa.array(column.ravel()), column.shape[1])
            if name in PAIRED
            else pa.array(column)
            for name, column in columns.items()
        }
        self._keep(self._file(start).name, pa.table(fields))

    def read_p_values(self) -> np.ndarray | None:
        """The p-values ``[slot]`` of the whole table, kept last: None where it isn't done."""
        if self._folder is None or not (self._folder / _LAST).is_file():
            return None
        try:
            found = pq.read_table(self._folder / _LAST)
        except (OSError, pa.ArrowException):
            return None
        if (found.schema.metadata or {}).get(_ABOUT) != self._about:
            return None
        return np.asarray(found.column("p_value").to_numpy())

    def write_p_values(self, p_values: np.ndarray) -> None:
        """Keep the p-values ``[slot]`` of the whole table, which makes it whole."""
        self._keep(_LAST, pa.table({"p_value": p_values}))

    def _keep(self, name: str, table: pa.Table) -> None:
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with replacing(self._folder / name) as temporary:
                pq.write_table(table.replace_schema_metadata({_ABOUT: self._about}), temporary)
        except (OSError, CacheError) as problem:
            self.note = f"{problem} The decoding was not cached."
            self._folder = None

    def _file(self, start: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{start:010}.parquet"
