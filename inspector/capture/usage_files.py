"""A usage on disk: a folder of ``usage.npz``, the counts, and the tokens they were counted over.

``usage.npz`` is written last and renamed into place: where it is, all is.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from inspector.capture.cache import replacing
from inspector.capture.usage import SiteUsage, SlotContexts, TableUsage, Usage
from inspector.errors import CacheError
from inspector.families.base import SiteInfo

USAGE: Final = "usage.npz"
TOKENS: Final = "tokens.int32"
DOCUMENTS: Final = "documents.int64"
_ABOUT = "about"  # the entry that holds everything but arrays, as JSON
_PLAIN: Final = (  # fields of Usage
    *("fingerprint", "corpus", "tokens", "distinct_contexts"),
    *("documents", "complete", "seed", "notes"),
)


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write ``arrays`` and plain values to ``path``, whole or not at all.

    Raises:
        CacheError: it cannot be written, or the disk is full.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        try:
            np.savez(file, **arrays, **{_ABOUT: np.array(json.dumps(about))})  # type: ignore[arg-type]
        except ValueError as problem:  # closing a ZIP whose disk was full
            raise OSError(str(problem)) from None


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What ``save_arrays`` wrote.

    Raises:
        CacheError: it cannot be read.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays, json.loads(str(arrays.pop(_ABOUT)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as problem:
        raise CacheError(f"{path} cannot be read ({problem}). Delete it.") from None


def write_counts(folder: Path, usage: Usage, parameters: Mapping[str, Any]) -> None:
    """Write ``usage.npz``: all but the tokens, which must be in ``folder`` by then.

    Raises:
        CacheError: it cannot be written, or the disk is full.
    """
    records: dict[str, Any] = {
        **{f"site.{name}": site for name, site in usage.sites.items()},
        **{f"table.{number}": table for number, table in usage.tables.items()},
        **{f"contexts.{number}": own for number, own in usage.contexts.items()},
    }
    arrays = {
        f"{record}.{name}": value
        for record, fields in records.items()
        for name, value in vars(fields).items()
        if isinstance(value, np.ndarray)
    }
    about = {
        **{name: getattr(usage, name) for name in _PLAIN},
        "sites": {name: dataclasses.asdict(site.site) for name, site in usage.sites.items()},
        "tables": list(usage.tables),
        "parameters": dict(parameters),
    }
    save_arrays(folder / USAGE, arrays, about)


def write_usage(folder: Path, usage: Usage) -> None:
    """Keep ``usage`` in ``folder``, which is made; ``read_usage`` gives it back.

    Raises:
        CacheError: it cannot be written, or the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise CacheError(f"{folder} cannot be made: {problem.strerror}.") from None
    for name, numbers in ((TOKENS, usage.token_ids), (DOCUMENTS, usage.document_starts)):
        with replacing(folder / name) as temporary:
            numbers.tofile(temporary)
    write_counts(folder, usage, {})


def read_usage(folder: Path) -> Usage:
    """The usage kept in ``folder``; its tokens are mapped, not loaded.

    Raises:
        CacheError: there is none, or it is broken.
    """
    arrays, about = load_arrays(folder / USAGE)

    def fields(record: str) -> dict[str, Any]:
        mine = f"{record}."
        return {n.removeprefix(mine): array for n, array in arrays.items() if n.startswith(mine)}

    try:
        return Usage(
            **{name: about[name] for name in _PLAIN} | {"notes": tuple(about["notes"])},
            sites={
                name: SiteUsage(site=SiteInfo(**info), **fields(f"site.{name}"))
                for name, info in about["sites"].items()
            },
            tables={t: TableUsage(t, **fields(f"table.{t}")) for t in about["tables"]},
            contexts={t: SlotContexts(**fields(f"contexts.{t}")) for t in about["tables"]},
            token_ids=_mapped(folder / TOKENS, np.dtype(np.int32), about["tokens"]),
            document_starts=_mapped(folder / DOCUMENTS, np.dtype(np.int64), about["documents"]),
        )
    except (KeyError, TypeError, ValueError, OSError) as problem:
        raise CacheError(f"The usage in {folder} is broken ({problem}). Delete it.") from None


def _mapped(file: Path, dtype: np.dtype[Any], count: int) -> np.ndarray:
    return np.memmap(file, dtype, mode="r", shape=(count,))
