"""A directory that appears as a whole, or not at all."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inspector.errors import CacheError


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A new directory beside ``out``, which it becomes at the end; it's removed after an error.

    Raises:
        CacheError: it cannot be written, or the disk is full.
    """
    target = out.expanduser().resolve()
    # No name that anybody else has, so that what is removed is our own.
    part = target.with_name(f"{target.name}.{secrets.token_hex(6)}.part")
    try:
        part.mkdir(parents=True)
        try:
            yield part
            part.replace(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as problem:
        reason = problem.strerror or problem
        raise CacheError(f"{out} cannot be written: {reason}.") from None
