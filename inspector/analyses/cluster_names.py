"""What clusters of values are about: the tokens that theirs promote more than the others do.

c-TF-IDF (Grootendorst 2022, "BERTopic", section 3.3): of each cluster the tokens that its values
promote are one document; a token's weight is its share of that document times log(1 + A / f),
where f is how often it occurs in all documents and A how long they are on average. The token that
a value promotes most at a site counts once, its second half, its third a third: a value says one
thing before all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from inspector.analyses.gates import MeanGates
from inspector.analyses.map_progress import Tell, untold
from inspector.analyses.slot_vectors import BLOCK, slot_vectors
from inspector.analyses.unembedding import unembedding_of
from inspector.capture.visible_text import visible_text
from inspector.errors import NotShown
from inspector.families.base import MemoryModel

TERMS: Final = 10  # promoted tokens of a value that count
WORDS: Final = 3  # in a name
AFFORDED: Final = 2e12  # products of coordinates: some tens of seconds on one core


@dataclass(frozen=True, eq=False)
class ClusterNames:
    """A name for each cluster, ``by`` which decoding: empty where none is known.

    Names are token texts, such as ``Paris, France, Lyon``: untrusted text. A cluster whose values
    say nothing of their own is called by its number.
    """

    names: tuple[str, ...]
    by: str

    def to_frame(self) -> pd.DataFrame:
        """One row for each cluster."""
        return pd.DataFrame({"cluster": range(len(self.names)), "name": list(self.names)})


def name_clusters(
    model: MemoryModel,
    table: int,
    site: str | None,
    slots: np.ndarray,
    clusters: np.ndarray,
    *,
    gates: MeanGates | None = None,
    seed: int = 0,
    tell: Tell = untold,
) -> ClusterNames:
    """Name the ``clusters [point]`` of ``slots [point]`` by the tokens that they promote.

    Values are decoded as ``site`` would write them, or for value rows as each site that reads
    the table would, together: statically where that is known. Raw values are decoded only where
    that says something: where nothing stands between them and the residual stream but a gate
    of which no scan tells. Where even that is impossible clusters are called by their numbers.
    """
    count = int(clusters.max(initial=-1)) + 1
    sites = decoding_sites(model, table, site, gates)
    numbers = tuple(f"cluster {number}" for number in range(count))
    try:
        unembedding_of(model)
    except NotShown:  # values of this model have no tokens
        return ClusterNames(numbers, "")
    if not sites or not count:
        return ClusterNames(numbers, "")
    head = model.backbone.head
    afforded = int(AFFORDED / head.weight.numel() / len(sites))
    drawn = np.sort(np.random.default_rng(seed).permutation(len(slots))[: max(afforded, count)])
    tokens = np.stack(
        [
            promoted_tokens(model, table, each, slots[drawn], gates, _share(tell, n, len(sites)))
            for n, each in enumerate(sites)
        ]
    )
    best = distinctive_terms(tokens, clusters[drawn], count, head.out_features)
    names = [_name([model.token_text(int(token)) for token in row[: 4 * WORDS]]) for row in best]
    how = "raw" if sites == (None,) else f"static at {', '.join(str(each) for each in sites)}"
    if len(drawn) < len(slots):
        how += f", {len(drawn):,} values drawn at random (seed {seed})"
    return ClusterNames(
        tuple(name or number for name, number in zip(names, numbers, strict=True)), how
    )


def decoding_sites(
    model: MemoryModel, table: int, site: str | None, gates: MeanGates | None
) -> tuple[str | None, ...]:
    """The sites through which values can be decoded; (None,) for raw; empty if not at all."""
    wanted = model.sites_of(table) if site is None else (site,)
    known = [
        name
        for name in wanted
        if model.sites[name].info.additive
        and (not model.sites[name].info.gated or (gates is not None and name in gates.sites))
    ]
    if known:
        return tuple(known)
    residual = model.backbone.head.weight.shape[1]
    return (None,) if model.tables[table].d_value == residual else ()


def promoted_tokens(
    model: MemoryModel,
    table: int,
    site: str | None,
    slots: np.ndarray,
    gates: MeanGates | None,
    tell: Tell = untold,
    top: int = TERMS,
) -> np.ndarray:
    """Ids of the ``top`` tokens that each value promotes: ``[slot top]``; -1 for NaN and zeros."""
    index, found = unembedding_of(model), []
    for start in range(0, len(slots), BLOCK):
        own = slots[start : start + BLOCK]
        vectors = slot_vectors(model, table, site, own, gates=gates)
        says = np.isfinite(vectors).all(1) & (vectors != 0).any(1)
        ids = np.full((len(own), min(top, model.backbone.head.out_features)), -1, dtype=np.int64)
        if says.any():
            ids[says] = index.promoted(torch.from_numpy(vectors[says]), top).ids
        found.append(ids)
        tell((start + len(own)) / len(slots))
    return np.concatenate(found)


def distinctive_terms(
    tokens: np.ndarray, clusters: np.ndarray, count: int, vocabulary: int
) -> list[np.ndarray]:
    """Each cluster's tokens by falling c-TF-IDF: ids, those that but one value promotes left out.

    Args:
        tokens: ids ``[site point term]``, best first at each site, -1 for none.
        clusters: ``[point]``, -1 for none.
        count: how many clusters there are.
        vocabulary: how many tokens there are.
    """
    kept = (tokens >= 0) & (clusters >= 0)[:, None]
    points = np.broadcast_to(np.arange(len(clusters))[:, None], tokens.shape)[kept]
    by_rank = np.broadcast_to(1 / np.arange(1, tokens.shape[2] + 1), tokens.shape)[kept]
    place = (clusters[points], tokens[kept])
    amounts = sparse.csr_matrix((by_rank, place), shape=(count, vocabulary))
    pairs = np.unique(points * vocabulary + tokens[kept])  # a value counts once
    saying, said = np.divmod(pairs, vocabulary)
    once = (np.ones(len(pairs)), (clusters[saying], said))
    times = sparse.csr_matrix(once, shape=(count, vocabulary))
    lengths = np.asarray(amounts.sum(1)).ravel()
    frequency = np.asarray(amounts.sum(0)).ravel()
    found = []
    for cluster in range(count):
        amount = amounts[cluster].toarray().ravel()
        ids = np.flatnonzero(times[cluster].toarray().ravel() > 1)
        share = amount[ids] / max(lengths[cluster], 1e-12)
        weight = share * np.log1p(lengths.mean() / frequency[ids])
        found.append(ids[np.lexsort((ids, -weight))])
    return found


def _name(texts: Sequence[str]) -> str:
    """The first texts that differ by more than white space and capitals."""
    words: dict[str, str] = {}
    for text in texts:
        if word := text.strip():
            words.setdefault(word.casefold(), visible_text(word))
        if len(words) == WORDS:
            break
    return ", ".join(words.values())


def _share(tell: Tell, part: int, parts: int) -> Tell:
    return lambda share: tell((part + share) / parts)
