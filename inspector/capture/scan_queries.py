"""A random sample of the queries that a scan's tokens asked with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor

from inspector.capture.scan_prefixes import uniform
from inspector.families.base import SiteInfo

_MOST, _FEWEST = 8192, 1024  # tokens in the sample
_BYTES: Final = 2**26  # a site's sample may take, where more than the fewest fit
_OWN_DRAW: Final = 0x71756572  # so that the draw is not that of the reads


class QuerySample:
    """Queries of tokens drawn uniformly from all that were scanned, the same at every site.

    Every token has a random number that depends on the seed and its place in the corpus alone;
    the tokens with the smallest are kept.
    """

    def __init__(self, sites: Mapping[str, SiteInfo], seed: int) -> None:
        """Nothing drawn yet."""
        width = max(info.heads * info.d_key for info in sites.values())
        size = min(_MOST, max(_FEWEST, _BYTES // (4 * width)))
        self._seed = seed
        self.draw = torch.full((size,), torch.inf, dtype=torch.float64)
        self.token = torch.full((size,), -1, dtype=torch.int64)
        self.known = torch.zeros(size, dtype=torch.bool)
        self.queries = {
            name: torch.zeros(size, info.heads, 2, info.d_key // 2) for name, info in sites.items()
        }

    def plan(self, start: int, count: int) -> Tensor:
        """Draw from the next ``count`` tokens: the row of the sample for each, else -1."""
        draws = uniform(self._seed ^ _OWN_DRAW, np.arange(start, start + count))
        size = len(self.draw)
        union = np.concatenate([self.draw.numpy(), draws])
        kept = np.zeros(len(union), dtype=bool)
        kept[np.argsort(union, kind="stable")[:size]] = True
        new = np.flatnonzero(kept[size:])
        free = np.flatnonzero(~kept[:size])[: len(new)]
        self.draw[free] = torch.from_numpy(draws[new])
        self.token[free] = torch.from_numpy(new + start)
        rows = np.full(count, -1)
        rows[new] = free
        return torch.from_numpy(rows)

    def put(self, site: str, rows: Tensor, queries: Tensor) -> None:
        """Keep ``queries [row head half d_half]`` as those of ``rows [row]``."""
        self.queries[site][rows] = queries.to("cpu", torch.float32)
        self.known[rows] = True

    def result(self, site: str) -> np.ndarray:
        """The sample of one site, ``[sample head half d_half]`` float32, in the tokens' order."""
        order = self.token.argsort(stable=True)
        found: np.ndarray = self.queries[site][order[self.known[order]]].numpy()
        return found

    def tensors(self) -> dict[str, Tensor]:
        """What must be kept to go on."""
        own = {"draw": self.draw, "token": self.token, "known": self.known}
        return own | {f"queries.{site}": queries for site, queries in self.queries.items()}
