"""A memory of 4 x 4 keys that one can check by hand: whole numbers, sixteen facts.

Set 1 tells relations apart, set 2 countries, so that a key is a question and its value the answer.
Each half-key points along one direction of the compass, a query's halves are two arrows, and a
value is 5 at its own word and 0 at all others: the weighted sum of values *is* the logits.
"""

from __future__ import annotations

from typing import Final

import torch

from inspector.analyses.lookup_walk import LookupWalk, walk_query

RELATIONS: Final = ("capital", "currency", "continent", "domain")
COUNTRIES: Final = ("France", "Japan", "Kenya", "Brazil")
WORDS: Final = (
    ("Paris", "Tokyo", "Nairobi", "Brasília"),
    ("euro", "yen", "shilling", "real"),
    ("Europe", "Asia", "Africa", "America"),
    (".fr", ".jp", ".ke", ".br"),
)
HALF_KEYS: Final = ((1, 0), (0, 1), (-1, 0), (0, -1))  # the same four directions in both sets
STRENGTH: Final = 5  # of a value at its own word
KNN: Final = 2
QUERY: Final = (3, 1, 2, 0)  # mostly "capital", with some "currency"; "France"


def walk_tiny(query: tuple[int, int, int, int] = QUERY, knn: int = KNN) -> LookupWalk:
    """The lookup of ``query``, its first two numbers for set 1, its last two for set 2."""
    half_keys = torch.tensor([HALF_KEYS, HALF_KEYS], dtype=torch.float32)
    values = STRENGTH * torch.eye(len(HALF_KEYS) ** 2)
    return walk_query(torch.tensor(query, dtype=torch.float32).view(2, 2), half_keys, values, knn)


def word(slot: int) -> str:
    """What the value of ``slot`` says."""
    i, j = divmod(slot, len(COUNTRIES))
    return WORDS[i][j]


def question(slot: int) -> str:
    """What the key of ``slot`` asks."""
    i, j = divmod(slot, len(COUNTRIES))
    return f"{RELATIONS[i]} of {COUNTRIES[j]}"
