"""The one door through which checkpoints are opened: families register, the first match opens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from inspector.errors import CheckpointNotFound, UnknownFamily
from inspector.families.base import MemoryModel
from inspector.families.roots import check_root


@dataclass(frozen=True)
class Opening:
    """How the user wants a checkpoint opened. A family uses what applies to it."""

    device: torch.device
    dtype: torch.dtype | None = None  # to compute in; None is the checkpoint's own
    tokenizer: Path | None = None  # its file, where the checkpoint doesn't bring one
    routing: str | None = None  # "token" or "full", in families where the two differ


class Opener(Protocol):
    """Opens a checkpoint that its family recognised."""

    def __call__(self, path: Path, reason: str, opening: Opening) -> MemoryModel:
        """Open ``path``; ``reason`` is what the family recognised it by."""


class Recogniser(Protocol):
    """Looks at a path, cheaply, for what marks a family."""

    def __call__(self, path: Path) -> str | None:
        """Why ``path`` is of this family, in a few words; None if it isn't."""


@dataclass(frozen=True)
class Family:
    """One format of checkpoints: how to know it and how to open it."""

    name: str
    recognise: Recogniser
    open: Opener


_FAMILIES: dict[str, Family] = {}


def register(family: Family) -> Family:
    """Add ``family``; families are asked in the order they were registered in.

    Raises:
        ValueError: a family of that name is registered already.
    """
    if family.name in _FAMILIES:
        raise ValueError(f"a family called {family.name!r} is registered already")
    _FAMILIES[family.name] = family
    return family


def families() -> tuple[Family, ...]:
    """All registered families."""
    return tuple(_FAMILIES.values())


def open_checkpoint(
    path: Path,
    *,
    device: torch.device,
    dtype: torch.dtype | None = None,
    tokenizer: Path | None = None,
    routing: str | None = None,
) -> MemoryModel:
    """Open ``path`` with the first family that recognises it; see ``Opening``.

    Raises:
        CheckpointNotFound: nothing lies there.
        UnsafeCheckpoint: it lies outside of the folders that are allowed: see ``roots``.
        UnknownFamily: no family recognises it.
        CheckpointError: what its family found wrong with it.
    """
    check_root(path)
    if tokenizer is not None:
        check_root(tokenizer)
    try:
        found = path.exists()
        if found and path.is_dir():
            next(path.iterdir(), None)  # raises where that is not allowed
        broken = not found and path.is_symlink()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointNotFound(f"{str(path)!r} cannot be opened: {reason}.") from None
    if broken:
        raise CheckpointNotFound(f"{path} is a link that leads nowhere, or in a circle.")
    if not found:
        raise CheckpointNotFound(
            f"There is nothing at {path}. Give the directory of a checkpoint: the one that holds "
            "its config.json, or its consolidated.pth and params.json, or a name on the Hugging "
            "Face Hub, as in org/name."
        )
    for family in families():
        reason = family.recognise(path)
        if reason is not None:
            return family.open(path, reason, Opening(device, dtype, tokenizer, routing))
    known = ", ".join(_FAMILIES)
    raise UnknownFamily(
        f"{path} is of no family that can be opened here ({known}). A native checkpoint is a "
        "directory with config.json (model_type memory_llama) and safetensors files; one of Meta's "
        "code has a consolidated.pth, or a .metadata and .distcp files, and a params.json; one of "
        "re133's code has a model.pt, or a rest.pt with its table in values_q4.bin."
        f"{_broken_config(path)}"
    )


def _broken_config(path: Path) -> str:
    """Why no family could recognise ``path``, where that is a config.json that nobody can read."""
    try:
        json.loads((path / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        return f" Its config.json is not JSON: {error}."
    except OSError:
        return ""
    return ""
