"""Texts of a vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from inspector.analyses.token_texts import token_texts
from inspector.capture.load import load


def test_every_token_of_the_head_has_its_text_once(tiny_checkpoint: Callable[..., Path]) -> None:
    model = load(tiny_checkpoint(), device="cpu")
    found = token_texts(model)
    assert len(found) == 300
    assert found == tuple(model.token_text(token) for token in range(300))
    assert token_texts(model) is found
