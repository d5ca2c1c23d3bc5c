"""Where checkpoints may lie: below the folders of ``INSPECTOR_ROOTS``, where that is set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from inspector.errors import CheckpointNotFound, UnsafeCheckpoint

VARIABLE: Final = "INSPECTOR_ROOTS"


def roots() -> tuple[Path, ...]:
    """The folders that checkpoints may lie below, as ``PATH`` is written; none: anywhere."""
    said = os.environ.get(VARIABLE, "")
    return tuple(Path(part).expanduser().resolve() for part in said.split(os.pathsep) if part)


def check_root(path: Path) -> None:
    """Refuse a path that leads outside of the roots, by links, too.

    Raises:
        UnsafeCheckpoint: it does.
        CheckpointNotFound: its links lead in a circle.
    """
    allowed = roots()
    if not allowed:
        return
    real = _real(path)
    if any(real == root or root in real.parents for root in allowed):
        _check_links(real if real.is_dir() else real.parent)
        return
    raise _outside(path, allowed)


def _check_links(folder: Path, depth: int = 3) -> None:
    """What lies in a folder may be links, too; checkpoints are looked for no deeper."""
    try:
        inside = list(folder.iterdir())
    except OSError:
        return  # opening it will say so
    for file in inside:
        if file.is_symlink():
            _check_link(file)
        elif depth and file.is_dir():
            _check_links(file, depth - 1)


def _check_link(file: Path) -> None:
    allowed = roots()
    if not any(root in _real(file).parents for root in allowed):
        raise _outside(file, allowed)


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        raise CheckpointNotFound(
            f"{path} cannot be opened: its links lead in a circle, or it is no path."
        ) from None


def _outside(path: Path, allowed: tuple[Path, ...]) -> UnsafeCheckpoint:
    return UnsafeCheckpoint(
        f"{path} lies outside of the folders that may be opened here: "
        f"{', '.join(map(str, allowed))}. Whoever started the program set them in {VARIABLE}."
    )
