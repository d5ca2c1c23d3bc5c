"""Why half-keys are out of use: their length, their direction, and how near they ever came."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from inspector.capture.usage import SiteUsage

# Robust z-scores beyond this are outliers: Iglewicz and Hoaglin 1993, "How to Detect and Handle
# Outliers".
FAR: Final = 3.5
_NEAREST = 99  # percentile of a half-key's cosines over the sampled queries: how near queries come
_LEAST_FAVOURED = 5  # percentile of that, over the half-keys in use


class Cause(IntEnum):
    """Why something is dead, in order of precedence: the first that holds is named."""

    UNTRAINED = 0
    NORM = 1
    DIRECTION = 2
    OUT_OF_REACH = 3
    BEATEN = 4

    @property
    def label(self) -> str:
        """The cause in words."""
        return _LABELS[self]

    @property
    def remedy(self) -> str:
        """What would help."""
        return _REMEDIES[self]


NO_CAUSE: Final = 127  # in arrays of causes: above every cause, so that the least code is named

_LABELS = {
    Cause.UNTRAINED: "value still at its initial norm",
    Cause.NORM: "half-key's norm far from its set's",
    Cause.DIRECTION: "half-key points away from the queries",
    Cause.OUT_OF_REACH: "half-key never in any query's top k",
    Cause.BEATEN: "reaches the top k by halves, but is beaten as a pair",
}
_REMEDIES = {
    Cause.UNTRAINED: "smaller table",
    Cause.NORM: "re-initialise from query centroids",
    Cause.DIRECTION: "query normalisation",
    Cause.OUT_OF_REACH: "re-initialise from query centroids",
    Cause.BEATEN: "more heads",
}


@dataclass(frozen=True, eq=False)
class HalfKeyFindings:
    """What was measured on the half-keys of one site; all fields ``[head half half_key]``.

    ``norm_z`` is the log norm's robust z-score among the half-keys in use of the same head and
    set. ``reach`` is the cosine that the nearest 1 % of the sampled queries come to (that to the
    mean query, if none were sampled). ``cause`` is a ``Cause`` for half-keys that are dead or were
    in no query's top k, else ``NO_CAUSE``:

    - NORM where ``norm_z`` is beyond 3.5 either way;
    - DIRECTION where ``reach`` is below that of the least favoured 5 % of the half-keys in use;
    - OUT_OF_REACH where neither stands out, but no query ever had it in its half's top k;
    - BEATEN where queries had, but the keys it's part of are beaten by others.
    """

    hits: np.ndarray  # int64: times in its half's top k
    best_rank: np.ndarray  # int32: best ever, 0 is first
    margin: np.ndarray  # float32: best score less the k-th best's; negative if never in the top k
    norm_z: np.ndarray  # float64
    reach: np.ndarray  # float64
    cause: np.ndarray  # int8


def find_half_key_causes(
    site: SiteUsage, half_keys: np.ndarray, dead: np.ndarray
) -> HalfKeyFindings:
    """Look for causes in one site.

    Args:
        site: what a scan recorded there.
        half_keys: as they are scored, ``[head half half_key d_half]``.
        dead: which were found dead, ``[head half half_key]`` bool.
    """
    out_of_use = dead | (site.half_hits == 0)
    norms = np.linalg.norm(half_keys.astype(np.float64), axis=-1)
    norm_z, reach = np.empty_like(norms), np.empty_like(norms)
    away = np.zeros_like(dead)
    for head, half in np.ndindex(norms.shape[:2]):
        at = (head, half)
        used = ~out_of_use[at]
        norm_z[at] = _robust_z(np.log(np.maximum(norms[at], 1e-30)), used)
        queries = site.query_sample[:, head, half]
        reach[at] = _reach(queries if len(queries) else site.query_mean[at][None], half_keys[at])
        if used.any():
            away[at] = reach[at] < np.percentile(reach[at][used], _LEAST_FAVOURED)
    cause = np.where(site.half_hits == 0, Cause.OUT_OF_REACH, Cause.BEATEN).astype(np.int8)
    cause[away] = Cause.DIRECTION
    cause[np.abs(norm_z) > FAR] = Cause.NORM
    cause[~out_of_use] = NO_CAUSE
    return HalfKeyFindings(site.half_hits, site.half_rank, site.half_margin, norm_z, reach, cause)


def _robust_z(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """How many robust standard deviations ``values`` lie from the reference's median.

    The deviation is the median absolute one over 0.6745, and at least 0.1 % (of a norm, as these
    are logarithms): half-keys normalised to one length differ by rounding alone.
    """
    known = values[reference] if reference.any() else values
    centre = np.median(known)
    deviation = np.median(np.abs(known - centre)) / 0.6745
    return np.asarray((values - centre) / max(float(deviation), 1e-3))


def _reach(queries: np.ndarray, half_keys: np.ndarray) -> np.ndarray:
    """Cosine to ``queries [sample d_half]`` at the 99th percentile: ``[half_key]``."""
    cosines = _unit(queries) @ _unit(half_keys).T  # [sample half_key]
    return np.asarray(np.percentile(cosines, _NEAREST, axis=0))


def _unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-30), dtype=np.float32)


def find_address_causes(findings: HalfKeyFindings, head: int) -> np.ndarray:
    """Why each address of one head is not read, if it's not: ``[slot]`` int8.

    The cause of whichever of its half-keys is out of use (the first in precedence, if both are);
    BEATEN where both are in use.
    """
    first, second = findings.cause[head]
    either: np.ndarray = np.minimum(first[:, None], second[None, :])
    return np.asarray(np.minimum(either, np.int8(Cause.BEATEN)).ravel())
