"""The folder where results of long work are kept, and writing so that nothing is half done."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

from inspector.errors import CacheError


def cache_folder() -> Path:
    """Where results are kept; the environment variable ``INSPECTOR_CACHE`` overrides it."""
    folder = os.environ.get("INSPECTOR_CACHE") or platformdirs.user_cache_dir("memory-inspector")
    return Path(folder)


def cache_key(parameters: Mapping[str, Any]) -> str:
    """A name for the result that ``parameters`` (plain values) give."""
    text = json.dumps(parameters, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name to write to; it becomes ``path`` if the block ends well, else it's deleted.

    It's this thread's own: two that write the same result never write into one file.

    Raises:
        CacheError: it cannot be written, or the disk is full.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as problem:
        raise CacheError(f"{path} cannot be written: {problem.strerror or problem}.") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
