"""What dead half-keys would become, and what the slots they then address would hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import faiss
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inspector.analyses.displaced import (
    NO_OWNER,
    DisplacedReads,
    SlotStart,
    find_displaced,
    mean_displaced,
    start_values,
)
from inspector.analyses.usage_measures import sites_of
from inspector.analyses.verdicts import Verdict, Verdicts
from inspector.capture.usage import Usage
from inspector.families.base import MemoryModel, SiteInfo
from inspector.families.native_edit import (
    NewRows,
    half_key_rows,
    put_rows,
    stored_half_keys,
    table_rows,
)

_ITERATIONS: Final = 25
_SHARES: Final = np.linspace(1.0, 0.1, 10)  # of the norm typical of a set
_MOST_BYTES: Final = 2**28  # what a site's displaced values may take, one for each lookup


@dataclass(frozen=True, eq=False)
class NewHalfKeys:
    """Dead half-keys and what they become.

    ``site``, ``head``, ``half`` and ``half_key`` say which, all ``[revived]`` (``site`` by name);
    ``vectors [revived d_half]`` are the new ones as they are stored.
    """

    site: np.ndarray
    head: np.ndarray
    half: np.ndarray
    half_key: np.ndarray
    vectors: Tensor

    def __len__(self) -> int:
        return len(self.site)

    def only(self, chosen: np.ndarray) -> NewHalfKeys:
        """Those at ``chosen``, numbers or a mask."""
        return NewHalfKeys(
            self.site[chosen],
            self.head[chosen],
            self.half[chosen],
            self.half_key[chosen],
            self.vectors[torch.from_numpy(chosen)],
        )

    def at(self, site: str, head: int, half: int) -> np.ndarray:
        """Numbers of those of one head and set."""
        here = (self.site == site) & (self.head == head) & (self.half == half)
        return np.flatnonzero(here)

    def edits(self, model: MemoryModel) -> list[NewRows]:
        """The rows of the checkpoint's tensors that change with them."""
        edits = []
        for name in dict.fromkeys(self.site.tolist()):
            own = self.only(self.site == name)
            head, half, half_key = map(torch.from_numpy, (own.head, own.half, own.half_key))
            info = model.site(name).info
            edits.append(half_key_rows(info, head, half, half_key, own.vectors))
        return edits


@dataclass(frozen=True, eq=False)
class RevivePlan:
    """Half-keys to re-initialise, and the values that slots they address start with.

    ``reads [revived]`` is how many reads each wins on the sampled queries, and ``harm [revived]``
    the squared error this makes in the sums of values: how far the new values are from those they
    displace there, and from their own former selves where others read them too. ``values`` are by
    table: ``slots [slot]`` ascending and their ``rows [slot d_value]``.
    """

    half_keys: NewHalfKeys
    reads: np.ndarray
    harm: np.ndarray
    values: Mapping[int, tuple[Tensor, Tensor]]

    def edits(self, model: MemoryModel) -> list[NewRows]:
        """All that changes in the checkpoint."""
        return self.half_keys.edits(model) + [
            table_rows(table, slots, rows) for table, (slots, rows) in self.values.items()
        ]

    def to_frame(self) -> pd.DataFrame:
        """One row for each half-key revived."""
        keys = self.half_keys
        return pd.DataFrame(
            {
                "site": keys.site,
                "head": keys.head,
                "set": keys.half + 1,
                "half_key": keys.half_key,
                "norm": keys.vectors.norm(dim=-1).numpy(),
                "sampled_reads": self.reads,
                "harm": self.harm,
            }
        )


def propose_half_keys(
    model: MemoryModel, usage: Usage, verdicts: Verdicts, seed: int = 0
) -> NewHalfKeys:
    """A centroid of the scanned queries for every dead half-key; see ``new_half_keys``."""
    blocks = []
    for (name, head, half), judged in verdicts.half_keys.items():
        site, dead = model.site(name), judged.chosen(Verdict.DEAD)
        queries = usage.sites[name].query_sample[:, head, half]
        if not len(dead) or not len(queries):
            continue
        keys = site.half_keys()[head, half].detach().float().cpu().numpy()
        found = new_half_keys(queries, keys, dead, site.info.knn, seed)
        own = dead[: len(found)]
        scored = torch.from_numpy(found).to(model.device)
        blocks.append(
            NewHalfKeys(
                np.full(len(own), name, dtype=object),
                np.full(len(own), head),
                np.full(len(own), half),
                own,
                stored_half_keys(model, site.info, scored).cpu(),
            )
        )
    return _together(blocks)


