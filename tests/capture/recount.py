"""Counting every read of a scan again: window by window, in loops, as the words define it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inspector.capture.corpus import open_corpus
from inspector.capture.scan_windows import Window, read_windows
from inspector.capture.session import run_sites, session
from inspector.capture.trace import trace
from inspector.capture.usage import MARGIN_EDGES, SlotContexts, Usage
from inspector.families.base import MemoryModel, Site
from inspector.memory.product_keys import SiteReads


@dataclass
class Seen:
    """Half scores of one pass, ``[pos head half half_key]`` per site, and the sites' inputs."""

    half_scores: dict[str, np.ndarray] = field(default_factory=dict)
    queries: dict[str, np.ndarray] = field(default_factory=dict)

    def looked_up(self, site: Site, half_scores: Tensor, reads: SiteReads) -> None:
        self.half_scores[site.info.name] = half_scores[0].double().numpy()

    def entered(self, site: Site, x: Tensor) -> None:
        self.queries[site.info.name] = site.queries(x)[0].numpy()


@dataclass(frozen=True)
class Read:
    """One read of the scan; ``fresh`` where its prefix is the first of its kind."""

    token: int
    document: int
    site: str
    head: int
    slot: int
    coefficient: float
    fresh: bool


@dataclass
class Recount:
    """All reads, and per token what the sites saw."""

    reads: list[Read]
    half_scores: dict[str, list[np.ndarray]]  # per site and token [head half half_key]
    queries: dict[str, list[np.ndarray]]  # per site and token [head half d_half]
    tokens: list[int]
    document_starts: list[int]
    prefixes: int


def windows_of(model: MemoryModel, corpus: object, tokens: int | None) -> Iterator[Window]:
    left = 10**9 if tokens is None else tokens
    for window in read_windows(model, open_corpus(corpus)):  # type: ignore[arg-type]
        if left > 0:
            ids = window.ids[:left]
            left -= len(ids)
            yield Window(ids, window.opens, window.after, window.share)


def recount(model: MemoryModel, corpus: list[str] | Path, tokens: int | None = None) -> Recount:
    """Trace every window by itself, without padding."""
    found = Recount([], defaultdict(list), defaultdict(list), [], [], 0)
    seen: set[tuple[int, ...]] = set()
    for window in windows_of(model, corpus, tokens):
        start, ids = len(found.tokens), list(window.ids)
        if window.opens:
            found.document_starts.append(start)
        traced, observer = trace(model, ids=[ids]), Seen()
        with session(observer=observer):
            run_sites(model, torch.tensor([ids]))
        prefixes = [tuple(ids[: pos + 1]) for pos in range(len(ids))]
        fresh = [prefix not in seen for prefix in prefixes]
        seen.update(prefixes)
        found.tokens += ids
        for name, reads in traced.reads.items():
            found.half_scores[name] += list(observer.half_scores[name])
            found.queries[name] += list(observer.queries[name])
            for pos, head, rank in np.ndindex(*reads.slots[0].shape):
                found.reads.append(
                    Read(
                        start + pos,
                        len(found.document_starts) - 1,
                        name,
                        head,
                        int(reads.slots[0, pos, head, rank]),
                        float(reads.coefficients[0, pos, head, rank]),
                        fresh[pos],
                    )
                )
    found.prefixes = len(seen)
    return found


def check_reads(usage: Usage, truth: Recount) -> None:
    """Reads, weights and contexts per site, head and slot; documents and coverage per table."""
    for name, site in usage.sites.items():
        reads, contexts = np.zeros_like(site.reads), np.zeros_like(site.contexts)
        weights = np.zeros_like(site.weights)
        for read in truth.reads:
            if read.site == name:
                reads[read.head, read.slot] += 1
                contexts[read.head, read.slot] += read.fresh
                weights[read.head, read.slot] += abs(read.coefficient)
        np.testing.assert_array_equal(site.reads, reads)
        np.testing.assert_array_equal(site.contexts, contexts)
        np.testing.assert_allclose(site.weights, weights, atol=1e-4)
    assert usage.tokens == len(truth.tokens)
    assert usage.reads == len(truth.reads)
    assert usage.distinct_contexts == truth.prefixes
    assert usage.token_ids.tolist() == truth.tokens
    assert usage.document_starts.tolist() == truth.document_starts
    assert usage.documents == len(truth.document_starts)


