"""Where maps are kept: one Parquet file each in the cache folder, parameters in its metadata."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from inspector.analyses.gates import mean_gates
from inspector.analyses.usage_measures import table_reads
from inspector.analyses.value_map_record import MapSettings, ValueMap
from inspector.capture.cache import cache_folder, cache_key, replacing
from inspector.capture.usage import Usage
from inspector.errors import CacheError
from inspector.families.base import MemoryModel

_FOLDER: Final = "maps"
_VERSION: Final = 2  # another number for maps that are made in another way
_ABOUT: Final = b"value_map"
_PLAIN: Final = (
    *("fingerprint", "cluster_names", "named_by", "graph", "trustworthiness"),
    *("trust_k", "total", "sampled", "notes"),
)


def find(model: MemoryModel, settings: MapSettings, usage: Usage | None) -> ValueMap | None:
    """The map of ``settings`` in the cache folder; None if there is none, or it's broken."""
    path = place_of(model, settings, usage)
    if not path.is_file():
        return None
    with suppress(CacheError):
        return read_map(path)
    return None


def keep(model: MemoryModel, made: ValueMap, usage: Usage | None) -> ValueMap:
    """Keep a map in the cache folder; if that can't be, the map's ``notes`` say so."""
    path = place_of(model, made.settings, usage)
    try:
        write_map(path, made)
    except CacheError as problem:
        return dataclasses.replace(made, notes=(*made.notes, f"It is not kept: {problem}"))
    return made


def place_of(model: MemoryModel, settings: MapSettings, usage: Usage | None) -> Path:
    """The file that holds the map of ``settings``."""
    gates = mean_gates(model)
    parameters = {
        "version": _VERSION,
        "fingerprint": model.fingerprint,
        "settings": dataclasses.asdict(settings),
        "gates": None if gates is None else [gates.corpus, gates.tokens],
        "usage": _digest(model, settings, usage),
    }
    return cache_folder() / _FOLDER / f"{cache_key(parameters)}.parquet"


def _digest(model: MemoryModel, settings: MapSettings, usage: Usage | None) -> str | None:
    """Of the reads, where they decide which slots are on the map."""
    if usage is None or settings.table not in usage.tables:
        return None
    if model.tables[settings.table].slots <= settings.points:
        return None
    return hashlib.sha256(table_reads(usage, settings.table).tobytes()).hexdigest()


def write_map(path: Path, value_map: ValueMap) -> None:
    """Write a map to a Parquet file: a row for each point, all else in its metadata.

    Raises:
        CacheError: it cannot be written, or the disk is full.
    """
    about = {name: getattr(value_map, name) for name in _PLAIN}
    about["settings"] = dataclasses.asdict(value_map.settings)
    columns = {
        "slot": pa.array(value_map.slots.astype(np.int64)),
        "x": pa.array(value_map.xy[:, 0].astype(np.float32)),
        "y": pa.array(value_map.xy[:, 1].astype(np.float32)),
        "cluster": pa.array(value_map.clusters.astype(np.int32)),
        "neighbours": _lists(value_map.neighbours.astype(np.int64)),
        "distances": _lists(value_map.distances.astype(np.float32)),
    }
    table = pa.table(columns).replace_schema_metadata({_ABOUT: json.dumps(about)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise CacheError(f"{path.parent} cannot be made: {problem.strerror}.") from None
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_map(path: Path) -> ValueMap:
    """What ``write_map`` wrote.

    Raises:
        CacheError: it cannot be read.
    """
    try:
        table = pq.read_table(path).combine_chunks()
        about: dict[str, Any] = json.loads(table.schema.metadata[_ABOUT])
        settings = MapSettings(**about.pop("settings"))
        names, notes = tuple(about.pop("cluster_names")), tuple(about.pop("notes"))
        rows = table.num_rows
        return ValueMap(
            settings=settings,
            slots=table["slot"].to_numpy(),
            xy=np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1),
            neighbours=_flat(table["neighbours"]).reshape(rows, -1),
            distances=_flat(table["distances"]).reshape(rows, -1),
            clusters=table["cluster"].to_numpy(),
            cluster_names=names,
            notes=notes,
            **about,
        )
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as problem:
        raise CacheError(f"{path} holds no map ({problem}). Delete it.") from None


def _lists(matrix: np.ndarray) -> Any:
    """Rows of a matrix as a column of lists."""
    offsets = np.arange(len(matrix) + 1, dtype=np.int32) * matrix.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.ravel()))


def _flat(column: Any) -> np.ndarray:
    return np.asarray(column.combine_chunks().flatten().to_numpy())
