"""A model as it is and as edited, side by side: predictions, traces, and how each writes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inspector.capture.generate import continue_greedily
from inspector.capture.lookup_edits import Edit
from inspector.capture.trace import Trace, encode, trace
from inspector.families.base import MemoryModel


@dataclass(frozen=True, eq=False)
class SideBySide:
    """One input, traced as the model is and as edited. Per position, ``[pos]`` of the first row:

    ``kl`` of the next-token distribution, original || edited, in nats; ``before`` and ``after``
    the probability of the token that follows in the input (NaN at the last position).
    """

    original: Trace
    edited: Trace
    kl: np.ndarray
    before: np.ndarray
    after: np.ndarray

    @property
    def changed(self) -> np.ndarray:
        """Where the best prediction is another one, ``[pos]`` bool."""
        best = [each.logits[0].argmax(-1) for each in (self.original, self.edited)]
        return np.asarray((best[0] != best[1]).cpu().numpy())

    def to_frame(self) -> pd.DataFrame:
        """One row a position: its token, both best predictions, and how far they are apart."""
        tops = [[best[0] for best in each.top[0]] for each in (self.original, self.edited)]
        return pd.DataFrame(
            {
                "pos": range(len(self.original.tokens)),
                "token": self.original.tokens,
                "original": [text for text, _ in tops[0]],
                "original_probability": [chance for _, chance in tops[0]],
                "edited": [text for text, _ in tops[1]],
                "edited_probability": [chance for _, chance in tops[1]],
                "changed": self.changed,
                "kl": self.kl,
                "next_before": self.before,
                "next_after": self.after,
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Both traces, and how far they are apart, as plain values."""
        return {
            "original": self.original.to_json(),
            "edited": self.edited.to_json(),
            "kl": self.kl.tolist(),
            "changed": self.changed.tolist(),
        }


@dataclass(frozen=True)
class Continuations:
    """How a prompt goes on, greedily: as the model is, and as edited."""

    prompt: str
    original: str
    edited: str

    def to_frame(self) -> pd.DataFrame:
        """One row: the prompt and both texts."""
        return pd.DataFrame([vars(self)])


def trace_both(
    model: MemoryModel,
    text: str | None = None,
    edits: Sequence[Edit] = (),
    *,
    ids: Tensor | None = None,
) -> SideBySide:
    """Trace ``text`` (or ``ids [1 pos]``) with and without ``edits`` (see ``as_edits``).

    Raises:
        PromptError: the input is empty, too long or not of this vocabulary.
    """
    original = trace(model, text, ids=ids)
    edited = trace(model, ids=original.ids, edits=edits)
    with torch.inference_mode():
        first, second = (t.logits[0].float().log_softmax(-1) for t in (original, edited))
        kl = (first.exp() * (first - second)).sum(-1).clamp_min(0.0)
        following = original.ids[0, 1:, None]
        chances = [each[:-1].gather(-1, following)[:, 0].exp() for each in (first, second)]
    before, after = (np.append(chance.cpu().numpy(), np.nan) for chance in chances)
    return SideBySide(original, edited, kl.cpu().numpy(), before, after)


def continue_both(
    model: MemoryModel, text: str, edits: Sequence[Edit] = (), tokens: int = 12
) -> Continuations:
    """Let the model write up to ``tokens`` more after ``text``, with and without ``edits``.

    Raises:
        PromptError: the text is empty, too long or not of this vocabulary.
    """
    ids = encode(model, text)
    written = [continue_greedily(model, ids, tokens, each) for each in ((), edits)]
    original, edited = (str(model.tokenizer.decode(w[0, ids.shape[1] :])) for w in written)
    return Continuations(text, original, edited)
