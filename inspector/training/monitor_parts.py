"""Where a monitor writes: a folder of small Parquet parts, each written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from inspector.analyses.training_record import ABOUT, FORMAT, SCHEMA
from inspector.capture.cache import replacing
from inspector.errors import TrainingError

_MOST_PARTS: Final = 64


class RecordParts:
    """A growing record: a part for each step recorded, joined now and then into one.

    Parts are named after their first and last step. A reader never meets half a part; where a
    process was killed while joining, rows are there twice and the reader takes them once.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write to ``folder``; ``about`` says what is recorded."""
        self._folder = folder
        metadata = {ABOUT: json.dumps({"format": FORMAT, **about}).encode()}
        self._schema = SCHEMA.with_metadata(metadata)

    def add(self, rows: Sequence[Mapping[str, Any]], step: int) -> None:
        """Keep the rows of ``step``.

        Raises:
            TrainingError: they cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"{self._folder} cannot be made: {error.strerror}.") from None
        self._write(pa.Table.from_pylist(list(rows), self._schema), step, step)
        parts = self._parts()
        if len(parts) > _MOST_PARTS:
            self._join(parts)

    def forget_after(self, step: int) -> None:
        """Drop what was recorded after ``step``: the run goes on from there."""
        for file, first, last in self._parts():
            if first > step:
                file.unlink()
            elif last > step:
                kept = self._read(file)
                kept = kept.filter(pa.compute.less_equal(kept["step"], step))
                self._write(kept, first, step)
                file.unlink()

    def _join(self, parts: list[tuple[Path, int, int]]) -> None:
        tables = [self._read(file) for file, _, _ in parts]
        self._write(pa.concat_tables(tables), parts[0][1], parts[-1][2])
        for file, _, _ in parts:
            file.unlink()

    def _read(self, file: Path) -> pa.Table:
        return pq.read_table(file).cast(self._schema)

    def _write(self, table: pa.Table, first: int, last: int) -> None:
        with replacing(self._folder / f"part-{first:09}-{last:09}.parquet") as part:
            pq.write_table(table, part)

    def _parts(self) -> list[tuple[Path, int, int]]:
        """Files with their first and last step, ascending."""
        found = []
        for file in sorted(self._folder.glob("part-*.parquet")):
            _, first, last = file.stem.split("-")
            found.append((file, int(first), int(last)))
        return found
