"""Value tables: a mapped one equals a resident one, and reads no more than it is asked for."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from inspector.memory.values import ValueTable, map_matrix

NAME = "model.value_tables.0.weight"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/smaps is Linux's")
STORED = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def resident(weight: Tensor) -> ValueTable:
    table = ValueTable(*weight.shape)
    table.weight = nn.Parameter(weight.clone(), requires_grad=False)
    return table


def mapped(path: Path, slots: int, d_value: int) -> ValueTable:
    with torch.device("meta"):  # as checkpoints are opened: without memory of its own
        table = ValueTable(slots, d_value)
    table.map(path, NAME)
    return table


def stored(folder: Path, weight: Tensor) -> Path:
    """A file that holds ``weight`` between two other tensors."""
    path = folder / "model.safetensors"
    save_file({"a": torch.ones(3), NAME: weight, "z": torch.ones(2, 2)}, path)
    return path


# --- resident -----------------------------------------------------------------------------------


def test_a_weighted_sum_by_hand() -> None:
    table = resident(torch.tensor([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]]))
    slots = torch.tensor([[[0, 1], [2, 2]]])  # one position, two heads, two reads
    coefficients = torch.tensor([[[1.0, -0.5], [0.25, 0.25]]])
    assert table(slots, coefficients).tolist() == [[1 - 5 + 50, 2 - 10 + 100]]
    assert table.rows(slots)[0, 0].tolist() == [[1, 2], [10, 20]]


@pytest.mark.parametrize("dtype", STORED)
def test_a_sum_is_given_in_the_type_of_its_coefficients(dtype: torch.dtype) -> None:
    weight = torch.randn(9, 4).to(dtype)
    slots, coefficients = torch.randint(9, (2, 5, 3, 2)), torch.randn(2, 5, 3, 2)
    for wanted in (torch.float32, dtype):
        total = resident(weight)(slots, coefficients.to(wanted))
        assert total.shape == (2, 5, 4)
        assert total.dtype == wanted
        rows = weight[slots].float() * coefficients[..., None]
        slack = 1e-5 if wanted == torch.float32 else 0.1
        torch.testing.assert_close(total.float(), rows.sum((2, 3)), atol=slack, rtol=slack)


def test_a_resident_table_moves_and_converts() -> None:
    assert resident(torch.ones(4, 2)).to(torch.float16).weight.dtype == torch.float16


# --- mapped -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", STORED)
def test_a_mapped_table_equals_a_resident_one(tmp_path: Path, dtype: torch.dtype) -> None:
    weight = torch.randn(16, 6).to(dtype)
    table = mapped(stored(tmp_path, weight), 16, 6)
    slots, coefficients = torch.randint(16, (3, 2, 4)), torch.rand(3, 2, 4)
    assert table.mapped
    assert table.weight.dtype == dtype
    assert torch.equal(table.weight, weight)
    assert torch.equal(table.rows(slots), resident(weight).rows(slots))
    assert torch.equal(table(slots, coefficients), resident(weight)(slots, coefficients))


def test_conversions_leave_a_mapped_table_in_its_file(tmp_path: Path) -> None:
    weight = torch.randn(4, 2)
    table = mapped(stored(tmp_path, weight), 4, 2)
    address = table.weight.data_ptr()
    model = nn.ModuleDict({"table": table, "other": nn.Linear(2, 2)}).to(torch.float16)
    assert model["other"].weight.dtype == torch.float16
    assert table.weight.dtype == torch.float32
    assert table.weight.data_ptr() == address


def test_what_is_written_to_a_mapped_table_never_reaches_its_file(tmp_path: Path) -> None:
    path = stored(tmp_path, torch.zeros(64, 32))
    before = hashlib.sha256(path.read_bytes()).digest()
    table, other = mapped(path, 64, 32), mapped(path, 64, 32)
    table.weight[7] = 3.0
    assert table.weight[7].tolist() == [3.0] * 32
    assert not other.weight.any()
    assert hashlib.sha256(path.read_bytes()).digest() == before


def test_the_mapping_outlives_the_open_file(tmp_path: Path) -> None:
    path = stored(tmp_path, torch.full((8, 4), 5.0))
    table = mapped(path, 8, 4)
    path.unlink()
    assert table.rows(torch.tensor([6])).tolist() == [[5.0] * 4]


def test_a_file_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({NAME: torch.ones(64, 32)}, path)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(ValueError, match=rf"model.safetensors: {NAME} ends past the end"):
        map_matrix(path, NAME)


@pytest.mark.parametrize("kept", [0, 5, 40])
def test_a_file_cut_within_its_header_is_refused(tmp_path: Path, kept: int) -> None:
    path = stored(tmp_path, torch.ones(4, 4))
    os.truncate(path, kept)
    with pytest.raises(ValueError, match=r"^(?!.*ends past)"):
        map_matrix(path, NAME)


def test_another_shape_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path, torch.ones(16, 6))
    table = ValueTable(16, 8)
    with pytest.raises(ValueError, match=r"weight is \[16, 6\], expected \[16, 8\]"):
        table.map(path, NAME)
    assert not table.mapped


@pytest.mark.parametrize("weight", [torch.ones(16), torch.ones(4, 4, dtype=torch.int8)])
def test_what_is_no_matrix_of_floats_is_refused(tmp_path: Path, weight: Tensor) -> None:
    with pytest.raises(ValueError, match="a value table is a matrix of one of F64, F32"):
        map_matrix(stored(tmp_path, weight), NAME)


def test_a_tensor_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="other"):
        map_matrix(stored(tmp_path, torch.ones(4, 4)), "other")


# --- laziness -----------------------------------------------------------------------------------


def sparse_table(folder: Path, slots: int, d_value: int) -> Path:
    """A float32 table of zeros that takes no room on disk."""
    path = folder / "model-values.safetensors"
    end = slots * d_value * 4
    entry = {"dtype": "F32", "shape": [slots, d_value], "data_offsets": [0, end]}
    header = json.dumps({NAME: entry}).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, path.stat().st_size + end)
    return path


def mappings(path: Path) -> list[str]:
    """What Linux tells of each mapping of ``path`` in this process."""
    text = Path("/proc/self/smaps").read_text()
    entries = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", text, flags=re.MULTILINE)
    own = [entry for entry in entries if entry.partition("\n")[0].endswith(str(path))]
    assert own, f"{path} is not mapped"
    return own


def resident_bytes(path: Path) -> int:
    """How much of the mappings of ``path`` lies in memory."""
    sizes = re.findall(r"^Rss: +(\d+) kB", "".join(mappings(path)), re.MULTILINE)
    return sum(map(int, sizes)) * 1024


@LINUX
def test_reading_ten_rows_fetches_little_more_than_ten_rows(tmp_path: Path) -> None:
    path = sparse_table(tmp_path, slots=2**16, d_value=256)  # 64 MB
    table = mapped(path, 2**16, 256)
    assert resident_bytes(path) < 2**18
    slots = torch.arange(10).view(1, 1, 10) * 6000
    assert not table(slots, torch.ones(1, 1, 10)).any()
    # One page of 4 KB a row; where the file lies in the page cache, 64 KB around it.
    assert resident_bytes(path) < 2**20
    (flags,) = re.findall(r"^VmFlags:(.*)$", "".join(mappings(path)), re.MULTILINE)
    assert "rr" in flags.split()  # told to read at random, and so nothing ahead
    table.weight.sum()
    assert resident_bytes(path) > 2**26 - 2**16  # so it is this table's memory that was counted


@LINUX
def test_a_table_larger_than_memory_can_be_mapped(tmp_path: Path) -> None:
    if Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2":
        pytest.skip("this machine was told to refuse what does not fit into memory")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    swap = int(re.findall(r"SwapTotal: +(\d+)", Path("/proc/meminfo").read_text())[0]) * 1024
    slots = 2 * (memory + swap) // 4096
    try:
        path = sparse_table(tmp_path, slots, d_value=1024)
    except OSError as error:
        pytest.skip(f"this file system holds no sparse file of that size: {error}")
    table = mapped(path, slots, 1024)
    assert table.rows(torch.tensor([0, slots // 2, slots - 1])).shape == (3, 1024)
    assert resident_bytes(path) < 2**20