def check_tables(usage: Usage, truth: Recount) -> None:
    for number, table in usage.tables.items():
        mine = {name for name, site in usage.sites.items() if site.site.table == number}
        reads = [read for read in truth.reads if read.site in mine]
        documents = defaultdict(set)
        for read in reads:
            documents[read.slot].add(read.document)
        expected = [len(documents[slot]) for slot in range(len(table.documents))]
        assert table.documents.tolist() == expected
        assert table.coverage[-1, 0] == usage.tokens
        for tokens, slots in table.coverage.tolist():
            assert slots == len({read.slot for read in reads if read.token < tokens})


def check_half_keys(usage: Usage, truth: Recount) -> None:
    """Ranks from a full sort of every query's scores; ties go to the lower half-key."""
    for name, site in usage.sites.items():
        scores = np.stack(truth.half_scores[name])  # [token head half half_key]
        order = np.argsort(-scores, axis=-1, kind="stable")
        rank = np.argsort(order, axis=-1)
        k = min(site.site.knn, site.site.half_keys)
        bound = np.sort(scores, axis=-1)[..., -k, None]
        np.testing.assert_array_equal(site.half_hits, (rank < k).sum(0))
        np.testing.assert_array_equal(site.half_rank, rank.min(0))
        np.testing.assert_allclose(site.half_margin, (scores - bound).max(0), atol=1e-5)
        np.testing.assert_array_equal(site.margin_counts, margins(scores, site.site.knn))


def margins(scores: np.ndarray, knn: int) -> np.ndarray:
    heads, n = scores.shape[1], scores.shape[-1]
    counts = np.zeros((heads, len(MARGIN_EDGES) + 1), dtype=int)
    for token, head in np.ndindex(len(scores), heads):
        first, second = scores[token, head]
        sums = np.sort((first[:, None] + second[None, :]).ravel())
        if knn < n * n:
            gap = sums[-knn] - sums[-knn - 1]
            counts[head, sum(gap >= edge for edge in MARGIN_EDGES)] += 1
    return counts


def check_co_firing(usage: Usage, truth: Recount) -> None:
    for name, site in usage.sites.items():
        slots = defaultdict(set)
        for read in truth.reads:
            if read.site == name:
                slots[read.token, read.head].add(read.slot)
        expected = np.zeros_like(site.co_firing)
        for token, a, b in np.ndindex(usage.tokens, *expected.shape):
            expected[a, b] += bool(slots[token, a] & slots[token, b])
        np.testing.assert_array_equal(site.co_firing, expected)


def strongest(truth: Recount, usage: Usage, table: int, slot: int) -> list[tuple[int, int, int]]:
    """Block, head and token of the four strongest reads of a slot in contexts not seen before."""
    layers = {
        name: site.site.layer for name, site in usage.sites.items() if site.site.table == table
    }
    mine = [r for r in truth.reads if r.slot == slot and r.fresh and r.site in layers]
    mine.sort(key=lambda r: (-abs(r.coefficient), r.token, layers[r.site], r.head))
    return [(layers[r.site], r.head, r.token) for r in mine[:4]]


def shown(contexts: SlotContexts, slot: int, kind: int) -> list[tuple[int, int, int]]:
    """Block, head and token of what is shown of a slot."""
    at = np.flatnonzero((contexts.slot == slot) & (contexts.kind == kind))
    return [(int(contexts.site[i]), int(contexts.head[i]), int(contexts.token[i])) for i in at]
