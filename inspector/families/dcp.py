"""PyTorch's distributed checkpoints, read without a process group: the model's tensors alone.

Such a directory holds a ``.metadata``, a pickle that says which piece of which tensor lies where,
and the ``.distcp`` files of the processes that wrote it, where every piece is a small file of
torch.save. The pickle is read by names: nothing it could name is ever imported or called.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from inspector.errors import CheckpointError, UnsafeCheckpoint
from inspector.families.torch_file import MappedFile, read_archive

METADATA: Final = ".metadata"
_MODEL: Final = "model."


class _Record:
    """Stands for any object of a ``.metadata``: what was set on it, and no behaviour."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Record:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take whatever comes."""
        self.args = args

    def __setstate__(self, state: Any) -> None:
        """Keep the fields."""
        self.__dict__.update(state if isinstance(state, dict) else {"state": state})


def _named(*args: Any) -> str:
    if not all(type(arg) in (str, int) for arg in args):
        raise ValueError("a path or a layout in it is made of something else than text")
    return ".".join(map(str, args))


def _text(value: Any) -> str:
    """``value`` if it's a text: others may be built so that telling them takes for ever."""
    if type(value) is not str:
        raise ValueError(f"a {type(value).__name__} stands in it for a name")
    return value


def _tuple(values: Iterable[Any] = ()) -> tuple[Any, ...]:
    return tuple(values)


_MODULE = "torch.distributed.checkpoint"
_RECORDS: Final = {
    *((f"{_MODULE}.metadata", name) for name in ("Metadata", "TensorStorageMetadata")),
    *((f"{_MODULE}.metadata", name) for name in ("TensorProperties", "ChunkStorageMetadata")),
    *((f"{_MODULE}.metadata", name) for name in ("BytesStorageMetadata", "MetadataIndex")),
    *((f"{_MODULE}.metadata", name) for name in ("StorageMeta", "_MEM_FORMAT_ENCODING")),
    (f"{_MODULE}.filesystem", "_StorageInfo"),
    (f"{_MODULE}._fsspec_filesystem", "_StorageInfo"),
}
_NAMED: Final = {
    ("torch.serialization", "_get_layout"),
    *(("pathlib", name) for name in ("PosixPath", "PurePosixPath", "WindowsPath", "Path")),
    *(("pathlib._local", name) for name in ("PosixPath", "WindowsPath")),
}
_PLAIN: Final = {("collections", "OrderedDict"): dict, ("torch", "Size"): _tuple}


class _Reader(pickle.Unpickler):
    """Puts a ``_Record`` or plain values where the pickle names a class."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for ``module.name`` here."""
        if (module, name) in _RECORDS:
            return _Record
        if (module, name) in _NAMED:
            return _named
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        raise UnsafeCheckpoint(
            f"The .metadata names {module}.{name}, which a distributed checkpoint has no use for. "
            "It was not run; only plain descriptions of tensors are read."
        )


