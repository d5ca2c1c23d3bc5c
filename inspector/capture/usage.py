"""What a scan of a corpus recorded: who read which slot how often, per site and head."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from inspector.families.base import SiteInfo

# Bins of the gap between the scores of rank k and rank k + 1, logarithmic; the first holds gaps
# below the first edge, the last those from the last edge on.
MARGIN_EDGES = np.geomspace(1e-4, 1e2, 49)


@dataclass(frozen=True, eq=False)
class SiteUsage:
    """Counts of one site. A *context* is a distinct prefix: equal prefixes are counted once.

    ``margin_counts`` bins the gap between each lookup's k-th and (k+1)-th best score by
    ``MARGIN_EDGES``; lookups that read every slot have none. A half-key's rank and margin are its
    best ever; of equal scores the lower half-key ranks first. ``co_firing[a b]`` is the number of
    tokens at which heads a and b read at least one slot in common (its diagonal: all tokens).
    ``query_sample`` holds queries of tokens drawn at random with the scan's seed, from all tokens
    alike, and ``query_mean`` is their mean.
    """

    site: SiteInfo
    reads: np.ndarray  # [head slot] int64
    weights: np.ndarray  # [head slot] float64, summed |coefficient|
    contexts: np.ndarray  # [head slot] int64, reads in contexts seen for the first time
    half_hits: np.ndarray  # [head half half_key] int64, times among its half's best k
    half_rank: np.ndarray  # [head half half_key] int32, best rank ever, 0 is first
    half_margin: np.ndarray  # [head half half_key] float32, best score less the k-th best's
    margin_counts: np.ndarray  # [head bin] int64
    co_firing: np.ndarray  # [head head] int64
    query_mean: np.ndarray  # [head half d_half] float32
    query_sample: np.ndarray  # [sample head half d_half] float32

    def __post_init__(self) -> None:
        """Refuse parts that disagree with the site's sizes."""
        heads, slots, n = self.site.heads, self.site.slots, self.site.half_keys
        expected = {
            "reads": (heads, slots),
            "weights": (heads, slots),
            "contexts": (heads, slots),
            "half_hits": (heads, 2, n),
            "half_rank": (heads, 2, n),
            "half_margin": (heads, 2, n),
            "margin_counts": (heads, len(MARGIN_EDGES) + 1),
            "co_firing": (heads, heads),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                found = getattr(self, name).shape
                raise ValueError(f"{self.site.name}: {name} is {found}, expected {shape}")


@dataclass(frozen=True, eq=False)
class TableUsage:
    """Counts of one value table, over all sites and heads that read it."""

    table: int
    documents: np.ndarray  # [slot] int32, documents in which the slot was read
    coverage: np.ndarray  # [point 2] int64: tokens scanned, distinct slots read by then


@dataclass(frozen=True, eq=False)
class SlotContexts:
    """Where slots were read, so that their contexts can be shown: per table.

    ``kind`` 0 is one of the slot's four strongest reads by |coefficient|; 1 (weakest) to 4 one of
    two reads drawn at random from that quarter of them. Contexts are distinct: a prefix that came
    again isn't shown again. The quarters are those of a uniform random sample of 12 of the slot's
    reads, so their bounds are estimates. Sorted by slot, kind, descending |coefficient|.
    """

    slot: np.ndarray  # [sample] int32
    kind: np.ndarray  # [sample] int8
    site: np.ndarray  # [sample] int16, block number
    head: np.ndarray  # [sample] int16
    weight: np.ndarray  # [sample] float32, the coefficient
    token: np.ndarray  # [sample] int64, index into the scan's tokens


@dataclass(frozen=True, eq=False)
class Usage:
    """A scan: what was read over a corpus, and on how much evidence.

    ``token_ids [token]`` int32 are all tokens scanned, in order, and ``document_starts
    [document]`` int64 where each document begins among them. A document longer than the model's
    positions was read in parts, each of which begins anew with the tokenizer's first token.
    ``notes`` say what went wrong beside it, such as that it couldn't be cached.
    """

    fingerprint: str
    corpus: str
    sites: Mapping[str, SiteUsage]
    tables: Mapping[int, TableUsage]
    contexts: Mapping[int, SlotContexts]  # by table
    tokens: int
    distinct_contexts: int  # distinct prefixes among them
    documents: int
    complete: bool  # False: cancelled, or stopped by the limit on tokens
    seed: int
    token_ids: np.ndarray
    document_starts: np.ndarray
    notes: tuple[str, ...] = ()

    @cached_property
    def identity(self) -> str:
        """Tells two scans apart, by the tokens that they read and not by what a file is called."""
        digest = hashlib.blake2b(digest_size=16)
        plain = (self.fingerprint, self.corpus, self.seed, self.complete, len(self.token_ids))
        digest.update(repr(plain).encode())
        for numbers in (self.token_ids, self.document_starts):
            digest.update(np.ascontiguousarray(numbers).data)
        return digest.hexdigest()

    @property
    def reads(self) -> int:
        """Reads of all sites and heads."""
        return int(sum(site.reads.sum() for site in self.sites.values()))

    def to_frame(self) -> pd.DataFrame:
        """One row for each slot that a head of a site read: its reads, their weight, contexts."""
        frames = []
        for name, usage in self.sites.items():
            head, slot = usage.reads.nonzero()
            frames.append(
                pd.DataFrame(
                    {
                        "table": usage.site.table,
                        "site": name,
                        "head": head,
                        "slot": slot,
                        "i": slot // usage.site.half_keys,
                        "j": slot % usage.site.half_keys,
                        "reads": usage.reads[head, slot],
                        "weight": usage.weights[head, slot],
                        "contexts": usage.contexts[head, slot],
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)
