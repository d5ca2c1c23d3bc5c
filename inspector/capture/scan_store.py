"""Where a scan is kept: while it runs, so that it can go on after a kill, and when it's done.

A scan has a folder of its own. ``tokens.int32`` and ``documents.int64`` grow as it goes,
``state.npz`` is how far it got, and ``usage.npz``, written last, says that it's done. Nothing that
goes wrong here stops a scan: it then goes on in memory, and its ``notes`` say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import filelock
import numpy as np

from inspector.capture.cache import cache_folder, cache_key
from inspector.capture.scan_log import Log
from inspector.capture.usage import Usage
from inspector.capture.usage_files import (
    DOCUMENTS,
    TOKENS,
    USAGE,
    load_arrays,
    read_usage,
    save_arrays,
    write_counts,
)
from inspector.errors import CacheError

_STATE: Final = "state.npz"

State = tuple[dict[str, np.ndarray], dict[str, Any]]


class ScanStore:
    """The folder of one scan, or none: then everything is forgotten when the scan ends."""

    def __init__(self, folder: Path | None, parameters: Mapping[str, Any]) -> None:
        """Keep a scan of ``parameters`` in ``folder``, which is there and ours alone."""
        self._folder = folder
        self._parameters = parameters
        self.notes: list[str] = []
        self.done: Usage | None = None
        self.tokens: Log
        self.documents: Log

    def look(self) -> bool:
        """Whether the scan was done before; then ``done`` is its result."""
        if self._folder is None or not (self._folder / USAGE).is_file():
            return False
        with suppress(CacheError):  # a broken result is none
            self.done = read_usage(self._folder)
        return self.done is not None

    def open(self) -> State | None:
        """Where to go on, if the scan was begun before; logs are open afterwards."""
        state = None
        if self._folder is not None:
            with suppress(CacheError):  # a state that can't be read is none
                state = load_arrays(self._folder / _STATE)
        try:
            self._open_logs(state[1] if state else None)
        except OSError:
            state = None
            self._open_logs(None)
        return state

    def _open_logs(self, numbers: Mapping[str, Any] | None) -> None:
        begun = numbers or {"tokens": 0, "documents": 0}
        tokens = documents = None
        if self._folder is not None:
            tokens, documents = self._folder / TOKENS, self._folder / DOCUMENTS
        try:
            self.tokens = Log(tokens, np.int32, begun["tokens"])
            self.documents = Log(documents, np.int64, begun["documents"])
        except OSError as problem:
            if numbers is not None or self._folder is None:
                raise
            self.give_up(f"{self._folder} cannot be written: {problem.strerror}.")
            self._open_logs(None)

    def save(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Keep how far the scan got."""
        if broken := self.tokens.broken or self.documents.broken:
            self.give_up(f"The scanned tokens cannot be written: {broken}.")
        if self._folder is None:
            return
        try:
            save_arrays(self._folder / _STATE, arrays, numbers)
        except CacheError as problem:
            self.give_up(str(problem))

    def finish(self, usage: Usage) -> None:
        """Keep the result."""
        if broken := self.tokens.broken or self.documents.broken:
            self.give_up(f"The scanned tokens cannot be written: {broken}.")
        if self._folder is None:
            return
        try:
            write_counts(self._folder, usage, self._parameters)
        except CacheError as problem:
            self.give_up(str(problem))
            return
        with suppress(OSError):
            (self._folder / _STATE).unlink(missing_ok=True)

    def give_up(self, reason: str) -> None:
        """Keep nothing from now on."""
        if self._folder is not None:
            self.notes.append(f"{reason} The scan was not cached.")
        self._folder = None

    def close(self) -> None:
        """Nothing more will be kept."""
        self.tokens.close()
        self.documents.close()


@contextmanager
def open_store(parameters: Mapping[str, Any] | None) -> Iterator[ScanStore]:
    """The store of the scan that ``parameters`` decide; None keeps nothing.

    While one process has it, another that asks for the same scan goes without.
    """
    if parameters is None:
        yield ScanStore(None, {})
        return
    folder = cache_folder() / "scans" / cache_key(parameters)
    store = ScanStore(folder, parameters)
    if store.look():
        yield store
        return
    lock = filelock.FileLock(folder / "lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        store.give_up("The same scan is running elsewhere.")
    except OSError as problem:
        store.give_up(f"{folder} cannot be written: {problem.strerror}.")
    try:
        yield store
    finally:
        lock.release()