def new_half_keys(
    queries: np.ndarray, half_keys: np.ndarray, dead: np.ndarray, knn: int, seed: int = 0
) -> np.ndarray:
    """Centroids for the ``dead`` of one head's set, ``[revived d_half]``; fewer if queries lack.

    The queries are clustered into n clusters, one for each half-key of the set. The dead are given
    those that no living half-key points to: whose largest cosine to one is least. A centroid gets
    the living half-keys' median norm; where it would then, beside the living alone, be among the
    best k of more than the k/n of the sampled queries that uniform use gives it, so many tenths
    less as end that. (Queries have much in common, and so has a centroid: at full length it would
    take over.)

    Args:
        queries: sampled, ``[sample d_half]``.
        half_keys: as they are scored, ``[half_key d_half]``.
        dead: which of them, ascending.
        knn: reads of a lookup.
        seed: of the clusters.
    """
    living = np.setdiff1d(np.arange(len(half_keys)), dead)
    if not len(living):
        living = dead
    directions = _centroids(queries, len(half_keys), seed)
    nearest = (directions @ _unit(half_keys[living]).T).max(axis=1)
    chosen = directions[np.argsort(nearest, kind="stable")[: len(dead)]]
    typical = float(np.median(np.linalg.norm(half_keys[living], axis=-1)))
    scores = queries @ half_keys[living].T  # [sample living]
    to_beat = np.sort(scores, axis=-1)[:, -min(knn, len(living))]
    along = queries @ chosen.T * typical  # [sample revived]
    wins = np.stack([(along * share > to_beat[:, None]).mean(0) for share in _SHARES])
    fair = wins <= max(knn / len(half_keys), 1 / len(queries))
    share = np.where(fair.any(0), fair.argmax(0), wins.argmin(0))  # the first, largest that's fair
    return np.asarray(chosen * typical * _SHARES[share][:, None], dtype=np.float32)


def _together(blocks: Sequence[NewHalfKeys]) -> NewHalfKeys:
    return NewHalfKeys(
        np.concatenate([each.site for each in blocks]),
        np.concatenate([each.head for each in blocks]),
        np.concatenate([each.half for each in blocks]),
        np.concatenate([each.half_key for each in blocks]),
        torch.cat([each.vectors for each in blocks]),
    )


