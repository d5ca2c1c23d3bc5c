"""What kind of text a token is, told from its spelling alone."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import numpy as np

from inspector.families.base import MemoryModel

TOKEN_CLASSES: Final = (
    "name-like capital",  # starts a word, or could, with a capital
    "word start",
    "continuation",
    "digit",
    "punctuation",
    "white space",
    "special",  # stands for no text of its own
)
_SPACES: Final = (" ", "Ġ", "▁")  # how tokenizers spell the space before a word
_SPECIAL: Final = re.compile(r"<[^<>\s]+>|\[[A-Z]+\d*\]")


def token_classes(model: MemoryModel, tokens: np.ndarray) -> list[str]:
    """The class of each of ``tokens [item]`` (ids), one of ``TOKEN_CLASSES``."""
    kinds = np.unique(tokens)
    named = {int(t): token_class(_spelling(model, int(t))) for t in kinds}
    return [named[int(token)] for token in tokens]


def token_class(spelling: str) -> str:
    """The class of a token that its tokenizer spells so, with the space before a word if any."""
    if _SPECIAL.fullmatch(spelling):
        return "special"
    begins = spelling.startswith(_SPACES)
    word = spelling.lstrip("".join(_SPACES)).strip()
    if not word:
        return "white space"
    first = word[0]
    if first.isdigit():
        return "digit"
    if not first.isalpha() and not unicodedata.combining(first):
        return "punctuation"
    if first.isupper():
        return "name-like capital"
    return "word start" if begins else "continuation"


def _spelling(model: MemoryModel, token: int) -> str:
    """The text, with the space before it that decoding a single token may have dropped."""
    text = model.token_text(token)
    piece = str(model.tokenizer.convert_ids_to_tokens(token) or "")
    return f" {text}" if piece.startswith(_SPACES) and not text.startswith(" ") else text
