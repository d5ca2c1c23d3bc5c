"""Any text tried on one slot: where it's read, how near it comes, and what it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inspector.analyses.slot_ablation import Meaning, ablation, meanings
from inspector.capture.session import logits, session
from inspector.capture.trace import encode
from inspector.families.base import MemoryModel, Site
from inspector.memory.product_keys import SiteReads

_PAIRS_AT_ONCE = 2**22  # sums of half scores compared together


@dataclass(frozen=True, eq=False)
class SiteTrial:
    """One site's lookups of a text, for one slot; all ``[pos head]``.

    ``read`` tells whether the slot is among the reads; ``coefficients`` are 0 where it isn't.
    ``scores`` are the slot's own, ``to_beat`` that of the k-th best read, ``ranks`` the slot's
    among all, from 1: it's read if that's at most knn.
    """

    read: np.ndarray  # bool
    coefficients: np.ndarray  # float32
    scores: np.ndarray  # float64
    to_beat: np.ndarray  # float64
    ranks: np.ndarray  # int64

    @property
    def gaps(self) -> np.ndarray:
        """How far the slot's score lies below that of the k-th best read; 0 where it's read."""
        return np.where(self.read, 0.0, self.to_beat - self.scores)


@dataclass(frozen=True, eq=False)
class Removal:
    """The text's predictions with the slot ablated everywhere it is read, all ``[pos]``.

    ``kl`` is KL(intact || ablated) of the prediction after each token in nats, ``change`` that in
    the log-probability of the token that follows (NaN after the last); ``top`` the best tokens
    then, ``[pos][rank]`` of (id, probability).
    """

    kl: np.ndarray
    change: np.ndarray
    top: tuple[tuple[tuple[int, float], ...], ...]


@dataclass(frozen=True, eq=False)
class SlotTrial:
    """A text tried on a slot; ``ids [pos]`` are its tokens and ``intact`` the model's own top."""

    table: int
    slot: int
    ids: np.ndarray
    tokens: tuple[str, ...]
    sites: Mapping[str, SiteTrial]
    intact: tuple[tuple[tuple[int, float], ...], ...]
    removed: Mapping[Meaning, Removal]

    @property
    def read(self) -> np.ndarray:
        """Whether any head of any site reads the slot, ``[pos]`` bool."""
        return np.asarray(np.any([site.read.any(-1) for site in self.sites.values()], axis=0))

    @property
    def weight(self) -> np.ndarray:
        """Summed |coefficient| of the slot's reads, ``[pos]``."""
        sizes = [np.abs(site.coefficients).sum(-1) for site in self.sites.values()]
        return np.asarray(np.sum(sizes, axis=0))

    def nearest_miss(self) -> tuple[int, str, int] | None:
        """Position, site and head where an unread slot ranks best; None where it's always read."""
        best: tuple[int, int, str, int] | None = None
        for name, site in self.sites.items():
            ranks = np.where(site.read, np.iinfo(np.int64).max, site.ranks)
            pos, head = np.unravel_index(int(ranks.argmin()), ranks.shape)
            if not site.read[pos, head]:
                found = (int(ranks[pos, head]), int(pos), name, int(head))
                best = found if best is None else min(best, found)
        return None if best is None else best[1:]

    def to_frame(self) -> pd.DataFrame:
        """One row for each token, site and head."""
        frames = []
        for name, site in self.sites.items():
            pos, head = np.indices(site.read.shape).reshape(2, -1)
            frames.append(
                pd.DataFrame(
                    {
                        "pos": pos,
                        "token": [self.tokens[p] for p in pos],
                        "site": name,
                        "head": head,
                        "read": site.read.ravel(),
                        "rank": site.ranks.ravel(),
                        "score": site.scores.ravel(),
                        "to_beat": site.to_beat.ravel(),
                        "short_by": site.gaps.ravel(),
                        "coefficient": site.coefficients.ravel(),
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)


@dataclass
class _Watcher:
    """Takes the slot's standing from every lookup of the table's sites."""

    slot: int
    sites: tuple[str, ...]
    found: dict[str, SiteTrial] = field(default_factory=dict)

    def looked_up(self, site: Site, half_scores: Tensor, reads: SiteReads) -> None:
        """Note how the slot stood, in the only row."""
        if site.info.name in self.sites:
            self.found[site.info.name] = stand(half_scores[0], reads, self.slot)

    def entered(self, site: Site, x: Tensor) -> None:
        """Nothing is kept of a site's input."""


def stand(half_scores: Tensor, reads: SiteReads, slot: int) -> SiteTrial:
    """How ``slot`` stood in lookups ``half_scores [pos head half half_key]``.

    Its rank is exact: all n * n sums are compared in float64, and of equal ones the lower slot
    comes first, as in the lookup itself.
    """
    hit = reads.slots[0] == slot  # [pos head knn]
    halves = half_scores.detach().double().flatten(0, 1)  # [lookup half half_key]
    n = halves.shape[-1]
    own = halves[:, 0, slot // n] + halves[:, 1, slot % n]
    ranks = []
    for part, score in zip(
        halves.split(max(_PAIRS_AT_ONCE // (n * n), 1)),
        own.split(max(_PAIRS_AT_ONCE // (n * n), 1)),
        strict=True,
    ):
        sums = (part[:, 0, :, None] + part[:, 1, None, :]).flatten(1)
        above = (sums > score[:, None]).sum(-1)
        tied = (sums[:, :slot] == score[:, None]).sum(-1)
        ranks.append(above + tied + 1)
    shape = hit.shape[:2]
    coefficients = (reads.coefficients[0].float() * hit).sum(-1)
    return SiteTrial(
        hit.any(-1).cpu().numpy(),
        coefficients.detach().cpu().numpy(),
        own.view(shape).cpu().numpy(),
        reads.scores[0].detach().double().amin(-1).cpu().numpy(),
        torch.cat(ranks).view(shape).cpu().numpy(),
    )


def try_text(model: MemoryModel, text: str, table: int, slot: int, top: int = 3) -> SlotTrial:
    """Run ``text`` with and without ``slot`` of ``table``.

    Raises:
        PromptError: the text cannot be read.
    """
    ids = encode(model, text)
    sites = model.sites_of(table)
    watcher = _Watcher(slot, sites)
    with session(observer=watcher):
        intact = logits(model, ids)[0].float().log_softmax(-1)  # [pos d_vocab]
    removed: dict[Meaning, Removal] = {}
    for meaning in meanings(model, table):
        edit = ablation(meaning, torch.tensor([slot], device=ids.device), frozenset(sites))
        with session([edit]):
            changed = logits(model, ids)[0].float().log_softmax(-1)
        kl = (intact.exp() * (intact - changed)).sum(-1).clamp_min(0)
        gap = (changed - intact)[:-1].gather(-1, ids[0, 1:, None])[:, 0]
        removed[meaning] = Removal(
            kl.cpu().numpy(), np.append(gap.cpu().numpy(), np.nan), _top(changed, top)
        )
    numbers = ids[0].cpu().numpy()
    tokens = tuple(model.token_text(token) for token in numbers.tolist())
    ordered = {name: watcher.found[name] for name in sites}
    return SlotTrial(table, slot, numbers, tokens, ordered, _top(intact, top), removed)


def _top(logprobs: Tensor, count: int) -> tuple[tuple[tuple[int, float], ...], ...]:
    best = logprobs.topk(min(count, logprobs.shape[-1]), dim=-1)
    return tuple(
        tuple(zip(ids, chances, strict=True))
        for ids, chances in zip(best.indices.tolist(), best.values.exp().tolist(), strict=True)
    )
