"""Which tokens stand at the end of a prefix that was not seen before.

A causal model computes the same for equal prefixes, so that only the first of them is evidence.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

_BITS: Final = 28  # log2 of the filter's bits: 32 MB
_PROBES: Final = 4


def mix(numbers: np.ndarray) -> np.ndarray:
    """Scatter uint64 ``numbers`` over all 64 bits (the finaliser of SplitMix64, Steele 2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(numbers ^ (numbers >> np.uint64(31)))


def uniform(seed: int, *keys: np.ndarray) -> np.ndarray:
    """Numbers in (0, 1], float64, that depend on the seed and the broadcast ``keys`` alone."""
    numbers = mix(np.array([seed % 2**64], dtype=np.uint64))
    for key in keys:
        numbers = mix(numbers + key.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return np.asarray(((numbers >> np.uint64(11)) + np.uint64(1)) * 2.0**-53)


def prefix_hashes(ids: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """64 bits for each token's window up to and including it, ``[token]`` uint64.

    Equal prefixes have equal hashes. Others have, too, by chance alone: at 10^8 prefixes with
    probability 3e-4 for any two among them.
    """
    lengths = np.diff(starts)
    pos = np.arange(len(ids)) - np.repeat(starts[:-1], lengths)
    token = mix((ids.astype(np.uint64) << np.uint64(32)) + pos.astype(np.uint64) + np.uint64(1))
    total = np.cumsum(token)  # modulo 2^64: a prefix is the sum of its (token, position) pairs
    before = total[starts[:-1]] - token[starts[:-1]]
    return mix(total - np.repeat(before, lengths))


class SeenPrefixes:
    """The prefixes seen so far, in a Bloom filter of 32 MB however many they are.

    The filter can take a new prefix for one seen before, never the other way round: evidence is
    lost, never invented. Of new prefixes it loses 0.04 % after 10 million, 8 % after 50 million
    and 36 % after 100 million of them.
    """

    def __init__(self) -> None:
        """None seen."""
        self.bits = torch.zeros(2 ** (_BITS - 3), dtype=torch.uint8)
        self.count = 0

    def add(self, ids: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Which tokens end a prefix seen for the first time, ``[token]`` bool.

        Of equal prefixes among them it is the first.
        """
        hashes = prefix_hashes(ids, starts)
        unique, first = np.unique(hashes, return_index=True)
        bits: np.ndarray = self.bits.numpy()
        probes = np.arange(_PROBES, dtype=np.uint64)[:, None]
        step = (unique >> np.uint64(32)) | np.uint64(1)
        at = (unique + probes * step) & np.uint64(2**_BITS - 1)  # [probe prefix]
        byte = (at >> np.uint64(3)).astype(np.int64)
        bit = np.uint8(1) << (at & np.uint64(7)).astype(np.uint8)
        new = ((bits[byte] & bit) == 0).any(0)
        np.bitwise_or.at(bits, byte[:, new], bit[:, new])
        fresh = np.zeros(len(ids), dtype=bool)
        fresh[first[new]] = True
        self.count += int(new.sum())
        return fresh

    def tensors(self) -> dict[str, Tensor]:
        """What must be kept to go on."""
        return {"bits": self.bits}
