"""Scanning a corpus: who reads which slot how often, where, and on how much evidence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from inspector.capture.corpus import Corpus, open_corpus
from inspector.capture.scan_recorder import Recorder
from inspector.capture.scan_store import ScanStore, open_store
from inspector.capture.scan_windows import (
    Chunk,
    check_vocabulary,
    make_batches,
    make_chunks,
    read_windows,
)
from inspector.capture.session import run_sites, session, standing_edits
from inspector.capture.usage import Usage
from inspector.errors import CheckpointError
from inspector.families.base import MemoryModel

BATCH_TOKENS: Final = 4096
_FORMAT = 1  # of what is kept on disk: a change makes older scans be done anew
_SAVE_EVERY_S = 30.0
_SAVE_SHARE = 0.05  # of the time may go into saving


@dataclass(frozen=True)
class ScanProgress:
    """How far a scan is. The speed is that of this run, if it was taken up again."""

    tokens: int
    total: int | None  # estimated from the share of the corpus that was read; None if not known
    tokens_per_s: float

    @property
    def in_words(self) -> str:
        """Tokens and speed, for one line."""
        total = "" if self.total is None else f" of {self.total:,}"
        return f"{self.tokens:,}{total} tokens · {self.tokens_per_s:,.0f} tokens/s"


Report = Callable[[ScanProgress], None]


def scan(
    model: MemoryModel,
    corpus: str | Path | Iterable[str] | Corpus,
    tokens: int | None = None,
    *,
    seed: int = 0,
    batch_tokens: int = BATCH_TOKENS,
    report: Report | None = None,
    cancel: Callable[[], bool] | None = None,
    cache: bool = True,
) -> Usage:
    """Run the model over ``corpus`` and count what its memory layers read.

    A scan that was killed goes on where it was saved last, with the same result to the last bit;
    one that was finished is read from the cache. Counts depend neither on the order of the
    documents nor on ``batch_tokens``.

    Args:
        model: whose reads to count.
        corpus: a file (.txt a document a line, .md a paragraph, .jsonl, .csv, .parquet), a folder
            of them, a checkpoint's folder (its facts), or texts. ``open_corpus`` takes one whose
            column isn't named "text".
        tokens: stop after so many; None reads the whole corpus.
        seed: decides which reads and queries are drawn as samples.
        batch_tokens: positions run together.
        report: told after every batch how far it is.
        cancel: asked before every batch; if it says True, what was counted is returned.
        cache: whether to keep it on disk, in ``cache_folder()``.

    Raises:
        CorpusError: the corpus cannot be read.
        CheckpointError: the model has no memory layers.
        UnknownToken: the tokenizer gives tokens that the model doesn't know.
    """
    if not model.sites:
        raise CheckpointError(f"{model.name} has no memory layers: there is nothing to scan.")
    if batch_tokens < 1 or (tokens is not None and tokens < 1):
        raise ValueError(f"tokens = {tokens} and batch_tokens = {batch_tokens} are at least 1")
    source = open_corpus(corpus)
    cache = cache and not standing_edits(model)  # what is kept is of the model as it is
    parameters = _parameters(model, source, tokens, seed, batch_tokens) if cache else None
    with open_store(parameters) as store, torch.inference_mode():
        if store.done is not None:
            return replace(store.done, corpus=source.name)
        running = _Scan(model, source, seed, store, report, cancel)
        try:
            return running.run(tokens, batch_tokens)
        finally:
            store.close()


def _parameters(
    model: MemoryModel, source: Corpus, tokens: int | None, seed: int, batch_tokens: int
) -> dict[str, Any] | None:
    """All that the result depends on to the last bit; None if the corpus can't be read again."""
    if source.identity is None:
        return None
    return {
        "format": _FORMAT,
        "fingerprint": model.fingerprint,
        "computed": f"{model.dtype} {model.device.type}",
        "corpus": source.identity,
        "tokens": tokens,
        "seed": seed,
        "batch_tokens": batch_tokens,
    }