def read_dcp(folder: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The model's tensors by name, mapped where they lie in one piece, and the names of the others.

    Those are put together in memory. An optimizer's state that lies beside them isn't touched.

    Raises:
        UnsafeCheckpoint: the ``.metadata`` holds code.
        CheckpointError: something is broken or missing.
    """
    metadata = _metadata(folder / METADATA)
    try:
        described = dict(_described(metadata))
        places = _places(metadata)
    except (AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder / METADATA} is not what torch.distributed.checkpoint writes: {error}."
        ) from None
    prefix = _MODEL if any(name.startswith(_MODEL) for name in described) else ""
    files: dict[str, MappedFile] = {}
    tensors, joined = {}, []
    for name, size in described.items():
        if name.startswith(prefix):
            pieces = places.get(name, [])
            tensors[name.removeprefix(prefix)] = _join(folder, name, size, pieces, files)
            if len(pieces) > 1:
                joined.append(name.removeprefix(prefix))
    return tensors, tuple(joined)


def _metadata(file: Path) -> Any:
    try:
        with file.open("rb") as opened:
            return _Reader(opened).load()
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}.") from None
    except CheckpointError:
        raise
    except Exception as error:  # noqa: BLE001  a broken pickle raises what its parser raises
        raise CheckpointError(
            f"{file} cannot be read ({error}). It may have been cut short while it was copied."
        ) from None


def _described(metadata: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and sizes of all tensors."""
    for name, entry in metadata.state_dict_metadata.items():
        if hasattr(entry, "size"):
            yield _text(name), tuple(int(size) for size in entry.size)


Piece = tuple[tuple[int, ...], str, int, int]  # offsets in the tensor; file, first byte, bytes


def _places(metadata: Any) -> Mapping[str, list[Piece]]:
    """Where the pieces of every tensor lie."""
    found: dict[str, list[Piece]] = {}
    for index, info in metadata.storage_data.items():
        if getattr(info, "transform_descriptors", None):
            raise ValueError("its pieces are transformed, as by compression")
        offsets = tuple(int(offset) for offset in getattr(index, "offset", None) or ())
        place = (offsets, _text(info.relative_path), int(info.offset), int(info.length))
        found.setdefault(_text(index.fqn), []).append(place)
    return found


def _join(
    folder: Path,
    name: str,
    size: tuple[int, ...],
    pieces: list[Piece],
    files: dict[str, MappedFile],
) -> Tensor:
    """The tensor ``name`` of ``size``: over the file where it's one piece, else a copy."""
    parts = [(offsets, _read(folder, name, place, files)) for offsets, *place in pieces]
    if len(parts) == 1 and parts[0][1].shape == size:
        return parts[0][1]
    if sum(part.numel() for _, part in parts) != torch.Size(size).numel() or not parts:
        raise CheckpointError(
            f"{folder}: the pieces of {name} do not make a tensor of {list(size)}; they are "
            f"{', '.join(str(list(part.shape)) for _, part in parts) or 'missing'}."
        )
    for offsets, part in parts:
        ends = [o + n for o, n in zip(offsets, part.shape, strict=False)]
        fits = len(offsets) == part.ndim == len(size) and min(offsets, default=0) >= 0
        if not fits or any(end > most for end, most in zip(ends, size, strict=True)):
            raise CheckpointError(f"{folder}: a piece of {name} lies outside of {list(size)}.")
    if _overlap(parts):
        raise CheckpointError(
            f"{folder}: two pieces of {name} lie over each other, so that some of it is missing."
        )
    whole = torch.zeros(size, dtype=parts[0][1].dtype)
    for offsets, part in parts:
        whole[tuple(slice(o, o + n) for o, n in zip(offsets, part.shape, strict=True))] = part
    return whole


def _overlap(parts: Sequence[tuple[tuple[int, ...], Tensor]]) -> bool:
    """Whether two pieces share a number."""
    starts = np.array([offsets for offsets, _ in parts], dtype=np.int64)
    ends = starts + np.array([part.shape for _, part in parts], dtype=np.int64)
    return any(
        bool(((starts[at] < ends[:at]) & (starts[:at] < ends[at])).all(1).any())
        for at in range(1, len(parts))
    )


def _read(folder: Path, name: str, place: Any, files: dict[str, MappedFile]) -> Tensor:
    file, start, length = place
    if Path(file).name != file:
        raise UnsafeCheckpoint(f"{folder}: {name} is said to lie in {file!r}, outside of it.")
    if file not in files:
        if not (folder / file).is_file():
            raise CheckpointError(f"{folder} has no {file}, in which {name} should lie.")
        files[file] = MappedFile(folder / file)
    mapped = files[file]
    if start < 0 or length < 0 or start + length > mapped.size:
        raise CheckpointError(
            f"{mapped.path} ends before {name} does: it may have been cut short while copied."
        )
    tensor = read_archive(mapped, start, length)
    if not isinstance(tensor, Tensor):
        raise CheckpointError(f"{mapped.path}: {name} is a {type(tensor).__name__}, no tensor.")
    return tensor
