"""umap-learn, for one thread at a time: its compiled code can't stand two."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import torch
from tqdm import tqdm

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
    before, torch_before = numba.get_num_threads(), torch.get_num_threads()
    numba.set_num_threads(min(before, torch_before))
    try:
        yield umap_
    except BaseException:
        _unlock_progress_bars()
        raise
    finally:
        numba.set_num_threads(before)
        # Where both use one OpenMP, numba's loops set torch's threads as well, and with another
        # number of threads torch's sums differ in the last bit.
        torch.set_num_threads(torch_before)
        _ALONE.release()


def _unlock_progress_bars() -> None:
    """Release what this thread holds of tqdm's lock.

    umap-learn's progress bar is drawn under that lock, and an exception from the drawing, by which
    work is stopped, leaves it locked: every later bar, in any thread, would wait for ever.
    """
    for lock in tqdm.get_lock().locks:
        with suppress(RuntimeError, AssertionError):  # not held by this thread, or no longer
            while True:
                lock.release()