class _Scan:
    """One scan on its way."""

    def __init__(
        self,
        model: MemoryModel,
        source: Corpus,
        seed: int,
        store: ScanStore,
        report: Report | None,
        cancel: Callable[[], bool] | None,
    ) -> None:
        self._model, self._source, self._seed, self._store = model, source, seed, store
        self._cancel = cancel or (lambda: False)
        self._recorder = Recorder(model, seed)
        state = store.open()
        if state is not None:
            arrays, numbers = state
            self._recorder.restore({n: torch.from_numpy(a) for n, a in arrays.items()}, numbers)
        self._meter = _Meter(report, self._recorder.tokens)

    def run(self, limit: int | None, batch_tokens: int) -> Usage:
        """Scan what is left, at most ``limit`` tokens with what was scanned before."""
        recorder = self._recorder
        left = None if limit is None else limit - recorder.tokens
        windows = read_windows(self._model, self._source, recorder.cursor)
        saver = _Saver(self._store, recorder)
        for chunk in make_chunks(windows, recorder.chunk_tokens, left):
            check_vocabulary(self._model, chunk.ids)
            self._meter.expect(recorder.tokens, chunk, limit)
            done = self._run_chunk(chunk, batch_tokens)
            self._log(recorder.commit(chunk, None if done.all() else done))
            if not done.all():
                return self._usage(cancelled=True)
            saver.save_if_due()
        usage = self._usage(cancelled=False)
        self._store.finish(usage)
        self._meter.end(recorder.tokens)
        return replace(usage, notes=tuple(self._store.notes))

    def _run_chunk(self, chunk: Chunk, batch_tokens: int) -> np.ndarray:
        """Which windows were run, ``[window]`` bool: all, unless it was cancelled."""
        self._recorder.begin(chunk)
        done = np.zeros(len(chunk.opens), dtype=bool)
        for batch in make_batches(chunk, batch_tokens, self._model.device):
            if self._cancel():
                break
            self._recorder.expect(batch)
            with session(observer=self._recorder):
                run_sites(self._model, batch.ids)
            done[batch.windows] = True
            self._meter.add(len(batch.tokens))
        return done

    def _log(self, chunk: Chunk) -> None:
        before = self._recorder.tokens - len(chunk.ids)
        self._store.tokens.append(chunk.ids)
        self._store.documents.append(chunk.starts[:-1][chunk.opens] + before)

    def _usage(self, *, cancelled: bool) -> Usage:
        recorder, store = self._recorder, self._store
        return Usage(
            fingerprint=self._model.fingerprint,
            corpus=self._source.name,
            sites={name: recorder.site_usage(name) for name in recorder.sites},
            tables={table: recorder.table_usage(table) for table in recorder.table_numbers},
            contexts={table: recorder.slot_contexts(table) for table in recorder.table_numbers},
            tokens=recorder.tokens,
            distinct_contexts=recorder.prefixes.count,
            documents=recorder.documents,
            complete=recorder.exhausted and not cancelled,
            seed=self._seed,
            token_ids=store.tokens.copy() if cancelled else store.tokens.numbers(),
            document_starts=store.documents.copy() if cancelled else store.documents.numbers(),
            notes=tuple(store.notes),
        )


class _Saver:
    """Puts away how far a scan got, every so often."""

    def __init__(self, store: ScanStore, recorder: Recorder) -> None:
        self._store, self._recorder = store, recorder
        self._last, self._cost = time.monotonic(), 0.0

    def save_if_due(self) -> None:
        """Save, unless the last time was a moment ago or too much time would go into it."""
        start = time.monotonic()
        since = start - self._last
        if since < _SAVE_EVERY_S or self._cost > since * _SAVE_SHARE:
            return
        arrays = {name: tensor.cpu().numpy() for name, tensor in self._recorder.tensors().items()}
        self._store.save(arrays, self._recorder.numbers())
        self._last = time.monotonic()
        self._cost = self._last - start


class _Meter:
    """Speed and time left."""

    def __init__(self, report: Report | None, tokens: int) -> None:
        self._report = report or (lambda _progress: None)
        self._start, self._before, self._tokens = time.monotonic(), tokens, tokens
        self._total: int | None = None

    def expect(self, before: int, chunk: Chunk, limit: int | None) -> None:
        """``chunk`` comes next, after ``before`` tokens."""
        self._tokens, end = before, before + len(chunk.ids)
        known = [] if limit is None else [limit]
        if chunk.share:
            known.append(round(end / chunk.share))
        self._total = end if chunk.exhausted else max(min(known), end) if known else None

    def add(self, tokens: int) -> None:
        """So many more were run."""
        self._tokens += tokens
        speed = (self._tokens - self._before) / max(time.monotonic() - self._start, 1e-9)
        self._report(ScanProgress(self._tokens, self._total, speed))

    def end(self, tokens: int) -> None:
        """All ``tokens`` were run."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        self._report(ScanProgress(tokens, tokens, (tokens - self._before) / seconds))
