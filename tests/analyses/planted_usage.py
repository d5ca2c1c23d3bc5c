"""A model whose dead half-keys, pairs and values are known, and scans of it by its own lookup."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from inspector.analyses.half_key_causes import Cause
from inspector.capture.usage import MARGIN_EDGES, SiteUsage, SlotContexts, TableUsage, Usage
from inspector.families.base import MemoryModel, Provenance, SiteInfo
from inspector.families.native import NativeSite
from inspector.memory.layer import MemoryShape, ProductKeyMemory
from inspector.memory.product_keys import score_half_keys
from inspector.memory.values import ValueTable

HALF_KEYS, HEADS, D_HALF, D_VALUE = 16, 2, 16, 64
SLOTS = HALF_KEYS**2
DOCUMENT = 20  # contexts in one
LAYERS = (1, 3)


def empty_site(info: SiteInfo) -> dict[str, np.ndarray]:
    """The parts of a ``SiteUsage`` in which nothing was seen."""
    heads, n, d_half = info.heads, info.half_keys, info.d_key // 2
    per_slot = np.zeros((heads, info.slots), dtype=np.int64)
    per_half = np.zeros((heads, 2, n), dtype=np.int64)
    return {
        "reads": per_slot,
        "weights": per_slot.astype(np.float64),
        "contexts": per_slot,
        "half_hits": per_half,
        "half_rank": per_half.astype(np.int32),
        "half_margin": per_half.astype(np.float32),
        "margin_counts": np.zeros((heads, len(MARGIN_EDGES) + 1), dtype=np.int64),
        "co_firing": np.zeros((heads, heads), dtype=np.int64),
        "query_mean": np.zeros((heads, 2, d_half), dtype=np.float32),
        "query_sample": np.zeros((0, heads, 2, d_half), dtype=np.float32),
    }


def site_info(layer: int = 1, *, heads: int = 1, half_keys: int = 2, knn: int = 1) -> SiteInfo:
    return SiteInfo(layer, 0, heads, knn, half_keys, 8, 4, 8, False, "softmax")


def counted_site(info: SiteInfo, contexts: np.ndarray, **parts: np.ndarray) -> SiteUsage:
    """A site of which only counts matter: every read once, with weight 1, unless told."""
    plain = {"reads": contexts, "weights": contexts.astype(np.float64), "contexts": contexts}
    return SiteUsage(site=info, **(empty_site(info) | plain | parts))


def usage_of(sites: list[SiteUsage], table: TableUsage, **fields: Any) -> Usage:
    """A scan of one table; ``fields`` replace what follows from its first site."""
    lookups = int(sites[0].contexts[0].sum()) // sites[0].site.knn
    nothing = np.zeros(0, dtype=np.int64)
    plain = {
        "fingerprint": "planted",
        "corpus": "planted",
        "sites": {site.site.name: site for site in sites},
        "tables": {0: table},
        "contexts": {0: SlotContexts(*(nothing,) * 6)},
        "tokens": lookups,
        "distinct_contexts": lookups,
        "documents": max(1, lookups // DOCUMENT),
        "complete": True,
        "seed": 0,
        "token_ids": nothing,
        "document_starts": nothing,
    }
    return Usage(**(plain | fields))


@dataclass
class Truth:
    """What is dead, by slot or half-key, and why; and which slots are rare."""

    half_keys: dict[tuple[str, int, int], dict[int, Cause]] = field(default_factory=dict)
    addresses: dict[tuple[str, int], dict[int, Cause]] = field(default_factory=dict)
    values: dict[int, Cause] = field(default_factory=dict)
    rare: set[int] = field(default_factory=set)


class Planted:
    """Two sites of two heads on one table of 16 x 16 slots, with one read a lookup.

    Each query is near the two half-keys of a slot drawn at random, so that with one read a lookup
    it's that slot that is read. Never drawn: pairs with a planted dead half-key, pairs planted at
    one head, and the planted dead values. Rare slots are drawn a fifth as often as others.
    """

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.truth = Truth()
        slots = self.random.permutation(
            [i * HALF_KEYS + j for i in range(8, HALF_KEYS) for j in range(8, HALF_KEYS)]
        )
        untrained, trained, self.truth.rare = slots[:4], slots[4:8], set(slots[8:14].tolist())
        self.truth.values = dict.fromkeys(untrained.tolist(), Cause.UNTRAINED)
        self.truth.values |= dict.fromkeys(trained.tolist(), Cause.BEATEN)
        self.half_keys = {f"L{layer}": self._half_keys() for layer in LAYERS}
        self._plant_half_keys()
        for number, place in enumerate((n, h) for n in self.half_keys for h in range(HEADS)):
            lost = slots[14 + 3 * number : 17 + 3 * number].tolist() + list(self.truth.values)
            self.truth.addresses[place] = self._dead_addresses(place, lost)
        self.model = self._model(untrained)

    def _half_keys(self) -> np.ndarray:
        """Half-keys ``[head half half_key d_half]`` around a common mean, lengths 10 % apart."""
        around = np.linalg.qr(self.random.standard_normal((HEADS, 2, HALF_KEYS, D_HALF))).Q
        keys = around + 0.7 * around.mean(-2, keepdims=True) * D_HALF**0.5
        keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
        return keys * self.random.normal(1, 0.1, (HEADS, 2, HALF_KEYS, 1)).clip(0.8, 1.2)

    def _plant_half_keys(self) -> None:
        first, second = self.half_keys.values()
        one, other = self.half_keys
        first[0, 0, 3] *= 0.05
        first[1, 1, 5] -= 2.5 * first[1, 1].mean(0)
        first[1, 1, 5] /= np.linalg.norm(first[1, 1, 5])
        second[0, 0, 7] = 0.85 * second[0, 0, 2]  # whatever is near it is nearer to half-key 2
        second[0, 1, 1] *= 20
        second[0, 1, 1] -= 2 * np.linalg.norm(second[0, 1, 1]) * second[0, 1].mean(0)
        self.truth.half_keys = {
            (one, 0, 0): {3: Cause.NORM},
            (one, 1, 1): {5: Cause.DIRECTION},
            (other, 0, 0): {7: Cause.OUT_OF_REACH},
            (other, 0, 1): {1: Cause.NORM},
        }

    def _dead_addresses(self, place: tuple[str, int], lost: list[int]) -> dict[int, Cause]:
        dead = dict.fromkeys(lost, Cause.BEATEN)
        for half in (0, 1):
            for item, cause in self.truth.half_keys.get((*place, half), {}).items():
                for slot in range(SLOTS):
                    if divmod(slot, HALF_KEYS)[half] == item:
                        dead[slot] = min(cause, dead.get(slot, cause))
        return dead

    def _model(self, untrained: np.ndarray) -> MemoryModel:
        table = ValueTable(SLOTS, D_VALUE).requires_grad_(False)
        generator = torch.Generator().manual_seed(0)
        table.weight.copy_(torch.randn(SLOTS, D_VALUE, generator=generator) * D_VALUE**-0.5)
        trained = np.setdiff1d(np.arange(SLOTS), untrained)
        table.weight[trained] *= 3
        shape = MemoryShape(D_VALUE, HEADS, 1, HALF_KEYS, 2 * D_HALF, D_VALUE)
        sites = {}
        for layer, keys in zip(LAYERS, self.half_keys.values(), strict=True):
            memory = ProductKeyMemory(shape, table).requires_grad_(False)
            memory.half_key_scores.half_keys.copy_(torch.from_numpy(keys))
            sites[f"L{layer}"] = NativeSite(layer, 0, memory)
        nothing = cast(Any, None)
        return MemoryModel(
            name="planted",
            path=Path("planted"),
            fingerprint="planted",
            module=nothing,
            tokenizer=nothing,
            sites=sites,
            tables=(table,),
            backbone=nothing,
            positions=DOCUMENT,
            provenance=Provenance("native", "planted", 0),
            config={},
        )

    def scan(self, contexts: int, repeats: int = 1) -> Usage:
        """What ``contexts`` distinct contexts read, each seen ``repeats`` times."""
        sites, slots = [], []
        for name in self.half_keys:
            heads = [self._lookups(name, head, contexts) for head in range(HEADS)]
            parts = {key: np.stack([head[key] for head in heads]) for key in heads[0]}
            slots += list(parts.pop("slots"))
            sample = np.moveaxis(parts.pop("queries"), 0, 1)[:1000]
            parts |= {"query_sample": sample, "reads": parts["contexts"] * repeats}
            parts["weights"] = parts["reads"] / 2
            sites.append(counted_site(self.model.sites[name].info, **parts))
        document = np.arange(contexts) // DOCUMENT
        pairs = np.unique(np.concatenate([document * SLOTS + own for own in slots]))
        found = np.bincount(pairs % SLOTS, minlength=SLOTS).astype(np.int32) * repeats
        seen = len(np.unique(np.concatenate(slots)))
        curve = np.array([[contexts * repeats, seen]])
        return usage_of(
            sites,
            TableUsage(0, found, curve),
            tokens=contexts * repeats,
            documents=(contexts + DOCUMENT - 1) // DOCUMENT * repeats,
        )

    def _lookups(self, name: str, head: int, contexts: int) -> dict[str, np.ndarray]:
        keys = self.half_keys[name][head]
        chance = np.ones(SLOTS)
        chance[list(self.truth.rare)] = 0.2
        chance[list(self.truth.addresses[name, head])] = 0
        drawn = self.random.choice(SLOTS, contexts, p=chance / chance.sum())
        aimed = np.stack([keys[0][drawn // HALF_KEYS], keys[1][drawn % HALF_KEYS]], axis=1)
        queries = aimed / np.linalg.norm(aimed, axis=-1, keepdims=True)
        queries += self.random.normal(0, 0.05, queries.shape)  # [context half d_half]
        scores = score_half_keys(
            torch.from_numpy(queries.reshape(contexts, 1, 2 * D_HALF)),
            torch.from_numpy(keys[None]),
        )
        read = self.model.sites[name].select(scores, None).slots[:, 0, 0].numpy()
        ordered = scores[:, 0].sort(dim=-1, descending=True)
        ranks = ordered.indices.argsort(-1).numpy()  # [context half half_key]
        margin = (scores[:, 0] - ordered.values[..., :1]).numpy()
        return {
            "slots": read,
            "contexts": np.bincount(read, minlength=SLOTS),
            "half_hits": (ranks == 0).sum(0),
            "half_rank": ranks.min(0, initial=HALF_KEYS).astype(np.int32),
            "half_margin": margin.max(0, initial=-np.inf).astype(np.float32),
            "query_mean": queries.sum(0).astype(np.float32) / max(contexts, 1),
            "queries": queries.astype(np.float32),
        }
