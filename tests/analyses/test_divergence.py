"""KL of two models' predictions, against a forward pass for each text."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from inspector.analyses.divergence import mean_kl
from inspector.capture.corpus import open_corpus
from inspector.capture.load import load
from inspector.capture.session import logits
from tests.conftest import SENTENCES


def test_it_is_the_mean_over_all_tokens(tiny_checkpoint: Callable[..., Path]) -> None:
    first, second = (load(tiny_checkpoint(seed=seed), "cpu") for seed in (0, 1))
    sums, tokens = 0.0, 0
    for text in SENTENCES:
        ids = torch.tensor([first.tokenizer(text).input_ids])
        p, q = (logits(model, ids).double().softmax(-1) for model in (first, second))
        sums += float((p * (p / q).log()).sum())
        tokens += ids.shape[1]
    found = mean_kl(first, second, open_corpus(SENTENCES))
    assert found.tokens == tokens
    assert found.kl == pytest.approx(sums / tokens, rel=1e-5)


def test_it_is_zero_for_the_same_model_and_stops_at_the_limit(
    tiny_checkpoint: Callable[..., Path],
) -> None:
    model = load(tiny_checkpoint(), "cpu")
    assert mean_kl(model, model, open_corpus(SENTENCES), 7) == (0.0, 7)
