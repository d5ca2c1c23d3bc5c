"""Patch files: they come back as they went, and damaged ones are refused with a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from inspector.analyses.patch_files import read_patch, write_patch
from inspector.analyses.patches import Patch, TablePatch
from inspector.errors import CacheError, PatchError

SLOTS = torch.tensor([3, 17])


def rows(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(2, 8, generator=torch.Generator().manual_seed(0)).to(dtype)


def patch(dtype: torch.dtype = torch.float32) -> Patch:
    parts = tuple(TablePatch(table, SLOTS, rows(dtype) + table, rows(dtype)) for table in (0, 2))
    when = "2026-01-01T00:00:00+00:00"
    return Patch("Zürich → 東京", "why", when, "f" * 64, "tiny", parts, {"after": {"x": 0.5}})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_patch_comes_back_as_it_went(tmp_path: Path, dtype: torch.dtype) -> None:
    file, written = tmp_path / "below" / "x.patch.safetensors", patch(dtype)
    write_patch(file, written)
    found = read_patch(file)
    assert found.to_json() == written.to_json()
    for part, other in zip(found.tables, written.tables, strict=True):
        for name in ("slots", "values", "old"):
            assert getattr(part, name).dtype == getattr(other, name).dtype
            assert torch.equal(getattr(part, name), getattr(other, name))
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(CacheError, match="cannot be written"):
        write_patch(tmp_path / "file" / "x", patch())


# --- damaged files ------------------------------------------------------------------------------

TENSORS = {"table.0.slots": SLOTS, "table.0.values": rows(), "table.0.old": rows()}
TOLD = {
    "format": 1,
    "what": "what",
    "why": "",
    "when": "now",
    "fingerprint": "f",
    "checkpoint": "tiny",
    "figures": {},
}


def write(
    file: Path, tensors: dict[str, torch.Tensor] | None = None, told: Any = None, **changed: Any
) -> Path:
    metadata = json.dumps({**TOLD, **changed}) if told is None else told
    save_file({**TENSORS} if tensors is None else tensors, file, {"memory_patch": metadata})
    return file


def without(name: str) -> dict[str, torch.Tensor]:
    return {each: tensor for each, tensor in TENSORS.items() if each != name}


def test_the_plain_one_is_fine(tmp_path: Path) -> None:
    assert len(read_patch(write(tmp_path / "x"))) == 2


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({}, "holds no values"),
        ({**TENSORS, "model.embed": rows()}, "holds a tensor 'model.embed'"),
        ({**TENSORS, "table.99999.old": rows()}, "holds a tensor"),
        (without("table.0.old"), "in table 0, old are missing"),
        ({**TENSORS, "table.0.slots": SLOTS.int()}, r"slots are torch.int32 \[2\]"),
        ({**TENSORS, "table.0.slots": SLOTS.flip(0).contiguous()}, "do not ascend"),
        ({**TENSORS, "table.0.slots": SLOTS * 0}, "do not ascend"),
        ({**TENSORS, "table.0.slots": SLOTS - 9}, "do not ascend from 0"),
        ({**TENSORS, "table.0.slots": SLOTS[:0]}, r"slots are torch.int64 \[0\]"),
        ({**TENSORS, "table.0.values": rows()[:1]}, r"values are torch.float32 \[1, 8\]"),
        ({**TENSORS, "table.0.values": rows().long()}, "expected floating-point"),
        ({**TENSORS, "table.0.old": rows()[:, :4].contiguous()}, "expected those of the new"),
        ({**TENSORS, "table.0.old": rows().half()}, "expected those of the new"),
        ({**TENSORS, "table.0.values": rows() * torch.nan}, "hold NaN or infinite"),
        ({**TENSORS, "table.0.old": rows() / 0}, "hold NaN or infinite"),
    ],
)
def test_tensors_that_make_no_patch_are_refused(
    tmp_path: Path, tensors: dict[str, torch.Tensor], said: str
) -> None:
    with pytest.raises(PatchError, match=said):
        read_patch(write(tmp_path / "x", tensors))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"told": "{"}, "is no JSON"),
        ({"told": "[" * 10**5}, "is no JSON"),
        ({"told": "[]"}, "expected format 1"),
        ({"format": 2}, "expected format 1"),
        ({"what": 5}, "what is '5', expected a text"),
        ({"why": None}, "why is 'None', expected a text"),
        ({"what": "x" * 10_001}, "at most 10,000 characters"),
        ({"figures": [1]}, "figures are no JSON object"),
    ],
)
def test_what_it_says_of_itself_is_checked(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(PatchError, match=said):
        read_patch(write(tmp_path / "x", **changed))


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def _long_header(file: Path) -> None:
    file.write_bytes((2**40).to_bytes(8, "little") + file.read_bytes()[8:])


def _text(file: Path) -> None:
    file.write_text("not a patch")


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[12] ^= 0xFF
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [_cut, _long_header, _text, _empty, _flip])
def test_damaged_files_are_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    file = write(tmp_path / "x")
    damage(file)
    with pytest.raises(PatchError, match="is no patch"):
        read_patch(file)


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "plain")
    with pytest.raises(PatchError, match="but no patch"):
        read_patch(tmp_path / "plain")
    with pytest.raises(PatchError, match="There is no patch at"):
        read_patch(tmp_path / "missing")
    with pytest.raises(PatchError, match="There is no patch at"):
        read_patch(tmp_path)
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(PatchError, match="has 2,147,483,648 bytes"):
        read_patch(tmp_path / "huge")
