"""Every read of every slot in a sample of scanned text: a second pass that a scan does not keep.

A scan counts reads but forgets where most of them were. This runs the model once more over windows
drawn at random from what was scanned and keeps every read in distinct contexts, in order of slots,
so that a slot's reads are found at once. It takes 9 bytes a read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch

from inspector.analyses.scanned_text import WindowSample, sample_windows
from inspector.capture.cache import cache_folder, cache_key
from inspector.capture.scan_windows import Batch, Chunk, Cursor, make_batches
from inspector.capture.session import run_sites, session
from inspector.capture.usage import Usage
from inspector.capture.usage_files import load_arrays, save_arrays
from inspector.errors import CacheError
from inspector.families.base import MemoryModel, Site
from inspector.memory.product_keys import SiteReads

SAMPLED_TOKENS: Final = 100_000
_BATCH_TOKENS: Final = 4096
_CHUNK_READS: Final = 2**21
_FORMAT: Final = 1

Report = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class SlotReads:
    """The reads of one slot in the sample, strongest first.

    ``token [read]`` is the place among the scan's tokens, ``context [read]`` that among the
    sample's distinct contexts, ``site [read]`` a name, ``coefficient [read]`` what multiplied the
    value.
    """

    table: int
    slot: int
    token: np.ndarray  # int64
    context: np.ndarray  # int32
    site: np.ndarray  # str
    head: np.ndarray  # int64
    coefficient: np.ndarray  # float32

    def to_frame(self) -> pd.DataFrame:
        """One row a read."""
        names = ("token", "context", "site", "head", "coefficient")
        return pd.DataFrame({name: getattr(self, name) for name in names})


@dataclass(frozen=True, eq=False)
class TableReads:
    """Reads of one table in order of slots: those of slot s are ``offsets[s]:offsets[s + 1]``."""

    sources: tuple[tuple[str, int], ...]  # site and head of each source
    offsets: np.ndarray  # [slot + 1] int64
    context: np.ndarray  # [read] int32
    source: np.ndarray  # [read] uint16
    coefficient: np.ndarray  # [read] float32

    def __post_init__(self) -> None:
        """Refuse parts that disagree in length."""
        if {len(self.context), len(self.source), len(self.coefficient)} != {int(self.offsets[-1])}:
            raise ValueError("reads, their sources and their offsets disagree")


@dataclass(frozen=True, eq=False)
class ReadIndex:
    """All reads in distinct contexts of a sample of a scan's text.

    ``token [context]`` int64 are the contexts' places among the scan's tokens.
    """

    fingerprint: str
    corpus: str
    sampled: int  # tokens run, of ``scanned``
    scanned: int
    seed: int
    complete: bool  # the sample is all there is
    token: np.ndarray
    tables: Mapping[int, TableReads]

    def of_slot(self, table: int, slot: int) -> SlotReads:
        """The reads of one slot, strongest first; of equal ones the first in the text."""
        own = self.tables[table]
        part = slice(int(own.offsets[slot]), int(own.offsets[slot + 1]))
        context, source = own.context[part], own.source[part].astype(np.int64)
        order = np.lexsort((source, context, -np.abs(own.coefficient[part])))
        context, source = context[order], source[order]
        sites, heads = zip(*own.sources, strict=True)
        return SlotReads(
            table,
            slot,
            self.token[context],
            context,
            np.array(sites)[source],
            np.array(heads)[source],
            own.coefficient[part][order],
        )

    def to_frame(self) -> pd.DataFrame:
        """One row for each slot that was read: how many reads the sample holds."""
        frames = []
        for table, own in self.tables.items():
            counts = np.diff(own.offsets)
            slot = np.flatnonzero(counts)
            frames.append(pd.DataFrame({"table": table, "slot": slot, "reads": counts[slot]}))
        return pd.concat(frames, ignore_index=True)


class _Reader:
    """Keeps the reads of fresh contexts of one batch: the observer of the pass."""

    def __init__(self, tables: Mapping[int, _Growing]) -> None:
        self._tables = tables
        self._batch: Batch
        self._context: np.ndarray

    def expect(self, batch: Batch, context: np.ndarray) -> None:
        """``batch`` comes next; ``context [token]`` numbers its distinct contexts, else -1."""
        self._batch, self._context = batch, context

    def looked_up(self, site: Site, half_scores: torch.Tensor, reads: SiteReads) -> None:
        """Keep the reads of ``site``."""
        kept = np.flatnonzero(self._context >= 0)
        slots = self._batch.select(reads.slots).cpu().numpy()[kept]  # [context head knn]
        coefficients = self._batch.select(reads.coefficients).float().cpu().numpy()[kept]
        growing = self._tables[site.info.table]
        growing.add(site.info.name, slots, coefficients, self._context[kept])

    def entered(self, site: Site, x: torch.Tensor) -> None:
        """Nothing is kept of a site's input."""


class _Growing:
    """Reads of one table as they come."""

    def __init__(self, slots: int, sources: tuple[tuple[str, int], ...]) -> None:
        self._slots, self._sources = slots, sources
        self._first = {name: place for place, (name, head) in enumerate(sources) if head == 0}
        self._parts: list[tuple[np.ndarray, ...]] = []

    def add(self, site: str, slots: np.ndarray, coefs: np.ndarray, context: np.ndarray) -> None:
        source = (self._first[site] + np.arange(slots.shape[1]))[None, :, None]
        parts = (slots, context[:, None, None], source, coefs)
        types = (np.int32, np.int32, np.uint16, np.float32)
        self._parts.append(
            tuple(
                np.broadcast_to(part, slots.shape).astype(kind).ravel()
                for part, kind in zip(parts, types, strict=True)
            )
        )

    def result(self) -> TableReads:
        empty = (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.uint16))
        parts = self._parts or [(*empty, np.empty(0, np.float32))]
        slots, context, source, coefs = (
            np.concatenate([p[field] for p in parts]) for field in range(4)
        )
        order = np.argsort(slots, kind="stable")
        offsets = np.append(0, np.bincount(slots, minlength=self._slots).cumsum()).astype(np.int64)
        return TableReads(self._sources, offsets, context[order], source[order], coefs[order])


