"""Patch files: safetensors rows, and in their header a JSON of what, why, when and for what.

A file may come from anywhere, so that nothing of it is believed before it was looked at.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from inspector.analyses.patches import Patch, TablePatch
from inspector.capture.cache import replacing
from inspector.capture.corpus_readers import is_text
from inspector.errors import PatchError

SUFFIX: Final = ".patch.safetensors"
_KEY: Final = "memory_patch"
_FORMAT: Final = 1
_MOST_BYTES: Final = 2**30  # of a file
_MOST_HEADER: Final = 2**24
_MOST_TEXT: Final = 10_000  # characters of what, why and the like
_NAME: Final = re.compile(r"table\.(\d{1,4})\.(slots|values|old)")
_TEXTS: Final = ("what", "why", "when", "fingerprint", "checkpoint")
_FLOATS: Final = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def write_patch(path: Path, patch: Patch) -> None:
    """Write ``patch`` to ``path``, as a whole or not at all.

    Raises:
        CacheError: it cannot be written.
        PatchError: what is said of it is no text that a file can hold.
    """
    for name in _TEXTS:
        if not is_text(getattr(patch, name)):
            raise PatchError(f"The patch's {name!r} is no text in UTF-8: half a character in it.")
    tensors = {
        # a copy each: they may share memory, which the format refuses
        f"table.{part.table}.{name}": getattr(part, name).contiguous().clone()
        for part in patch.tables
        for name in ("slots", "values", "old")
    }
    told: dict[str, Any] = {"format": _FORMAT, **{name: getattr(patch, name) for name in _TEXTS}}
    told["figures"] = dict(patch.figures)
    with replacing(path) as part:
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(tensors, part, metadata={_KEY: json.dumps(told, ensure_ascii=False)})
        except SafetensorError as problem:  # it wraps what the system said
            raise OSError(str(problem)) from None


def read_patch(path: Path) -> Patch:
    """The patch in a file that ``write_patch`` wrote.

    Raises:
        PatchError: it is no such file, or damaged; what is wrong is said.
    """
    try:
        _check_size(path)
        with safe_open(path, framework="pt") as opened:
            told = _told(path, opened.metadata() or {})
            parts = _parts(path, opened)
    except SafetensorError as problem:
        raise PatchError(f"{path} is no patch, or was cut short: {problem}.") from None
    except OSError as problem:
        raise PatchError(f"{path} cannot be read: {problem.strerror or problem}.") from None
    texts = {name: told[name] for name in _TEXTS}
    return Patch(tables=parts, figures=told["figures"], **texts)


def _check_size(path: Path) -> None:
    if not path.is_file():
        raise PatchError(f"There is no patch at {path}.")
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise PatchError(f"{path} has {size:,} bytes; a patch has at most {_MOST_BYTES:,}.")
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > min(size, _MOST_HEADER):
        raise PatchError(f"{path} is no patch: its header would be {header:,} bytes long.")


def _told(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    if _KEY not in metadata:
        raise PatchError(
            f"{path} is a safetensors file, but no patch: it doesn't say what it's for."
        )
    try:
        told = json.loads(metadata[_KEY])
    except (ValueError, RecursionError):
        raise PatchError(f"{path} is damaged: what it says of itself is no JSON.") from None
    if not isinstance(told, dict) or told.get("format") != _FORMAT:
        raise PatchError(f"{path} is of a format that isn't known here; expected format {_FORMAT}.")
    for name in _TEXTS:
        text = told.get(name)
        if not isinstance(text, str) or len(text) > _MOST_TEXT or not is_text(text):
            raise PatchError(
                f"{path} is damaged: {name} is {str(text)[:40]!a}, expected a text of at most "
                f"{_MOST_TEXT:,} characters."
            )
    if not isinstance(told.get("figures"), dict):
        raise PatchError(f"{path} is damaged: its figures are no JSON object.")
    return told


def _parts(path: Path, opened: Any) -> tuple[TablePatch, ...]:
    tables: dict[int, dict[str, Tensor]] = {}
    for name in opened.keys():  # noqa: SIM118  it is no dictionary
        found = _NAME.fullmatch(name)
        if found is None:
            raise PatchError(f"{path} is no patch: it holds a tensor {name[:60]!r}.")
        tables.setdefault(int(found[1]), {})[found[2]] = opened.get_tensor(name)
    if not tables:
        raise PatchError(f"{path} holds no values: there is nothing to apply.")
    return tuple(_part(path, table, tensors) for table, tensors in sorted(tables.items()))


def _part(path: Path, table: int, tensors: dict[str, Tensor]) -> TablePatch:
    def refuse(what: str) -> PatchError:
        return PatchError(f"{path} is damaged: in table {table}, {what}.")

    if missing := {"slots", "values", "old"} - tensors.keys():
        raise refuse(f"{' and '.join(sorted(missing))} are missing")
    slots, values, old = tensors["slots"], tensors["values"], tensors["old"]
    if slots.dtype != torch.int64 or slots.ndim != 1 or not len(slots):
        raise refuse(f"slots are {slots.dtype} {list(slots.shape)}, expected int64 [slot]")
    if int(slots.min()) < 0 or bool((slots.diff() <= 0).any()):
        raise refuse("slots do not ascend from 0 on, each once")
    if values.dtype not in _FLOATS or values.ndim != 2 or len(values) != len(slots):
        raise refuse(
            f"values are {values.dtype} {list(values.shape)}, expected floating-point "
            f"[{len(slots)}, d_value]"
        )
    if old.dtype != values.dtype or old.shape != values.shape:
        raise refuse(
            f"old values are {old.dtype} {list(old.shape)}, expected those of the new ones"
        )
    if not (values.isfinite().all() and old.isfinite().all()):
        raise refuse("values hold NaN or infinite numbers")
    return TablePatch(table, slots, values, old)
