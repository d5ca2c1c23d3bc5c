"""Blocks of a decoding on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from inspector.analyses.decoded_store import DecodedStore, empty_columns

ABOUT = {"fingerprint": "f", "top": 3}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path))
    return tmp_path


def filled(slots: int = 5) -> dict[str, np.ndarray]:
    columns = empty_columns(slots, 3)
    for number, column in enumerate(columns.values()):
        column[...] = (np.arange(column.size).reshape(column.shape) + number) % 2
    return columns


def test_a_block_comes_back_as_it_was(cache: Path) -> None:
    DecodedStore(ABOUT).write(2_048, filled())
    found = empty_columns(5, 3)
    assert DecodedStore(ABOUT).read(2_048, found)
    for name, column in filled().items():
        assert np.array_equal(found[name], column)
        assert found[name].dtype == column.dtype
    assert not DecodedStore(ABOUT).read(0, found)


def test_the_file_says_what_it_is_of(cache: Path) -> None:
    DecodedStore(ABOUT).write(0, filled())
    (file,) = cache.rglob("*.parquet")
    assert pq.read_schema(file).metadata[b"inspector"] == b'{"fingerprint": "f", "top": 3}'


def test_what_is_of_other_parameters_is_not_read(cache: Path) -> None:
    store = DecodedStore(ABOUT)
    store.write(0, filled())
    store.write_p_values(np.arange(5) / 5)
    (block, last) = sorted(cache.rglob("*.parquet"))
    DecodedStore(ABOUT | {"top": 4}).write(0, filled())
    other = next(file for file in cache.rglob("0*.parquet") if file != block)
    block.write_bytes(other.read_bytes())
    last.write_bytes(other.read_bytes())
    assert not store.read(0, empty_columns(5, 3))
    assert store.read_p_values() is None


def test_a_block_of_another_length_is_not_read() -> None:
    store = DecodedStore(ABOUT)
    store.write(0, filled(5))
    assert not store.read(0, empty_columns(4, 3))


def test_p_values_are_kept_last() -> None:
    store = DecodedStore(ABOUT)
    assert store.read_p_values() is None
    store.write_p_values(np.array([0.1, 1 / 3]))
    found = store.read_p_values()
    assert found is not None
    assert found.tolist() == [0.1, 1 / 3]


def test_nothing_is_kept_without_parameters(cache: Path) -> None:
    store = DecodedStore(None)
    store.write(0, filled())
    store.write_p_values(np.zeros(5))
    assert not store.read(0, empty_columns(5, 3))
    assert store.read_p_values() is None
    assert not list(cache.iterdir())
