"""Which slots go on a map that can't hold all: drawn at random in strata of usage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False)
class MapSample:
    """The slots drawn, ``slots [point]`` int64 ascending, and how: empty if they are all."""

    slots: np.ndarray
    total: int
    seed: int
    sampled: str

    def to_frame(self) -> pd.DataFrame:
        """One row for each slot drawn."""
        return pd.DataFrame({"slot": self.slots})


def draw_slots(
    candidates: np.ndarray, reads: np.ndarray | None, points: int, seed: int
) -> MapSample:
    """At most ``points`` of ``candidates [slot]``, read ones first.

    Strata are decades of reads: 1 to 9, 10 to 99 and so on. If there are more read slots than
    places, each stratum gets as many places as the others, or all it needs, so that the few
    slots that do most of the reading are there; if there are fewer, the rest are unread ones.

    Args:
        candidates: slot numbers, ascending.
        reads: reads of every slot of the table, ``[slot]``; None if there was no scan: then all
            slots have the same chance.
        points: how many to draw.
        seed: of the draw.
    """
    total = len(candidates)
    if total <= points:
        return MapSample(candidates, total, seed, "")
    random = np.random.default_rng(seed)
    drawn, how = _draw(candidates, reads, points, random)
    sampled = f"{points:,} of {total:,} slots, {how}drawn at random (seed {seed})"
    return MapSample(np.sort(drawn), total, seed, sampled)


def _draw(
    candidates: np.ndarray, reads: np.ndarray | None, points: int, random: np.random.Generator
) -> tuple[np.ndarray, str]:
    if reads is None:
        return random.permutation(candidates)[:points], ""
    own = reads[candidates]
    unread, read = candidates[own == 0], candidates[own > 0]
    if len(read) <= points:
        rest = random.permutation(unread)[: points - len(read)]
        return np.concatenate([read, rest]), f"all {len(read):,} read ones first, the rest "
    decade = np.floor(np.log10(own[own > 0])).astype(int)
    strata = [random.permutation(read[decade == each]) for each in np.unique(decade)]
    places = even_places([len(stratum) for stratum in strata], points)
    drawn = [stratum[:place] for stratum, place in zip(strata, places, strict=True)]
    return np.concatenate(drawn), "read ones only, as many from each decade of reads, "


def even_places(sizes: list[int], points: int) -> list[int]:
    """Share ``points`` places out evenly; what a small stratum doesn't need goes to the others."""
    places, left = [0] * len(sizes), points
    order = sorted(range(len(sizes)), key=lambda stratum: (sizes[stratum], -stratum))
    for done, stratum in enumerate(order):
        places[stratum] = min(sizes[stratum], left // (len(sizes) - done))
        left -= places[stratum]
    return places
