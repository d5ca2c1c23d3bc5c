"""Classes of tokens by their spelling."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector.analyses.token_classes import TOKEN_CLASSES, token_class, token_classes
from inspector.capture.load import load


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        (" Paris", "name-like capital"),
        ("Paris", "name-like capital"),
        (" Élysée", "name-like capital"),
        (" the", "word start"),
        ("▁the", "word start"),
        ("Ġthe", "word start"),
        ("ing", "continuation"),
        ("都", "continuation"),
        (" 1986", "digit"),
        ("7", "digit"),
        (",", "punctuation"),
        (" (", "punctuation"),
        (" ", "white space"),
        ("\n", "white space"),
        ("</s>", "special"),
        ("<300>", "special"),
        ("<0x0A>", "special"),
        ("[UNK]", "special"),
        ("<", "punctuation"),
    ],
)
def test_class(spelling: str, expected: str) -> None:
    assert token_class(spelling) == expected
    assert expected in TOKEN_CLASSES


def test_classes_of_a_vocabulary(tiny_checkpoint: Callable[..., Path]) -> None:
    model = load(tiny_checkpoint(), device="cpu")
    ids = [model.tokenizer(text)["input_ids"][-1] for text in ("a,", "a 1", "A")]
    assert token_classes(model, np.array([0, *ids])) == [
        *("special", "punctuation"),
        *("digit", "name-like capital"),
    ]


def test_a_space_that_decoding_drops_is_not_lost(tiny_checkpoint: Callable[..., Path]) -> None:
    class Dropping:
        """As SentencePiece: a single token decodes without the space before it."""

        def decode(self, _ids: Any) -> str:
            return "the"

        def convert_ids_to_tokens(self, token: int) -> str:
            return ("the", "▁the")[token]

    model = load(tiny_checkpoint(), device="cpu")
    dropping = dataclasses.replace(model, tokenizer=Dropping())  # type: ignore[arg-type]
    assert token_classes(dropping, np.array([0, 1])) == ["continuation", "word start"]
