"""Predictions of two checkpoints, against their own forward passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from inspector.analyses.prediction_changes import changes_frame, prediction_changes
from inspector.capture.load import load
from inspector.capture.trace import trace
from inspector.errors import EmptyPrompt
from inspector.families.base import MemoryModel

PROMPTS = ["Lima is the capital", "Oslo is"]


@pytest.fixture(scope="module")
def models(tiny_checkpoint: Callable[..., Path]) -> tuple[MemoryModel, MemoryModel]:
    return load(tiny_checkpoint(), device="cpu"), load(tiny_checkpoint(seed=1), device="cpu")


def test_both_sides_say_what_their_own_passes_say(models: tuple[MemoryModel, MemoryModel]) -> None:
    for prompt, change in zip(PROMPTS, prediction_changes(*models, PROMPTS), strict=True):
        for model, best in zip(models, (change.first, change.second), strict=True):
            chances = trace(model, prompt).logits[0, -1].softmax(-1)
            assert best[0][0] == model.token_text(int(chances.argmax()))
            assert [p for _, p in best] == pytest.approx(chances.topk(5).values.tolist(), rel=1e-5)


def test_divergence_is_summed_over_the_vocabulary(models: tuple[MemoryModel, MemoryModel]) -> None:
    (change,) = prediction_changes(*models, PROMPTS[:1])
    p, q = (trace(model, PROMPTS[0]).logits[0, -1].double().softmax(-1) for model in models)
    assert change.kl == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-5)
    (same,) = prediction_changes(models[0], models[0], PROMPTS[:1])
    assert same.kl == pytest.approx(0, abs=1e-12)
    assert same.same


def test_the_frame_has_a_row_for_each_prompt(models: tuple[MemoryModel, MemoryModel]) -> None:
    frame = changes_frame(prediction_changes(*models, PROMPTS))
    assert list(frame["prompt"]) == PROMPTS
    assert (frame["same"] == (frame["first_says"] == frame["second_says"])).all()
    assert torch.tensor(frame["kl"].to_numpy()).ge(0).all()


def test_a_prompt_without_words_is_refused(models: tuple[MemoryModel, MemoryModel]) -> None:
    with pytest.raises(EmptyPrompt):
        prediction_changes(*models, [" "])
