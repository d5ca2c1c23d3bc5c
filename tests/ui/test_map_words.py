"""Whose words a slot is shown with: the site that reads it, and where it stands out most."""

from __future__ import annotations

import numpy as np

from inspector.analyses.decoded_table import DecodedTable
from inspector.ui.map_words import Words, speakers

TEXTS = (" a", "b", " c", "\n")


def decoded(
    site: str,
    promoted: list[int],
    p_value: list[float],
    standing: list[float],
    fallback: list[bool],
) -> DecodedTable:
    ids = np.array(promoted, dtype=np.int32)[:, None]
    logits = np.ones(ids.shape, np.float32)
    return DecodedTable(
        site=site,
        gate="static",
        promoted=ids,
        promoted_logits=logits,
        suppressed=ids,
        suppressed_logits=-logits,
        standing=np.array(standing, np.float32),
        p_value=np.array(p_value),
        fallback=np.array(fallback),
        texts_of=TEXTS,
    )


# Slots: clearer at L2; read at L1 alone; equally clear, L2 stands higher; read nowhere.
TABLES = [
    decoded("L1", [0, 0, 0, 0], [0.5, 0.9, 0.2, 0.3], [2, 2, 2, 2], [False, False, False, True]),
    decoded("L2", [1, 2, 3, 1], [0.1, 0.1, 0.2, 0.2], [2, 2, 3, 2], [False, True, False, True]),
]


def test_a_slot_speaks_where_it_is_read_and_stands_out() -> None:
    assert speakers(TABLES).tolist() == [1, 0, 1, 1]


def test_words_are_those_of_the_speaker() -> None:
    words = Words(tuple(TABLES), speakers(TABLES))
    assert [words.site_of(slot) for slot in range(4)] == ["L2", "L1", "L2", "L2"]
    assert [words.texts(slot) for slot in range(4)] == [["b"], ["·a"], ["⏎"], ["b"]]
    # The clearer of two sites; of one alone; of two; of two where none reads it.
    assert words.p_value.tolist() == [0.2, 0.9, 0.4, 0.4]
    tips = words.tips(np.array([2, 0]))
    assert [tips.vocabulary[token] for token in tips.tokens[:, 0]] == ["\n", "b"]
    assert "L1, L2" in words.how
