"""Where the files of a re133 (fechyy) checkpoint lie, and what is in them.

Either a run's ``model.pt``, or the files made from one: ``rest.pt`` with all weights but the value
table, and that in four bits a number (``values_q4.bin``, ``scales_q4.bin``) or in bfloat16.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as brief
from typing import Any, Final

import torch
from torch import Tensor

from inspector.errors import CheckpointError, CheckpointMismatch, CheckpointNotFound
from inspector.families.torch_file import MappedFile, read_torch_file
from inspector.memory.packed import PackedRows

REST: Final = "rest.pt"
RUN: Final = "model.pt"
VALUES: Final = "values_q4.bin"
SCALES: Final = "scales_q4.bin"
VALUES_BF16: Final = "values_bf16.bin"
HOT_ROWS: Final = "hot_rows.npy"
META: Final = "meta.json"
_PICKLE: Final = 2**24  # bytes; the description of a checkpoint's tensors is far smaller


@dataclass(frozen=True)
class Files:
    """One checkpoint: the file of torch.save, and those of its table if they lie apart."""

    weights: Path
    values: Path | None = None
    scales: Path | None = None

    @property
    def contents(self) -> tuple[Path, ...]:
        """Every file that defines the computation."""
        return tuple(p for p in (self.weights, self.values, self.scales) if p is not None)


def find_files(path: Path) -> Files | None:
    """The checkpoint at ``path``: its folder or one of its files. None if there is none."""
    try:
        if path.is_dir():
            return _in_folder(path)
        if path.name in (REST, VALUES, SCALES, VALUES_BF16):
            return _in_folder(path.parent)
        return Files(path) if path.suffix == ".pt" and _describes_a_model(path) else None
    except OSError:
        return None


def _in_folder(folder: Path) -> Files | None:
    four_bits, sixteen = folder / VALUES, folder / VALUES_BF16
    if four_bits.is_file() or (folder / SCALES).is_file():
        return Files(folder / REST, four_bits, folder / SCALES)
    if (folder / REST).is_file() and (sixteen.is_file() or _describes_a_model(folder / REST)):
        return Files(folder / REST, sixteen if sixteen.is_file() else four_bits)
    run = folder / RUN
    if run.is_file() and _describes_a_model(run):
        return Files(run)
    return None


def _describes_a_model(file: Path) -> bool:
    """Whether it's a file of torch.save that names the two entries such a checkpoint has."""
    try:
        with zipfile.ZipFile(file) as archive:
            found = [e for e in archive.infolist() if e.filename.endswith("/data.pkl")]
            if len(found) != 1 or found[0].file_size > _PICKLE or found[0].compress_type:
                return False
            text = archive.read(found[0])
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return False
    return b"model_config" in text and b"state_dict" in text


@dataclass(frozen=True)
class Saved:
    """What lies in the files. ``tables`` are the value tables by the name of their tensors."""

    config: Any
    state: dict[str, Tensor]
    tables: dict[str, Tensor]


def read_saved(files: Files, table: str) -> Saved:
    """Read the descriptions and map all tensors.

    ``table`` is what names of value tables end with.

    Raises:
        CheckpointNotFound: a file is missing.
        CheckpointError: one is broken.
    """
    for file in files.contents:
        if not file.is_file():
            raise CheckpointNotFound(
                f"There is no {file}. A checkpoint in four bits is {REST}, {VALUES} and {SCALES}, "
                "side by side: put them into one folder."
            )
    saved = read_torch_file(files.weights)
    if not isinstance(saved, dict) or not isinstance(saved.get("state_dict"), dict):
        raise CheckpointError(
            f"{files.weights} holds no model: expected a dictionary with model_config and "
            "state_dict."
        )
    held = saved["state_dict"]
    wrong = [name for name, value in held.items() if not isinstance(value, Tensor)]
    if wrong or not all(isinstance(name, str) for name in held):
        raise CheckpointError(f"{files.weights}: state_dict holds more than named tensors: {wrong}")
    tables = {name: tensor for name, tensor in held.items() if name.endswith(table)}
    state = {name: tensor for name, tensor in held.items() if name not in tables}
    if files.values is not None:
        if tables:
            raise CheckpointMismatch(
                f"{files.weights} holds {', '.join(tables)}, and {files.values.name} a table, too: "
                "only one of them can be the model's.",
                tables,
            )
        tables = _tables_apart(files, saved)
    return Saved(saved.get("model_config"), state, tables)


def _tables_apart(files: Files, saved: Mapping[str, Any]) -> dict[str, Tensor]:
    """The table of ``values_*.bin`` under every name that ``rest.pt`` says it has."""
    names, shape = saved.get("table_keys"), saved.get("table_shape")
    sizes = tuple(shape) if isinstance(shape, list | tuple) else ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(
            f"{files.weights}: table_keys is {brief(names)}; expected tensors' names."
        )
    if len(sizes) != 2 or not all(type(size) is int and 0 < size < 2**40 for size in sizes):
        raise CheckpointError(
            f"{files.weights}: table_shape is {brief(shape)}; expected two sizes: rows, width."
        )
    _check_meta(files.weights.parent / META, *sizes)
    matrix = _packed(files, *sizes) if files.scales else _sixteen(files, *sizes)
    return dict.fromkeys(names, matrix)


def _check_meta(file: Path, rows: int, width: int) -> None:
    """What ``meta.json`` says of the table's size, if it's there, must be so."""
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not JSON: {error}.") from None
    found = said if isinstance(said, dict) else {}
    for name, size in (("rows", rows), ("dim", width)):
        if found.get(name, size) != size:
            raise CheckpointMismatch(
                f"{file} says {name} = {brief(found[name])}, but {REST} has {size}: they "
                "belong to different checkpoints."
            )


def _packed(files: Files, rows: int, width: int) -> Tensor:
    assert files.values is not None
    assert files.scales is not None
    if width % 2:
        raise CheckpointError(
            f"{files.weights}: rows of {width} numbers cannot be packed in pairs."
        )
    codes = _mapped(files.values, torch.uint8, (rows, width // 2))
    scales = _mapped(files.scales, torch.float16, (rows,))
    if not torch.isfinite(scales).all():
        raise CheckpointError(f"{files.scales} holds NaN or infinite numbers.")
    return PackedRows(codes, scales)


def _sixteen(files: Files, rows: int, width: int) -> Tensor:
    assert files.values is not None
    return _mapped(files.values, torch.bfloat16, (rows, width))


def _mapped(file: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    mapped, count = MappedFile(file), torch.Size(shape).numel()
    if mapped.size != count * dtype.itemsize:
        raise CheckpointMismatch(
            f"{file} has {mapped.size:,} bytes; a table of {' x '.join(map(str, shape))} needs "
            f"{count * dtype.itemsize:,}. It may have been cut short while it was copied.",
            [file.name],
        )
    numbers = mapped.numbers(0, dtype, count).view(shape)
    if len(shape) == 2:
        mapped.read_at_random(numbers)
    return numbers
