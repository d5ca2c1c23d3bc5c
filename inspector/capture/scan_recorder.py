"""What a scan has counted so far: sees every lookup, and can be put away and taken up again.

Memory: per slot of a table 24 bytes for each source (a head of a site that reads it), 16 bytes
for documents and coverage, and 256 bytes for contexts; three sites of four heads that share a
table take 560 bytes a slot, 560 MB for 1,000,000 slots. The filter of prefixes takes 32 MB, the
sample of queries up to 64 MB a site, the reads of a chunk up to 200 MB; nothing else grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from inspector.capture.scan_contexts import ReadContexts
from inspector.capture.scan_counts import (
    WEIGHT_UNIT,
    SiteCounts,
    TableCounts,
    tensors_of,
)
from inspector.capture.scan_prefixes import SeenPrefixes
from inspector.capture.scan_queries import QuerySample
from inspector.capture.scan_windows import Batch, Chunk, Cursor
from inspector.capture.usage import SiteUsage, SlotContexts, TableUsage
from inspector.families.base import MemoryModel, Site, SiteInfo
from inspector.memory.product_keys import SiteReads

_CHUNK_READS: Final = 2**21  # of all sites together


@dataclass(frozen=True, eq=False)
class _Layout:
    """Where the reads of a table's sites lie among all reads of one token."""

    places: Mapping[str, slice]  # of each site
    source: Tensor  # [read] int64
    sources: tuple[tuple[str, int], ...]  # site and head of each


def _layout(sites: Mapping[str, SiteInfo], device: torch.device) -> _Layout:
    places: dict[str, slice] = {}
    source: list[int] = []
    sources: list[tuple[str, int]] = []
    for name, info in sites.items():
        places[name] = slice(len(source), len(source) + info.heads * info.knn)
        for head in range(info.heads):
            source += [len(sources)] * info.knn
            sources.append((name, head))
    return _Layout(places, torch.tensor(source, device=device), tuple(sources))


class _Reads:
    """The reads of one chunk at the sites of one table: ``[token read]``, in order of tokens."""

    def __init__(self, tokens: int, reads: int, device: torch.device) -> None:
        self.slots = torch.empty((tokens, reads), dtype=torch.int64, device=device)
        self.coefficients = torch.empty((tokens, reads), device=device)


