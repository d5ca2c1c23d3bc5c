"""The half-keys that address a slot, and the half-keys that lie closest to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from inspector.capture.usage import Usage
from inspector.families.base import MemoryModel, SiteInfo


@dataclass(frozen=True, eq=False)
class HalfKeyNeighbours:
    """One half-key of a slot, for one head of one site.

    ``norm_z`` is its norm in standard deviations from the mean of its set. ``nearest
    [neighbour]`` are the other half-keys of the set with the largest ``cosine [neighbour]``,
    closest first. ``hits`` is how often it was among its half's best k in a scan (None without
    one), ``usual_hits`` the mean of its set.
    """

    site: str
    head: int
    half: int  # 0 or 1
    half_key: int
    norm: float
    norm_z: float
    nearest: np.ndarray
    cosine: np.ndarray
    hits: int | None
    usual_hits: float | None

    def __post_init__(self) -> None:
        """Refuse neighbours without a cosine."""
        if self.nearest.shape != self.cosine.shape:
            raise ValueError("each neighbour has one cosine")


def slot_half_keys(
    model: MemoryModel, table: int, slot: int, usage: Usage | None = None, count: int = 4
) -> tuple[HalfKeyNeighbours, ...]:
    """Both half-keys of ``slot``, for every head of every site that reads ``table``.

    Args:
        model: an opened checkpoint.
        table: the value table.
        slot: its number.
        usage: a scan, for how often each half-key was in the running.
        count: how many neighbours to give.
    """
    found = []
    for name in model.sites_of(table):
        site = model.site(name)
        with torch.inference_mode():
            half_keys = site.half_keys().float()  # [head half half_key d_half]
        hits = None if usage is None else usage.sites[name].half_hits
        for head in range(site.info.heads):
            for half, half_key in enumerate(site.info.pair(slot)):
                own = None if hits is None else hits[head, half]
                place = (site.info, head, half, half_key)
                found.append(_neighbours(half_keys[head, half], place, own, count))
    return tuple(found)


def _neighbours(
    half_keys: torch.Tensor,
    place: tuple[SiteInfo, int, int, int],
    hits: np.ndarray | None,
    count: int,
) -> HalfKeyNeighbours:
    """Neighbours of one of ``half_keys [half_key d_half]``."""
    info, head, half, half_key = place
    norms = half_keys.norm(dim=-1)
    cosine = (half_keys @ half_keys[half_key]) / (norms * norms[half_key]).clamp_min(1e-12)
    cosine[half_key] = -torch.inf
    best = cosine.topk(min(count, len(cosine) - 1))
    spread = float(norms.std(correction=0))
    return HalfKeyNeighbours(
        info.name,
        head,
        half,
        half_key,
        float(norms[half_key]),
        float(norms[half_key] - norms.mean()) / spread if spread > 0 else 0.0,
        best.indices.cpu().numpy(),
        best.values.cpu().numpy(),
        None if hits is None else int(hits[half_key]),
        None if hits is None else float(hits.mean()),
    )


def half_key_frame(found: tuple[HalfKeyNeighbours, ...]) -> pd.DataFrame:
    """One row a half-key; neighbours as ``17 (0.43)``."""
    return pd.DataFrame(
        [
            {
                "site": each.site,
                "head": each.head,
                "set": each.half + 1,
                "half_key": each.half_key,
                "nearest": [
                    f"{neighbour} ({cosine:.2f})"
                    for neighbour, cosine in zip(each.nearest, each.cosine, strict=True)
                ],
                "norm": each.norm,
                "norm_z": each.norm_z,
                "in_best_k": each.hits,
                "usual": each.usual_hits,
            }
            for each in found
        ]
    )
