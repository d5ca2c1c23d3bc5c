"""Numbers that a scan collects without end, on disk, so that memory stays flat."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np


class Log:
    """Grows in a file and is read back as a memory map.

    Where the file can't grow the numbers stay in memory, and ``broken`` says why.
    """

    def __init__(self, path: Path | None, dtype: type[np.generic], count: int = 0) -> None:
        """The first ``count`` numbers of the file at ``path``; without a path a nameless file.

        Raises:
            OSError: the file cannot be opened, or has fewer.
        """
        self._dtype = np.dtype(dtype)
        self._in_memory: list[np.ndarray] = []
        self.count = count
        self.broken: str | None = None
        self._file: IO[Any] = _open(path, count * self._dtype.itemsize)

    def append(self, numbers: np.ndarray) -> None:
        """Add ``numbers [number]`` at the end."""
        numbers = numbers.astype(self._dtype)
        if self.broken is None:
            try:
                self._file.write(numbers.tobytes())
                self._file.flush()
            except OSError as problem:
                self.broken = problem.strerror or str(problem)
                self._in_memory.append(np.array(self._mapped()))
        if self.broken is not None:
            self._in_memory.append(numbers)
        self.count += len(numbers)

    def numbers(self) -> np.ndarray:
        """All of them, ``[number]``."""
        return np.concatenate(self._in_memory) if self.broken is not None else self._mapped()

    def copy(self) -> np.ndarray:
        """All of them, in a file without a name that won't change when this one does."""
        if self.broken is not None:
            return self.numbers()
        own = Log(None, self._dtype.type)
        try:
            self._file.seek(0)
            shutil.copyfileobj(self._file, own._file)
            own._file.flush()
            own.count = self.count
            return own.numbers()
        except OSError:
            return np.array(self.numbers())
        finally:
            own.close()

    def _mapped(self) -> np.ndarray:
        if not self.count:
            return np.empty(0, self._dtype)
        return np.memmap(self._file, self._dtype, mode="r", shape=(self.count,))

    def close(self) -> None:
        """No more will be added; maps of it stay."""
        with suppress(OSError):
            self._file.close()


def _open(path: Path | None, size: int) -> IO[Any]:
    if path is None:
        return tempfile.TemporaryFile()
    if not size:
        path.unlink(missing_ok=True)  # others may still be reading the old one
        return path.open("w+b")
    file = path.open("r+b")
    if file.seek(0, 2) < size:
        file.close()
        raise OSError(f"{path} is shorter than it was")
    file.seek(size)  # what is beyond, a scan that was killed wrote; it will be written again
    return file
