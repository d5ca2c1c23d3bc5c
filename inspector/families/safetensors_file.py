"""Safetensors files of any size: their header read, their tensors mapped one by one.

The safetensors package maps a file in a way that systems refuse where it is larger than memory; a
value table may well be. The format: eight bytes that say how long the header is, the header as
JSON, and the numbers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from inspector.errors import CheckpointError
from inspector.families.torch_file import MappedFile

_LONGEST: Final = 100_000_000  # bytes of a header, as in the package
_DTYPES: Final = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Entry:
    """One tensor: how it's stored, and at which byte of the file it begins."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int


def read_header(file: Path) -> dict[str, Entry]:
    """The tensors of ``file`` by name; none of their numbers is read.

    Raises:
        CheckpointError: it is broken, or was cut short.
    """
    try:
        with file.open("rb") as opened:
            size = file.stat().st_size
            length = int.from_bytes(opened.read(8), "little")
            if size < 8 or not 2 <= length <= min(_LONGEST, size - 8):
                raise ValueError("its first eight bytes tell no header that could be in it")
            said = json.loads(opened.read(length))
        return _entries(said, 8 + length, size)
    except (ValueError, TypeError, KeyError, RecursionError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise CheckpointError(
            f"{file} is broken ({reason}). It may have been cut short while it was copied."
        ) from None


def _entries(said: Any, begin: int, size: int) -> dict[str, Entry]:
    if not isinstance(said, dict):
        raise ValueError("its header is no JSON object")
    found, last = {}, begin
    for name, entry in said.items():
        if name == "__metadata__":
            continue
        shape, (first, end) = entry["shape"], entry["data_offsets"]
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None:
            raise ValueError(f"{name} is of the unknown type {entry['dtype']!r}")
        numbers = [*shape, first, end]
        if not all(type(number) is int and 0 <= number < 2**60 for number in numbers):
            raise ValueError(f"{name} has impossible sizes")
        count = 1
        for width in shape:
            count *= width
        if end - first != count * dtype.itemsize or begin + end > size:
            raise ValueError(f"{name} does not fit its place in the file")
        found[name] = Entry(dtype, tuple(shape), begin + first)
        last = max(last, begin + end)
    if last != size:
        raise ValueError("it is longer than its tensors")
    return found


def read_tensor(file: Path, entry: Entry) -> Tensor:
    """A copy of one tensor: its numbers begin at a round byte, wherever they did in the file."""
    count = torch.Size(entry.shape).numel()
    width = entry.dtype.itemsize
    # By bytes: numbers need not begin at a multiple of their size.
    stored = MappedFile(file).numbers(entry.start, torch.uint8, count * width)
    return stored.clone().view(entry.dtype).view(entry.shape)
