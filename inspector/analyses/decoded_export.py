"""Decoded tables in one Parquet file, for other programs to read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from inspector.analyses.decoded_store import BLOCK
from inspector.analyses.decoded_table import DecodedTable
from inspector.capture.cache import replacing
from inspector.errors import CacheError
from inspector.families.base import MemoryModel


def write_decodings(path: Path, model: MemoryModel, decodings: Sequence[DecodedTable]) -> None:
    """Write ``decodings`` to ``path``, a row for each slot of each, as ``to_frame`` has them.

    Token ids stand beside the texts, and the file's metadata names the checkpoint. The file is
    written under a temporary name first.

    Raises:
        CacheError: it cannot be written.
    """
    about = json.dumps({"checkpoint": model.name, "fingerprint": model.fingerprint}).encode()
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            writer: pq.ParquetWriter | None = None
            for table in _blocks(decodings):
                if writer is None:
                    schema = table.schema.with_metadata({b"inspector": about})
                    writer = pq.ParquetWriter(file, schema)
                writer.write_table(table.cast(writer.schema))
            if writer is not None:
                writer.close()
    except OSError as problem:
        raise CacheError(f"{path} cannot be written: {problem.strerror or problem}.") from None


def _blocks(decodings: Sequence[DecodedTable]) -> Iterator[pa.Table]:
    for decoded in decodings:
        significant = decoded.significant
        for start in range(0, len(decoded), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(decoded)))
            yield _table(decoded, rows, significant[rows])


def _table(decoded: DecodedTable, rows: np.ndarray, significant: np.ndarray) -> pa.Table:
    columns: dict[str, pa.Array] = {
        "site": pa.array([decoded.site] * len(rows)),
        "gate": pa.array([decoded.gate] * len(rows)),
        "slot": pa.array(rows),
    }
    for end in ("promoted", "suppressed"):
        ids = getattr(decoded, end)[rows]
        columns[end] = pa.array([decoded.texts(row) for row in ids], pa.list_(pa.string()))
        columns[f"{end}_ids"] = pa.array(list(ids), pa.list_(pa.int32()))
        logits = getattr(decoded, f"{end}_logits")[rows]
        columns[f"{end}_logits"] = pa.array(list(logits), pa.list_(pa.float32()))
    for name in ("standing", "p_value", "passes"):
        columns[name] = pa.array(getattr(decoded, name)[rows])
    columns["significant"] = pa.array(significant)
    columns["fallback"] = pa.array(decoded.fallback[rows])
    return pa.table(columns)
