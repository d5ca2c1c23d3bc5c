"""Decoded tables as one Parquet file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from inspector.analyses.decoded_export import write_decodings
from inspector.analyses.decoded_table import decode_table
from inspector.capture.load import load
from inspector.errors import CacheError
from inspector.families.base import MemoryModel


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    plain = tiny_checkpoint(memory_projection="linear", memory_half_keys=50)
    return load(plain, device="cpu")


def test_the_file_holds_the_rows_of_all_frames(model: MemoryModel, tmp_path: Path) -> None:
    decodings = [decode_table(model, "L0", "raw", top=3), decode_table(model, "L2", top=3)]
    write_decodings(tmp_path / "d.parquet", model, decodings)
    found = pd.read_parquet(tmp_path / "d.parquet")
    expected = pd.concat([each.to_frame() for each in decodings], ignore_index=True)
    assert len(found) == 5_000
    for name in expected:
        rows = [
            list(v) if hasattr(v, "__len__") and not isinstance(v, str) else v for v in found[name]
        ]
        assert rows == expected[name].tolist()
    assert [list(row) for row in found["promoted_ids"][:2_500]] == decodings[0].promoted.tolist()
    about = json.loads(pq.read_schema(tmp_path / "d.parquet").metadata[b"inspector"])
    assert about == {"checkpoint": model.name, "fingerprint": model.fingerprint}
    assert [file.name for file in tmp_path.iterdir()] == ["d.parquet"]


def test_a_place_that_cannot_be_written_is_told(model: MemoryModel, tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="cannot be written"):
        write_decodings(tmp_path / "none" / "d.parquet", model, [decode_table(model, "L2", top=3)])
