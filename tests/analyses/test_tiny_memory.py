"""The memory of 4 x 4 keys, checked by hand as the lesson asks the class to."""

from __future__ import annotations

import itertools
import math

import numpy as np

from inspector.analyses import tiny_memory
from inspector.analyses.lookup_walk import search_all_keys


def test_the_first_query_asks_for_the_capital_of_france() -> None:
    walk = tiny_memory.walk_tiny()
    # (3, 1) against (1, 0), (0, 1), (-1, 0), (0, -1), and (2, 0) against the same
    assert walk.half_scores.tolist() == [[3, 1, -3, -1], [2, 0, -2, 0]]
    assert walk.best.tolist() == [[0, 1], [0, 1]]
    assert walk.sums.tolist() == [[5, 3], [3, 1]]
    assert walk.slots.tolist() == [0, 1]  # 3 twice: (0, 1) is slot 1 and comes before slot 4
    weight = 1 / (1 + math.exp(-2))  # 5 against 3
    np.testing.assert_allclose(walk.weights, [weight, 1 - weight], rtol=1e-6)
    assert (tiny_memory.question(0), tiny_memory.word(0)) == ("capital of France", "Paris")
    np.testing.assert_allclose(walk.total[:3], [5 * weight, 5 * (1 - weight), 0], rtol=1e-6)


def test_every_direction_of_the_compass_finds_its_word() -> None:
    for i, j in itertools.product(range(4), repeat=2):
        first, second = tiny_memory.HALF_KEYS[i], tiny_memory.HALF_KEYS[j]
        walk = tiny_memory.walk_tiny((*(3 * x for x in first), *(2 * x for x in second)))  # type: ignore[arg-type]
        assert walk.slots[0] == 4 * i + j
        assert walk.total.argmax() == 4 * i + j


def test_all_queries_a_slider_can_set_agree_with_the_search_over_every_key() -> None:
    for query in itertools.product((-3, -1, 0, 2), repeat=4):
        assert search_all_keys(tiny_memory.walk_tiny(query)).equal, query  # type: ignore[arg-type]
