"""What a map of values is: where each slot lies, on what settings, and how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from inspector.analyses.clusters import Clustering
from inspector.analyses.neighbours import Metric


@dataclass(frozen=True)
class MapSettings:
    """What decides a map, beside the checkpoint and its usage."""

    table: int = 0
    site: str | None = None  # None: value rows; else contributions at that site
    points: int = 50_000  # at most
    seed: int = 0
    near: int = 15  # neighbours of each point
    min_dist: float = 0.1  # how close points may be packed, in units of the map
    metric: Metric = "cosine"
    clusters: Clustering = "kmeans"
    cluster_count: int | None = None  # of k-means; None: chosen by the number of points

    def __post_init__(self) -> None:
        """Refuse settings that make no map."""
        if self.points < 1 or self.near < 1 or not 0 <= self.min_dist <= 1:
            raise ValueError("a map has at least one point and one neighbour, and min_dist 0 to 1")
        if self.metric not in ("cosine", "euclidean"):
            raise ValueError(f"a map is of cosine or euclidean distance, not {self.metric!r}")
        if self.clusters not in ("kmeans", "hdbscan"):
            raise ValueError(f"clusters are found by kmeans or hdbscan, not {self.clusters!r}")
        if self.cluster_count is not None and self.cluster_count < 1:
            raise ValueError("there is at least one cluster")


@dataclass(frozen=True, eq=False)
class ValueMap:
    """Where values lie: alike ones close together.

    Distances between far points mean little, and ``trustworthiness`` says how far the near ones
    can be trusted: it was taken at ``trust_k`` neighbours, of 2,000 points drawn at random (or
    all, if fewer) against all on the map. ``graph`` says how the neighbours were found, on the
    vectors in their full dimension. Names of clusters are token texts, which are untrusted.
    """

    fingerprint: str
    settings: MapSettings
    slots: np.ndarray  # [point] int64, ascending
    xy: np.ndarray  # [point 2] float32
    neighbours: np.ndarray  # [point near] int64 slot numbers, of those on the map; nearest first
    distances: np.ndarray  # [point near] float32: 1 - cosine, or Euclidean
    clusters: np.ndarray  # [point] int32, the largest is 0; -1 = none
    cluster_names: tuple[str, ...]  # by cluster
    named_by: str  # which decoding the names come from; "": none, they are numbers
    graph: str  # e.g. "exact, cosine"
    trustworthiness: float  # NaN if there are too few points
    trust_k: int
    total: int  # slots of the table
    sampled: str  # e.g. "50,000 of 1,048,576 slots, ... drawn at random (seed 0)"; "" if all
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Refuse parts that disagree."""
        parts = (self.xy, self.neighbours, self.distances, self.clusters)
        if any(len(part) != len(self.slots) for part in parts) or self.xy.shape[1:] != (2,):
            raise ValueError(f"a map of {len(self.slots)} points has parts of other lengths")
        if self.neighbours.shape != self.distances.shape:
            raise ValueError("a map has as many distances as neighbours")
        if int(self.clusters.max(initial=-1)) >= len(self.cluster_names):
            raise ValueError("a cluster has no name")

    @property
    def table(self) -> int:
        """Number of the value table."""
        return self.settings.table

    @property
    def site(self) -> str | None:
        """The site whose contributions it shows; None for value rows."""
        return self.settings.site

    @property
    def seed(self) -> int:
        """Of everything drawn at random."""
        return self.settings.seed

    def to_frame(self) -> pd.DataFrame:
        """One row for each point: slot, x, y, cluster and its name (empty for none)."""
        names = np.array([*self.cluster_names, ""], dtype=object)
        return pd.DataFrame(
            {
                "slot": self.slots,
                "x": self.xy[:, 0],
                "y": self.xy[:, 1],
                "cluster": self.clusters,
                "cluster_name": names[self.clusters],
            }
        )