class Recorder:
    """The observer of a scan (``session(observer=...)``)."""

    def __init__(self, model: MemoryModel, seed: int) -> None:
        """Nothing counted yet."""
        device, sites = model.device, {n: s.info for n, s in model.sites.items()}
        self._device = device
        self.sites = sites
        self.tokens = self.documents = 0
        self.cursor = Cursor()
        self.exhausted = False
        self._layouts: dict[int, _Layout] = {}
        self._tables: dict[int, TableCounts] = {}
        self._contexts: dict[int, ReadContexts] = {}
        for table in sorted({info.table for info in sites.values()}):
            own = {name: info for name, info in sites.items() if info.table == table}
            layout = _layout(own, device)
            size = next(iter(own.values())).slots, len(layout.sources)
            self._layouts[table] = layout
            self._tables[table] = TableCounts(*size, device)
            self._contexts[table] = ReadContexts(*size, seed, device)
        self._sites = {name: SiteCounts(info, device) for name, info in sites.items()}
        self.prefixes = SeenPrefixes()
        self._queries = QuerySample(sites, seed)

    @property
    def chunk_tokens(self) -> int:
        """Tokens of a chunk whose reads fit into memory."""
        reads = sum(len(layout.source) for layout in self._layouts.values())
        return max(_CHUNK_READS // reads, 1)

    # --- a chunk, batch by batch ------------------------------------------------------------

    def begin(self, chunk: Chunk) -> None:
        """Make room for the reads of ``chunk``."""
        count = len(chunk.ids)
        self._reads = {
            table: _Reads(count, len(layout.source), self._device)
            for table, layout in self._layouts.items()
        }
        self._rows = self._queries.plan(self.tokens, count)

    def expect(self, batch: Batch) -> None:
        """The next pass runs ``batch``."""
        self._batch = batch
        rows = self._rows[batch.tokens.cpu()]
        drawn = (rows >= 0).nonzero().flatten()
        self._drawn, self._drawn_rows = drawn.to(self._device), rows[drawn]

    def looked_up(self, site: Site, half_scores: Tensor, reads: SiteReads) -> None:
        """Count one site's lookups of a batch."""
        name, batch = site.info.name, self._batch
        slots = batch.select(reads.slots)
        self._sites[name].add(batch.select(half_scores), slots)
        kept = self._reads[site.info.table]
        place = self._layouts[site.info.table].places[name]
        kept.slots[batch.tokens, place] = slots.flatten(1)
        coefficients = batch.select(reads.coefficients).flatten(1).float()
        kept.coefficients[batch.tokens, place] = coefficients

    def entered(self, site: Site, x: Tensor) -> None:
        """Keep the queries of those tokens of a batch that were drawn."""
        if len(self._drawn):
            chosen = self._batch.select(x).index_select(0, self._drawn)
            self._queries.put(site.info.name, self._drawn_rows, site.queries(chosen))

    def commit(self, chunk: Chunk, done: np.ndarray | None = None) -> Chunk:
        """Count the reads of ``chunk``, or of the windows that are ``done [window]`` alone."""
        kept: Tensor | None = None
        if done is not None:
            tokens = np.flatnonzero(np.repeat(done, chunk.lengths))
            kept, chunk = torch.from_numpy(tokens).to(self._device), chunk.only(done)
        if len(chunk.ids):
            self._count(chunk, kept)
        del self._reads
        return chunk

    def _count(self, chunk: Chunk, kept: Tensor | None) -> None:
        fresh = torch.from_numpy(self.prefixes.add(chunk.ids, chunk.starts)).to(self._device)
        first = fresh.nonzero().flatten()
        document = torch.from_numpy(chunk.documents(self.documents)).to(self._device)
        for table, reads in self._reads.items():
            slots, coefficients = reads.slots, reads.coefficients
            if kept is not None:
                slots, coefficients = slots[kept], coefficients[kept]
            source = self._layouts[table].source
            self._tables[table].add(
                slots,
                coefficients,
                source=source,
                fresh=fresh,
                document=document,
                start=self.tokens,
            )
            self._contexts[table].add(
                slots[first], coefficients[first], source, first + self.tokens
            )
        self.tokens += len(chunk.ids)
        self.documents += int(chunk.opens.sum())
        self.cursor, self.exhausted = chunk.after, chunk.exhausted

    # --- what it came to --------------------------------------------------------------------

    def site_usage(self, name: str) -> SiteUsage:
        """The counts of one site."""
        info, counts = self.sites[name], self._sites[name]
        table, sources = self._tables[info.table], self._layouts[info.table].sources
        mine = [place for place, (site, _) in enumerate(sources) if site == name]
        own = {key: tensor.cpu().numpy() for key, tensor in tensors_of(counts).items()}
        sample = self._queries.result(name)
        return SiteUsage(
            site=info,
            reads=table.reads[mine].cpu().numpy(),
            weights=table.weights[mine].cpu().numpy() * WEIGHT_UNIT,
            contexts=table.contexts[mine].cpu().numpy(),
            half_hits=own["half_hits"],
            half_rank=own["half_rank"],
            half_margin=own["half_margin"],
            margin_counts=own["margins"],
            co_firing=own["co_firing"],
            query_mean=(sample.sum(0, dtype=np.float64) / max(len(sample), 1)).astype(np.float32),
            query_sample=sample,
        )

    def table_usage(self, table: int) -> TableUsage:
        """The counts of one table."""
        counts = self._tables[table]
        documents = counts.documents.cpu().numpy()
        return TableUsage(table, documents, counts.coverage(self.tokens))

    def slot_contexts(self, table: int) -> SlotContexts:
        """The contexts of one table's slots."""
        sources = self._layouts[table].sources
        return self._contexts[table].result([(self.sites[s].layer, head) for s, head in sources])

    @property
    def table_numbers(self) -> tuple[int, ...]:
        """The value tables that are read."""
        return tuple(self._tables)

    # --- putting it away --------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """All that was counted, by name; on the CPU where it was there."""
        parts: dict[str, Mapping[str, Tensor]] = {
            "prefixes": self.prefixes.tensors(),
            "queries": self._queries.tensors(),
            **{f"table.{t}": tensors_of(counts) for t, counts in self._tables.items()},
            **{f"contexts.{t}": own.tensors() for t, own in self._contexts.items()},
            **{f"site.{name}": tensors_of(counts) for name, counts in self._sites.items()},
        }
        return {f"{part}.{n}": tensor for part, own in parts.items() for n, tensor in own.items()}

    def numbers(self) -> dict[str, Any]:
        """The rest of what must be kept to go on."""
        return {
            "tokens": self.tokens,
            "documents": self.documents,
            "cursor": list(self.cursor),
            "exhausted": self.exhausted,
            "distinct": self.prefixes.count,
        }

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on from what ``tensors`` and ``numbers`` gave."""
        for name, mine in self.tensors().items():
            mine.copy_(tensors[name])
        self.tokens, self.documents = numbers["tokens"], numbers["documents"]
        self.cursor, self.exhausted = Cursor(*numbers["cursor"]), numbers["exhausted"]
        self.prefixes.count = numbers["distinct"]