def index_reads(
    model: MemoryModel,
    usage: Usage,
    tokens: int = SAMPLED_TOKENS,
    *,
    seed: int = 0,
    report: Report | None = None,
    cancel: Callable[[], bool] | None = None,
    cache: bool = True,
) -> ReadIndex | None:
    """Run ``model`` over a sample of the text that ``usage`` scanned and keep every read.

    Args:
        model: the one that was scanned.
        usage: its scan.
        tokens: at least so many are run, in whole windows drawn at random; all if there are fewer.
        seed: decides which.
        report: told after every batch how many tokens were run, and of how many.
        cancel: asked before every batch; if it says True there is no index, and None is returned.
        cache: whether to keep it on disk, in ``cache_folder()``, and to take it from there.
    """
    sample = sample_windows(model, usage, tokens, seed)
    path = _path(model, usage, sample) if cache else None
    if path is not None and path.is_file():
        try:
            return _load(path)
        except CacheError:
            pass  # a broken one is made anew
    tables = _run(model, usage, sample, report, cancel)
    if tables is None:
        return None
    index = ReadIndex(
        model.fingerprint,
        usage.corpus,
        len(sample.tokens),
        usage.tokens,
        seed,
        sample.complete,
        sample.tokens[sample.first],
        {table: growing.result() for table, growing in tables.items()},
    )
    if path is not None:
        _save(path, index)
    return index


def _run(
    model: MemoryModel,
    usage: Usage,
    sample: WindowSample,
    report: Report | None,
    cancel: Callable[[], bool] | None,
) -> dict[int, _Growing] | None:
    tables = {}
    for table in sorted({site.info.table for site in model.sites.values()}):
        own = [model.site(name).info for name in model.sites_of(table)]
        sources = tuple((info.name, head) for info in own for head in range(info.heads))
        tables[table] = _Growing(own[0].slots, sources)
    reader, done = _Reader(tables), 0
    context = np.where(sample.first, sample.first.cumsum() - 1, -1)
    for first, chunk in _chunks(model, usage, sample):
        for batch in make_batches(chunk, _BATCH_TOKENS, model.device):
            if cancel is not None and cancel():
                return None
            reader.expect(batch, context[first + batch.tokens.cpu().numpy()])
            with session(observer=reader):
                run_sites(model, batch.ids)
            done += len(batch.tokens)
            if report is not None:
                report(done, len(context))
    return tables


def _chunks(model: MemoryModel, usage: Usage, sample: WindowSample) -> list[tuple[int, Chunk]]:
    """The sample's windows in parts, each with the number of tokens before it."""
    reads = sum(site.info.heads * site.info.knn for site in model.sites.values())
    edges = np.append(0, sample.lengths.cumsum())
    group = edges[:-1] // max(_CHUNK_READS // reads, 1)
    ids, chunks = np.asarray(usage.token_ids[sample.tokens]), []
    for number in np.unique(group):
        mine = np.flatnonzero(group == number)
        start, end = int(edges[mine[0]]), int(edges[mine[-1] + 1])
        starts = edges[mine[0] : mine[-1] + 2] - start
        opens = np.ones(len(mine), dtype=bool)
        chunks.append((start, Chunk(ids[start:end], starts, opens, Cursor(), None, False)))
    return chunks


def _path(model: MemoryModel, usage: Usage, sample: WindowSample) -> Path:
    text = hashlib.sha256(np.asarray(usage.token_ids[sample.tokens]).tobytes())
    text.update(sample.starts.tobytes())
    parameters: dict[str, Any] = {
        "format": _FORMAT,
        "fingerprint": model.fingerprint,
        "computed": f"{model.dtype} {model.device.type}",
        "text": text.hexdigest(),
    }
    return cache_folder() / "read_indexes" / f"{cache_key(parameters)}.npz"


_PLAIN: Final = ("fingerprint", "corpus", "sampled", "scanned", "seed", "complete")
_ARRAYS: Final = ("offsets", "context", "source", "coefficient")


def _save(path: Path, index: ReadIndex) -> None:
    arrays = {"token": index.token} | {
        f"{table}.{name}": getattr(own, name)
        for table, own in index.tables.items()
        for name in _ARRAYS
    }
    about = {name: getattr(index, name) for name in _PLAIN}
    about["tables"] = {str(table): list(own.sources) for table, own in index.tables.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_arrays(path, arrays, about)
    except (OSError, CacheError):
        return  # it serves this time, and is made again the next


def _load(path: Path) -> ReadIndex:
    arrays, about = load_arrays(path)
    try:
        tables = {
            int(table): TableReads(
                tuple((str(site), int(head)) for site, head in sources),
                *(arrays[f"{table}.{name}"] for name in _ARRAYS),
            )
            for table, sources in about["tables"].items()
        }
        return ReadIndex(
            **{name: about[name] for name in _PLAIN}, token=arrays["token"], tables=tables
        )
    except (KeyError, TypeError, ValueError) as problem:
        raise CacheError(f"{path} is no index of reads ({problem}). Delete it.") from None
