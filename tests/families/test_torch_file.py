"""Files of torch.save: what is read is what was saved, where it lies, and nothing else."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inspector.errors import CheckpointError, CheckpointNotFound, UnsafeCheckpoint
from inspector.families.torch_file import MappedFile, read_torch_file

TYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool]


def saved(tmp_path: Path, value: Any) -> Path:
    path = tmp_path / "saved.pt"
    torch.save(value, path)
    return path


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(6, 4, generator=generator)
    value = {
        **{str(t): (torch.randn(3, 5, generator=generator) * 3).to(t) for t in TYPES},
        "turned": base.T,
        "part": base[1:4, ::2],
        "empty": torch.empty(0, 7),
        "number": torch.tensor(3.5),
        "parameter": nn.Parameter(base.clone()),
        "plain": [1, "two", (3.0, None)],
    }
    found = read_torch_file(saved(tmp_path, value))
    assert found.keys() == value.keys()
    for name, expected in value.items():
        if isinstance(expected, Tensor):
            assert torch.equal(found[name], expected), name
            assert found[name].dtype == expected.dtype
        else:
            assert found[name] == expected


def test_tensors_lie_in_the_file_and_writing_never_reaches_it(tmp_path: Path) -> None:
    path = saved(tmp_path, {"a": torch.ones(4, 4)})
    before = path.read_bytes()
    read_torch_file(path)["a"].zero_()
    assert path.read_bytes() == before
    assert torch.equal(read_torch_file(path)["a"], torch.ones(4, 4))


def test_tensors_that_share_numbers_still_do(tmp_path: Path) -> None:
    table = torch.randn(8, 2)
    found = read_torch_file(saved(tmp_path, {"a": table, "b": table}))
    assert found["a"].data_ptr() == found["b"].data_ptr()


def test_parts_that_hold_themselves_end(tmp_path: Path) -> None:
    circle: list[Any] = [torch.ones(2)]
    circle.append(circle)
    found = read_torch_file(saved(tmp_path, circle))
    assert found[1] is found


def test_parts_that_are_shared_are_read_once(tmp_path: Path) -> None:
    doubled: list[Any] = [torch.ones(2)]
    for _ in range(200):  # 2^200 parts, if each were followed
        doubled = [doubled, doubled]
    found = read_torch_file(saved(tmp_path, doubled))
    assert found[0] is found[1]


def test_reading_at_random_is_only_advice(tmp_path: Path) -> None:
    path = saved(tmp_path, torch.randn(3000, 4))
    file = MappedFile(path)
    whole = file.numbers(0, torch.uint8, file.size)
    file.read_at_random(whole[5000:9000])
    assert bytes(whole.tolist()) == path.read_bytes()
    file.read_at_random(torch.ones(3))  # lies elsewhere


def test_a_tensor_larger_than_its_record_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, torch.ones(1000))
    other = tmp_path / "other.pt"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            target.writestr(entry, content[:400] if "/data/" in entry.filename else content)
    with pytest.raises(CheckpointError, match="cut short"):
        read_torch_file(other)


def test_packed_records_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, torch.ones(1000))
    other = tmp_path / "other.pt"
    with (
        zipfile.ZipFile(path) as source,
        zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    with pytest.raises(UnsafeCheckpoint, match="never compresses"):
        read_torch_file(other)


def test_sparse_tensors_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, torch.eye(3).to_sparse())
    with pytest.raises(CheckpointError):
        read_torch_file(path)


def test_a_file_that_is_not_there_or_empty(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound, match="cannot be read"):
        read_torch_file(tmp_path / "gone.pt")
    (tmp_path / "empty.pt").touch()
    with pytest.raises(CheckpointError, match="is empty"):
        read_torch_file(tmp_path / "empty.pt")


def test_a_tensor_larger_than_what_is_stored_of_it_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, {"a": torch.randn(1, 8).expand(2**31 - 2, 8)})
    assert path.stat().st_size < 10_000
    with pytest.raises(CheckpointError, match="larger than its record"):
        read_torch_file(path)
