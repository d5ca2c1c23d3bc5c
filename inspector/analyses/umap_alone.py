"""umap-learn, for one thread at a time: its compiled code can't stand two."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from inspector.analyses.map_progress import Tell, untold

# numba's threading layers may abort the whole process if two threads use them at a time.
_ALONE: Final = threading.Lock()


@contextmanager
def umap_alone(tell: Tell = untold) -> Iterator[Any]:
    """umap-learn's module, for one thread at a time, with as many threads as torch has."""
    import numba
    from umap import umap_

    while not _ALONE.acquire(timeout=0.2):
        tell(0.0)
    before = numba.get_num_threads()
    numba.set_num_threads(min(before, torch.get_num_threads()))
    try:
        yield umap_
    finally:
        numba.set_num_threads(before)
        _ALONE.release()
