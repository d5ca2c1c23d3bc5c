"""Distributed checkpoints: pieces are put together, other files are left alone, no code runs."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.checkpoint import filesystem, metadata

from inspector.errors import CheckpointError, UnsafeCheckpoint
from inspector.families.dcp import read_dcp
from tests.families.tiny_meta import params, random_state, write_dcp

STATE = random_state(params(), 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dcp(tmp_path / "step", params(), STATE)


def write_pieces(folder: Path, name: str, whole: Tensor, rows: list[tuple[int, int]]) -> None:
    """As processes that each hold some rows write them: a file a process."""
    folder.mkdir()
    chunks, places = [], {}
    for rank, (start, end) in enumerate(rows):
        buffer = io.BytesIO()
        torch.save(whole[start:end].clone(), buffer)
        file = f"__{rank}_0.distcp"
        (folder / file).write_bytes(b"before" + buffer.getvalue() + b"after")
        offsets = torch.Size([start, 0])
        chunks.append(metadata.ChunkStorageMetadata(offsets, whole[start:end].shape))
        places[metadata.MetadataIndex(name, offsets)] = filesystem._StorageInfo(
            file, 6, len(buffer.getvalue())
        )
    properties = metadata.TensorProperties(dtype=whole.dtype)
    entry = metadata.TensorStorageMetadata(properties, whole.shape, chunks)
    described = metadata.Metadata({name: entry}, storage_data=places)
    (folder / ".metadata").write_bytes(pickle.dumps(described))


def test_the_models_tensors_are_read_and_no_others(folder: Path) -> None:
    found, joined = read_dcp(folder)
    assert joined == ()
    assert found.keys() == STATE.keys()
    for name, expected in STATE.items():
        assert torch.equal(found[name], expected)
        assert found[name].dtype == expected.dtype


def test_a_tensor_in_pieces_is_put_together(tmp_path: Path) -> None:
    whole = torch.randn(10, 3)
    write_pieces(tmp_path / "step", "model.x", whole, [(4, 7), (0, 4), (7, 10)])
    found, joined = read_dcp(tmp_path / "step")
    assert joined == ("x",)
    assert torch.equal(found["x"], whole)


@pytest.mark.parametrize("rows", [[(0, 4)], [(0, 4), (4, 8)], [(0, 4), (2, 10)]])
def test_pieces_that_make_no_whole_are_refused(tmp_path: Path, rows: Any) -> None:
    whole = torch.randn(10, 3)
    write_pieces(tmp_path / "step", "model.x", whole, rows)
    with pytest.raises(CheckpointError, match=r"the pieces of model\.x do not make"):
        read_dcp(tmp_path / "step")


def test_pieces_that_lie_over_each_other_are_refused(tmp_path: Path) -> None:
    whole = torch.randn(10, 3)
    write_pieces(tmp_path / "step", "model.x", whole, [(0, 6), (4, 8)])
    with pytest.raises(CheckpointError, match=r"two pieces of model\.x lie over each other"):
        read_dcp(tmp_path / "step")


def test_a_piece_outside_of_its_tensor_is_refused(tmp_path: Path, folder: Path) -> None:
    described = pickle.loads((folder / ".metadata").read_bytes())  # noqa: S301  our own
    name = next(iter(described.state_dict_metadata))
    entry = described.state_dict_metadata[name]
    entry.size = torch.Size([2 * entry.size[0], *entry.size[1:]])
    (place,) = [index for index in described.storage_data if index.fqn == name]
    again = metadata.MetadataIndex(name, torch.Size([entry.size[0], *place.offset[1:]]))
    described.storage_data[again] = described.storage_data[place]
    (folder / ".metadata").write_bytes(pickle.dumps(described))
    with pytest.raises(CheckpointError, match="lies outside of"):
        read_dcp(folder)


def test_a_name_that_is_no_text_is_refused_without_being_told(folder: Path) -> None:
    nested: Any = ("x",)
    for _ in range(60):  # told in full it would fill any memory
        nested = (nested, nested)
    described = pickle.loads((folder / ".metadata").read_bytes())  # noqa: S301  our own
    place = next(iter(described.storage_data))
    described.storage_data[place] = filesystem._StorageInfo(nested, 0, 10)
    (folder / ".metadata").write_bytes(pickle.dumps(described))
    with pytest.raises(CheckpointError, match="a tuple stands in it for a name"):
        read_dcp(folder)


def test_nothing_is_imported_that_the_metadata_names(tmp_path: Path, folder: Path) -> None:
    mark = tmp_path / "mark"

    class Attack:
        def __reduce__(self) -> Any:
            return (os.system, (f"touch {mark}",))

    (folder / ".metadata").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(UnsafeCheckpoint, match=r"names posix\.system.*It was not run"):
        read_dcp(folder)
    assert not mark.exists()


@pytest.mark.parametrize("file", ["../outside.distcp", "/etc/passwd", "inner/x.distcp"])
def test_files_outside_of_the_folder_are_not_read(tmp_path: Path, file: str) -> None:
    write_pieces(tmp_path / "step", "model.x", torch.ones(2, 3), [(0, 2)])
    described = filesystem.FileSystemReader(tmp_path / "step").read_metadata()
    for info in described.storage_data.values():
        info.relative_path = file
    (tmp_path / "step" / ".metadata").write_bytes(pickle.dumps(described))
    with pytest.raises(UnsafeCheckpoint, match="outside of it"):
        read_dcp(tmp_path / "step")


@pytest.mark.parametrize("kept", [0, 10, 1000])
def test_a_metadata_that_was_cut_short(folder: Path, kept: int) -> None:
    os.truncate(folder / ".metadata", kept)
    with pytest.raises(CheckpointError, match="cut short"):
        read_dcp(folder)


@pytest.mark.parametrize("kept", [0, 10, 5000, 60_000])
def test_tensors_that_were_cut_short(folder: Path, kept: int) -> None:
    os.truncate(folder / "__0_0.distcp", kept)
    with pytest.raises(CheckpointError, match=r"cut short|is empty"):
        read_dcp(folder)


def test_a_file_that_is_missing_is_named(folder: Path) -> None:
    (folder / "__0_0.distcp").unlink()
    with pytest.raises(CheckpointError, match=r"has no __0_0\.distcp, in which model\."):
        read_dcp(folder)


@pytest.mark.parametrize("value", [3, [], {"a": 1}, metadata.Metadata({})])
def test_a_metadata_of_something_else(folder: Path, value: Any) -> None:
    (folder / ".metadata").write_bytes(pickle.dumps(value))
    with pytest.raises(CheckpointError, match=r"is not what torch\.distributed\.checkpoint"):
        read_dcp(folder)
