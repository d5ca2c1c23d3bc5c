"""Files of torch.save, mapped: no tensor is read until it is used, and no code in them ever runs.

Such a file is a zip archive that holds a pickle and, uncompressed, every tensor's numbers. The
pickle is read by ``torch.load(weights_only=True)`` without any numbers; those are then mapped from
the file, so that one far larger than memory opens in seconds.
"""

from __future__ import annotations

import io
import mmap
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from inspector.errors import CheckpointError, CheckpointNotFound, UnsafeCheckpoint
from inspector.memory.values import map_privately

_LOCAL_HEADER: Final = 30  # bytes of a zip's local file header before the name


class MappedFile:
    """A file's bytes as memory: pages are fetched when they are touched, and never written back."""

    def __init__(self, path: Path) -> None:
        """Map ``path``.

        Raises:
            CheckpointNotFound: it cannot be opened.
            CheckpointError: it is empty.
        """
        self.path = path
        try:
            with path.open("rb") as file:
                self.size = path.stat().st_size
                if not self.size:
                    raise CheckpointError(f"{path} is empty: nothing was ever written to it.")
                self._bytes = map_privately(file)
        except OSError as error:
            raise CheckpointNotFound(f"{path} cannot be read: {error.strerror}.") from None
        self._first = torch.frombuffer(self._bytes, dtype=torch.uint8, count=1).data_ptr()

    def window(self, start: int, length: int) -> io.BufferedReader:
        """Some of its bytes, as a file of their own."""
        return io.BufferedReader(_Window(memoryview(self._bytes)[start : start + length]))

    def numbers(self, start: int, dtype: torch.dtype, count: int) -> Tensor:
        """``count`` numbers from byte ``start`` on, ``[count]``: not a copy."""
        if not count:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(self._bytes, dtype=dtype, count=count, offset=start)

    def read_at_random(self, rows: Tensor) -> None:
        """Tell the system that single rows of this tensor will be read: reading ahead is waste."""
        start = rows.data_ptr() - self._first
        if hasattr(self._bytes, "madvise") and 0 <= start < self.size:
            page = start - start % mmap.PAGESIZE
            self._bytes.madvise(mmap.MADV_RANDOM, page, start - page + rows.nbytes)


class _Window(io.RawIOBase):
    """A stretch of memory as a readable file."""

    def __init__(self, content: memoryview) -> None:
        """The bytes of ``content``."""
        super().__init__()
        self._content, self._place = content, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte, counted from the start, from here or from the end."""
        base = (0, self._place, len(self._content))[whence]
        if base + offset < 0:
            raise OSError("a place before the start")
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        """The byte that is read next."""
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` as far as there are bytes."""
        part = self._content[self._place : self._place + len(buffer)]
        buffer[: len(part)] = part
        self._place += len(part)
        return len(part)


def read_torch_file(path: Path) -> Any:
    """What was saved in ``path``, its tensors mapped.

    Raises:
        UnsafeCheckpoint: it holds code, or would unpack to more than it is.
        CheckpointError: it is broken, or no file of torch.save.
    """
    file = MappedFile(path)
    return read_archive(file, 0, file.size)


def read_archive(file: MappedFile, start: int, length: int) -> Any:
    """What was saved in the archive at byte ``start`` of ``file``; see ``read_torch_file``."""
    records = _records(file, start, length)
    window = file.window(start, length)
    try:
        saved = torch.load(window, map_location="meta", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(file.path, str(error)) from None
    except Exception as error:  # noqa: BLE001  a broken pickle raises what its parser raises
        reason = str(error).split("\n", 1)[0]
        raise CheckpointError(f"{file.path} cannot be read ({reason}). {_CUT_SHORT}") from None
    try:
        return _Numbers(file, start, records).put_into(saved)
    except RecursionError:
        raise CheckpointError(f"{file.path} is nested deeper than any checkpoint.") from None


_CUT_SHORT: Final = "It may have been cut short while it was copied: copy it again."


def _refused(path: Path, message: str) -> CheckpointError:
    found = re.search(r"GLOBAL ([\w.]+)", message)
    if found is None:
        return CheckpointError(f"{path} holds a pickle that cannot be read. {_CUT_SHORT}")
    return UnsafeCheckpoint(
        f"{path} holds more than tensors: loading it would run {found[1]}. Nothing of it was run. "
        "Only files of plain tensors are opened."
    )


def _records(file: MappedFile, start: int, length: int) -> dict[int, int]:
    """Where in the archive each record begins, and its size; checks that all of it is there."""
    window = file.window(start, length)
    try:
        with zipfile.ZipFile(window) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(
            f"{file.path} is no file of torch.save, which is a zip archive ({error}). {_CUT_SHORT}"
        ) from None
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > length or any(entry.compress_type for entry in entries):
        raise UnsafeCheckpoint(
            f"{file.path} says that {length:,} bytes unpack to {unpacked:,}. torch.save never "
            "compresses, so this was made by something else, perhaps to fill the memory."
        )
    found = {}
    for entry in entries:
        window.seek(entry.header_offset + _LOCAL_HEADER - 4)
        name, extra = (int.from_bytes(window.read(2), "little") for _ in range(2))
        begin = entry.header_offset + _LOCAL_HEADER + name + extra
        if begin + entry.file_size > length:
            raise CheckpointError(f"{file.path}: {entry.filename} is not all there. {_CUT_SHORT}")
        found[begin] = entry.file_size
    return found


class _Numbers:
    """Puts a tensor over the file where one was read without numbers; each object is seen once."""

    def __init__(self, file: MappedFile, start: int, records: dict[int, int]) -> None:
        self._place = (file, start, records)
        self._made: dict[int, Any] = {}  # by identity: parts may be shared, or hold themselves

    def put_into(self, saved: Any) -> Any:
        """``saved`` with tensors that have numbers."""
        if id(saved) not in self._made:
            self._made[id(saved)] = self._put(saved)
        return self._made[id(saved)]

    def _put(self, saved: Any) -> Any:
        if isinstance(saved, Tensor):
            return _mapped(saved, *self._place)
        if isinstance(saved, dict):
            named = self._made[id(saved)] = {}
            named.update((key, self.put_into(part)) for key, part in saved.items())
            return named
        if isinstance(saved, list):
            listed = self._made[id(saved)] = []
            listed.extend(self.put_into(part) for part in saved)
            return listed
        return tuple(map(self.put_into, saved)) if isinstance(saved, tuple) else saved


def _mapped(tensor: Tensor, file: MappedFile, start: int, records: dict[int, int]) -> Tensor:
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise CheckpointError(f"{file.path} holds a {tensor.layout} tensor; expected plain ones.")
    # torch.load notes where the numbers of a storage begin when it leaves them out.
    begin = getattr(tensor.untyped_storage(), "_checkpoint_offset", -1)
    count = records.get(begin, -1) // tensor.dtype.itemsize
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = tensor.storage_offset() + sum((size - 1) * stride for size, stride in steps)
    # A tensor that reads numbers over and over could be larger than any memory.
    if tensor.numel() and (last >= count or tensor.numel() > count):
        raise CheckpointError(
            f"{file.path}: a tensor of {list(tensor.shape)} is larger than its record. {_CUT_SHORT}"
        )
    if not tensor.numel():
        return torch.empty(tensor.shape, dtype=tensor.dtype)
    flat = file.numbers(start + begin, tensor.dtype, count)
    return flat.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
