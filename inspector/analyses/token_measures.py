"""One number a token, to colour a text by."""

from __future__ import annotations

import numpy as np
import torch

from inspector.capture.trace import Trace


def next_token_probability(trace: Trace, row: int = 0) -> np.ndarray:
    """Probability the model gave to each token given those before it, ``[pos]``.

    The first token was given no chance to be predicted: NaN.
    """
    chances = trace.probabilities()[row, :-1]
    actual = trace.ids[row, 1:, None]
    given = chances.gather(-1, actual)[:, 0].cpu().numpy()
    return np.concatenate([[np.nan], given])


def entropy(trace: Trace, row: int = 0) -> np.ndarray:
    """Entropy of each position's next-token prediction in nats, ``[pos]``."""
    chances = trace.logits[row].float().softmax(-1)
    return np.asarray(torch.special.entr(chances).sum(-1).cpu().numpy())


def weight_on_slot(trace: Trace, slot: int, site: str | None = None, row: int = 0) -> np.ndarray:
    """Summed weight of all reads of ``slot`` at each position, ``[pos]``; all sites by default."""
    total = torch.zeros(trace.ids.shape[1])
    for name, reads in trace.reads.items():
        if site in (None, name):
            hit = reads.slots[row] == slot
            total += (reads.weights[row].float() * hit).sum((-2, -1)).cpu()
    return np.asarray(total.numpy())
