"""What two checkpoints predict after the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from inspector.analyses.comparability import compare_sizes
from inspector.capture.session import logits
from inspector.capture.trace import encode
from inspector.families.base import MemoryModel


@dataclass(frozen=True)
class PredictionChange:
    """The next token after one prompt, by both checkpoints.

    ``first`` and ``second`` are their best predictions ``(text, probability)``, best first.
    ``kl`` is KL(first || second) in nats; None where the vocabularies differ.
    """

    prompt: str
    first: tuple[tuple[str, float], ...]
    second: tuple[tuple[str, float], ...]
    kl: float | None

    @property
    def same(self) -> bool:
        """Whether both say the same token."""
        return self.first[0][0] == self.second[0][0]


def prediction_changes(
    first: MemoryModel, second: MemoryModel, prompts: Sequence[str], top: int = 5
) -> tuple[PredictionChange, ...]:
    """Ask both checkpoints what follows each prompt.

    Raises:
        PromptError: one of them cannot read a prompt.
    """
    same = compare_sizes(first, second).vocabulary
    changes, models = [], (first, second)
    for prompt in prompts:
        scores = [logits(model, encode(model, prompt))[0, -1].float() for model in models]
        kl = None
        if same:
            old, new = (each.cpu().double().log_softmax(-1) for each in scores)
            kl = float(torch.nn.functional.kl_div(new, old, log_target=True, reduction="sum"))
        best = [
            best_predictions(model, s, top)
            for model, s in zip((first, second), scores, strict=True)
        ]
        changes.append(PredictionChange(prompt, best[0], best[1], kl))
    return tuple(changes)


def changes_frame(changes: Sequence[PredictionChange]) -> pd.DataFrame:
    """One row a prompt: what both say, how surely, and the KL divergence in nats."""
    return pd.DataFrame(
        {
            "prompt": [change.prompt for change in changes],
            "first_says": [change.first[0][0] for change in changes],
            "first_probability": [change.first[0][1] for change in changes],
            "second_says": [change.second[0][0] for change in changes],
            "second_probability": [change.second[0][1] for change in changes],
            "same": [change.same for change in changes],
            "kl": [change.kl for change in changes],
        }
    )


def best_predictions(
    model: MemoryModel, scores: torch.Tensor, top: int
) -> tuple[tuple[str, float], ...]:
    """The best next tokens ``(text, probability)`` by their logits ``scores [d_vocab]``."""
    chances = scores.float().softmax(-1).topk(min(top, len(scores)))
    return tuple(
        (model.token_text(int(token)), float(chance))
        for token, chance in zip(chances.indices, chances.values, strict=True)
    )