def _centroids(queries: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Directions of the centroids of at most ``count`` clusters, ``[centroid d_half]``."""
    points, weights = np.unique(queries, axis=0, return_counts=True)
    count = min(count, len(points))
    if count == 0:
        return np.zeros((0, queries.shape[1]), dtype=np.float32)
    means = faiss.Kmeans(
        points.shape[1],
        count,
        niter=_ITERATIONS,
        seed=seed,
        min_points_per_centroid=1,  # the default warns of fewer than 39
        max_points_per_centroid=len(points),  # the default clusters a sample of 256
    )
    means.train(points, weights=weights.astype(np.float32))
    found = np.asarray(means.centroids, dtype=np.float32)
    return _unit(found[np.linalg.norm(found, axis=-1) > 0])


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-30), dtype=np.float32)


def plan_revival(
    model: MemoryModel, trial: MemoryModel, usage: Usage, half_keys: NewHalfKeys
) -> RevivePlan:
    """Which reads ``half_keys`` win on the sampled queries, and the values they start with.

    Args:
        model: the original.
        trial: the same checkpoint opened once more; it's left as it was.
        usage: a scan of it.
        half_keys: what is to be revived.
    """
    before = put_rows(trial, half_keys.edits(trial))
    try:
        displaced = _displaced(model, trial, usage, half_keys)
    finally:
        put_rows(trial, before)
    reads, harm = np.zeros(len(half_keys), dtype=np.int64), np.zeros(len(half_keys))
    values = {}
    for table, parts in displaced.items():
        others = torch.from_numpy(_weights(usage, table)).to(model.device)
        start = start_values(model.tables[table], parts, others)
        means, won = mean_displaced(parts, len(half_keys))
        reads += won.cpu().numpy()
        for part, errors in zip(parts, start.errors, strict=True):
            for half in (0, 1):
                owner = part.owners[..., half]
                here = (owner != NO_OWNER).cpu().numpy()
                np.add.at(harm, owner.cpu().numpy()[here], errors.cpu().numpy()[here])
        values[table] = _with_unread(half_keys, start, means, won > 0, others)
    return RevivePlan(half_keys, reads, harm, values)


def _displaced(
    model: MemoryModel, trial: MemoryModel, usage: Usage, half_keys: NewHalfKeys
) -> dict[int, list[DisplacedReads]]:
    """By table, the sampled lookups that ``half_keys``, which are in ``trial``, change."""
    found: dict[int, list[DisplacedReads]] = {}
    for name, head in sorted(
        set(zip(half_keys.site.tolist(), half_keys.head.tolist(), strict=True))
    ):
        site = model.site(name)
        owners = torch.full((2, site.info.half_keys), NO_OWNER)
        for half in (0, 1):
            own = half_keys.at(name, head, half)
            owners[half, half_keys.half_key[own]] = torch.from_numpy(own)
        queries = torch.from_numpy(_sample(usage, site.info)[:, head])
        with torch.inference_mode():
            part = find_displaced(
                site, trial.site(name), queries.to(model.device), head, owners.to(model.device)
            )
        found.setdefault(site.info.table, []).append(part)
    return found


def _sample(usage: Usage, info: SiteInfo) -> np.ndarray:
    """As many of the sampled queries as keep within memory: drawn anew, with the scan's seed."""
    queries = usage.sites[info.name].query_sample
    heads = sum(site.site.heads for site in usage.sites.values())
    most = max(256, _MOST_BYTES // (4 * heads * info.d_value))
    if len(queries) <= most:
        return queries
    rows = np.random.default_rng(usage.seed).choice(len(queries), most, replace=False)
    return np.asarray(queries[np.sort(rows)])


def _weights(usage: Usage, table: int) -> np.ndarray:
    """Summed weight of each slot's reads in the scan, for as many tokens as were sampled."""
    sites = sites_of(usage, table).values()
    sampled = min(len(_sample(usage, site.site)) for site in sites)
    total = np.sum([site.weights.sum(0) for site in sites], axis=0)
    return np.asarray(total * sampled / max(usage.tokens, 1), dtype=np.float32)


def _with_unread(
    half_keys: NewHalfKeys, start: SlotStart, means: Tensor, won: Tensor, others: Tensor
) -> tuple[Tensor, Tensor]:
    """``start`` and, for slots that nothing reads yet, what their half-key displaces elsewhere."""
    n = round(len(others) ** 0.5)
    along = torch.arange(n)
    item = torch.from_numpy(half_keys.half_key)[:, None]
    first = torch.from_numpy(half_keys.half == 0)[:, None]
    slots = torch.where(first, item * n + along, along * n + item)  # [revived half_key]
    owner = torch.arange(len(half_keys))[:, None].expand_as(slots)
    slots, owner = slots.flatten().to(others.device), owner.flatten().to(others.device)
    free = (others[slots] == 0) & won[owner] & ~torch.isin(slots, start.slots)
    slots, owner = slots[free], owner[free]
    order = slots.argsort(stable=True)  # of two half-keys of one slot the first is taken
    slots, owner = slots[order], owner[order]
    once = torch.ones_like(slots, dtype=torch.bool)
    once[1:] = slots[1:] != slots[:-1]
    every = torch.cat([start.slots, slots[once]])
    rows = torch.cat([start.rows, means[owner[once]]])
    order = every.argsort()
    return every[order].cpu(), rows[order].cpu()
