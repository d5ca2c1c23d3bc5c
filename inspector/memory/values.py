"""Value tables: the learned vectors that slots hold, resident or memory-mapped."""

from __future__ import annotations

import json
import mmap
import sys
from pathlib import Path
from typing import Any, BinaryIO, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

# safetensors' names of the element types a table may be stored in.
_STORED: Final = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


def map_matrix(path: Path, name: str) -> Tensor:
    """The matrix ``name`` of a safetensors file, as a tensor over the mapped file.

    Nothing is read until an element is used, and then only its page: the mapping is advised
    (MADV_RANDOM) that rows are read one by one. It is private, so the file can't be written to.

    Raises:
        KeyError: the file has no such tensor.
        ValueError: the tensor is no matrix of a floating type, or the file ends before it does.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
        mapping = map_privately(file)
    if entry["dtype"] not in _STORED or len(entry["shape"]) != 2:
        raise ValueError(
            f"{path.name}: {name} is {entry['dtype']} {entry['shape']}; a value table is a matrix "
            f"of one of {', '.join(_STORED)}"
        )
    dtype = _STORED[entry["dtype"]]
    rows, width = entry["shape"]
    start = 8 + length + entry["data_offsets"][0]
    if start + rows * width * dtype.itemsize > len(mapping):
        raise ValueError(f"{path.name}: {name} ends past the end of the file")
    if hasattr(mapping, "madvise"):
        mapping.madvise(mmap.MADV_RANDOM)
    flat = torch.frombuffer(mapping, dtype=dtype, count=rows * width, offset=start)
    return flat.view(rows, width)


def map_privately(file: BinaryIO) -> mmap.mmap:
    """The whole file as memory of this process: what is written there never reaches the file."""
    if sys.platform != "linux":
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    # Linux counts every page that could be written as memory in use, and so refuses a file larger
    # than RAM, unless it is told to reserve none. Python 3.13 is the first to name that flag.
    no_reserve = getattr(mmap, "MAP_NORESERVE", 0x4000)
    return mmap.mmap(
        file.fileno(),
        0,
        flags=mmap.MAP_PRIVATE | no_reserve,
        prot=mmap.PROT_READ | mmap.PROT_WRITE,
    )


class ValueTable(nn.Module):
    """The matrix of values, ``weight [slot d_value]``. Several sites may share one.

    The table is resident or, after ``map``, lies in a file of which only the rows that are read
    are ever fetched. Calling it gives weighted sums of rows.
    """

    def __init__(self, slots: int, d_value: int) -> None:
        """A resident table of ``slots`` rows of ``d_value`` numbers, not yet initialised."""
        super().__init__()
        self.slots = slots
        self.d_value = d_value
        self.mapped = False
        self.weight = nn.Parameter(torch.empty(slots, d_value))

    def map(self, path: Path, name: str) -> None:
        """Take the rows from tensor ``name`` of a safetensors file, without reading them.

        Raises:
            ValueError: the tensor has another shape than this table (and see ``map_matrix``).
        """
        matrix = map_matrix(path, name)
        if matrix.shape != (self.slots, self.d_value):
            raise ValueError(
                f"{path.name}: {name} is {list(matrix.shape)}, expected "
                f"[{self.slots}, {self.d_value}]"
            )
        self.stay_in(matrix)

    def stay_in(self, matrix: Tensor) -> None:
        """Take the rows of ``matrix [slot d_value]``, which lies in a mapped file."""
        assert matrix.shape == (self.slots, self.d_value)
        self.weight = nn.Parameter(matrix, requires_grad=False)
        self.mapped = True

    def _apply(self, fn: Any, recurse: bool = True) -> ValueTable:
        """Moves and conversions pass a mapped table by: they would read all of it."""
        if not self.mapped:
            nn.Module._apply(self, fn, recurse)
        return self

    def rows(self, slots: Tensor) -> Tensor:
        """Values of ``slots [...]``: ``[... d_value]`` in the type the table is stored in."""
        return functional.embedding(slots, self.weight)

    def forward(self, slots: Tensor, coefficients: Tensor) -> Tensor:
        """Sum of coefficient times value over the reads of each position.

        Args:
            slots: ``[... head knn]`` int64.
            coefficients: ``[... head knn]``.

        Returns:
            ``[... d_value]`` in the type of ``coefficients``.
        """
        leading, reads = slots.shape[:-2], slots.shape[-2:].numel()
        flat, weights = slots.reshape(-1, reads), coefficients.reshape(-1, reads)
        if self.weight.dtype == weights.dtype:
            total = functional.embedding_bag(
                flat, self.weight, per_sample_weights=weights, mode="sum"
            )
        else:
            total = torch.einsum("tr,trv->tv", weights, self.rows(flat).to(weights.dtype))
        return total.reshape(*leading, self.d_value)
