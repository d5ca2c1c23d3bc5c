"""New rows for the tensors of a native checkpoint: in an opened model, and in a copy on disk."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import torch
from torch import Tensor

from inspector.errors import CheckpointError
from inspector.families.base import MemoryModel, SiteInfo
from inspector.families.new_folder import new_folder
from inspector.memory.layer import HalfKeyScores

_DTYPES: Final = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
_EDITED: Final = "edited_rows"  # in config.json: tells the copy from the original
# They tell of the original's weights alone: what was measured on it, and how to train it further.
_NOT_OF_THE_COPY: Final = (
    "README.md",
    "metrics.json",
    "mean_gates.safetensors",
    "training.json",
    "training_state.pt",
)


@dataclass(frozen=True, eq=False)
class NewRows:
    """Rows that replace those of one tensor, taken as a matrix over its last axis.

    ``rows [row]`` int64, each once; ``values [row width]``, which are rounded to the tensor's own
    element type.
    """

    tensor: str
    rows: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        """Refuse parts that disagree."""
        if self.values.ndim != 2 or self.rows.shape != self.values.shape[:1]:
            raise ValueError(f"{self.tensor}: {len(self.rows)} rows, values {self.values.shape}")
        if len(self.rows.unique()) != len(self.rows):
            raise ValueError(f"{self.tensor}: a row is named twice")


def table_rows(table: int, slots: Tensor, values: Tensor) -> NewRows:
    """``values [slot d_value]`` as the new values of ``slots [slot]`` in table ``table``."""
    return NewRows(f"model.value_tables.{table}.weight", slots.cpu(), values.cpu())


def half_key_rows(
    site: SiteInfo, heads: Tensor, halves: Tensor, half_keys: Tensor, values: Tensor
) -> NewRows:
    """``values [row d_half]`` as new half-keys of ``site``; which ones, the others say ``[row]``.

    They are as stored, before the key norm if there's one: see ``stored_half_keys``.
    """
    rows = (heads * 2 + halves) * site.half_keys + half_keys
    name = f"{_scores_name(site)}.half_keys"
    return NewRows(name, rows.cpu(), values.cpu())


def stored_half_keys(model: MemoryModel, site: SiteInfo, scored: Tensor) -> Tensor:
    """What to store so that half-keys are scored as ``scored [... d_half]``.

    Without a key norm that's the same. A norm decides their length; their direction is kept (the
    part along the norm's own mean direction, which a layer norm takes out, cannot be).
    """
    scores = model.module.get_submodule(_scores_name(site))
    assert isinstance(scores, HalfKeyScores)
    norm, wanted = scores.key_norm, scored.float()
    bias, scale = getattr(norm, "bias", None), getattr(norm, "weight", None)
    if bias is not None:
        wanted = wanted - bias.float()
    return wanted if scale is None else wanted / scale.float().where(scale != 0, torch.inf)


def _scores_name(site: SiteInfo) -> str:
    return f"model.layers.{site.layer}.mlp.half_key_scores"


def put_rows(model: MemoryModel, edits: Iterable[NewRows]) -> list[NewRows]:
    """Write ``edits`` into an opened model and give the rows that were there before.

    For a model opened for this alone: others' are never written to. A table that is mapped from
    its file changes in this process's memory, not in the file.
    """
    before = []
    for edit in edits:
        matrix = model.module.get_parameter(edit.tensor).data
        matrix = matrix.view(-1, matrix.shape[-1])
        rows = edit.rows.to(matrix.device)
        before.append(NewRows(edit.tensor, edit.rows, matrix[rows].cpu()))
        matrix[rows] = edit.values.to(matrix)
    return before


def check_out(checkpoint: Path, out: Path) -> None:
    """Refuse an ``out`` that would touch the original or something else that is there.

    Raises:
        CheckpointError: it exists and isn't an empty folder, or lies within the checkpoint.
    """
    source, target = checkpoint.expanduser().resolve(), out.expanduser().resolve()
    if target == source or source in target.parents:
        raise CheckpointError(
            f"{out} lies in the checkpoint {checkpoint}, which is never written to. Name another "
            "directory."
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(
            f"{out} is there already and is not an empty directory. Name another directory, or "
            "delete it."
        )


def write_edited(
    checkpoint: Path,
    out: Path,
    edits: Sequence[NewRows],
    files: dict[str, str] | None = None,
    check: Callable[[Path], object] = lambda folder: None,
) -> None:
    """Copy a native checkpoint to ``out`` and replace rows in the copy, where they lie.

    No tensor is ever read whole, so tables may be larger than memory. What tells of the original
    alone (its measures, its training) isn't copied. ``out`` appears as a whole, or not at all.

    Args:
        checkpoint: the original; it's only read.
        out: a directory that isn't there yet, or is empty.
        edits: the new rows.
        files: texts to write beside it, by name.
        check: called with the finished copy before it becomes ``out``; may raise to refuse it.

    Raises:
        CheckpointError: see ``check_out``; or a tensor isn't there or has no such rows.
        CacheError: it cannot be written, or the disk is full.
    """
    source = checkpoint.expanduser().resolve()
    check_out(source, out)
    with new_folder(out) as part:
        _copy(source, part)
        _patch(part, edits, checkpoint)
        _mark(part / "config.json", edits)
        for name, text in (files or {}).items():
            (part / name).write_text(text, encoding="utf-8")
        check(part)


def _mark(config: Path, edits: Sequence[NewRows]) -> None:
    """Write into the configuration that rows are other than the original's.

    Of a large table not every byte is hashed for a checkpoint's fingerprint, but its configuration
    is: without this, what was computed of the original would pass for that of the copy.
    """
    if not edits:
        return
    said = json.loads(config.read_text(encoding="utf-8"))
    digest = hashlib.sha256(str(said.get(_EDITED)).encode())
    for edit in edits:
        values = edit.values.detach().cpu().to(torch.float64).contiguous()
        digest.update(f"{edit.tensor} {edit.rows.tolist()}".encode())
        digest.update(values.numpy().tobytes())
    said[_EDITED] = digest.hexdigest()
    config.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        place = file.relative_to(source)
        hidden = any(name.startswith(".") for name in place.parts)
        if hidden or place.name in _NOT_OF_THE_COPY:
            continue
        (target / place.parent).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target / place)  # its bytes: not its mode, which may be read-only


def _patch(folder: Path, edits: Sequence[NewRows], checkpoint: Path) -> None:
    left = {edit.tensor: edit for edit in edits}
    for shard in sorted(folder.glob("model*.safetensors")):
        with shard.open("r+b") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
            for name in left.keys() & header.keys():
                _patch_tensor(file, 8 + length, header[name], left.pop(name))
    if left:
        raise CheckpointError(f"{checkpoint.name} has no tensor {', '.join(sorted(left))}.")


def _patch_tensor(file: BinaryIO, start: int, entry: dict[str, Any], edit: NewRows) -> None:
    dtype, width = _DTYPES.get(entry["dtype"]), entry["shape"][-1]
    first, end = entry["data_offsets"]
    if dtype is None or width != edit.values.shape[1]:
        raise CheckpointError(
            f"{edit.tensor} is {entry['dtype']} {entry['shape']}; expected floating-point rows of "
            f"{edit.values.shape[1]} numbers."
        )
    size = width * dtype.itemsize
    if (
        len(edit.rows)
        and not 0 <= int(edit.rows.min()) <= int(edit.rows.max()) < (end - first) // size
    ):
        raise CheckpointError(f"{edit.tensor} has no row {int(edit.rows.max())}.")
    stored = edit.values.to(dtype).contiguous().view(torch.uint8).numpy()
    for row, values in zip(edit.rows.tolist(), stored, strict=True):
        file.seek(start + first + row * size)
        file.write(values.tobytes())
