"""What can be held side by side is; what cannot is named with its reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inspector.analyses.comparability import compare_sizes
from inspector.capture.load import load
from inspector.families.base import MemoryModel

Opener = Callable[..., MemoryModel]


@pytest.fixture(scope="module")
def opened(tiny_checkpoint: Callable[..., Path]) -> Opener:
    return lambda **options: load(tiny_checkpoint(**options), device="cpu")


def test_two_seeds_of_one_shape_compare_in_everything(opened: Opener) -> None:
    found = compare_sizes(opened(), opened(seed=1))
    assert (found.vocabulary, found.tables, found.values) == (True, (0,), (0,))
    assert (found.half_keys, found.reasons) == (("L0", "L2"), ())


@pytest.mark.parametrize(
    ("options", "tables", "values", "half_keys", "reason"),
    [
        ({"memory_half_keys": 6}, (), (), (), "8 half-keys a set in one and 6 in the other"),
        ({"memory_d_value": 12}, (0,), (), ("L0", "L2"), "and 12 dimensions"),
        ({"memory_d_key": 4}, (0,), (0,), (), "L0, L2 have no counterpart"),
        ({"memory_layers": [0]}, (0,), (0,), ("L0",), "Half-keys of L2 have no counterpart"),
        ({"memory_layers": []}, (), (), (), "has no memory layers"),
        ({"memory_tables": [0, 1]}, (0,), (0,), ("L0",), "Only one of them has a value table"),
    ],
    ids=str,
)
def test_what_does_not_compare_is_said(
    opened: Opener,
    options: dict[str, Any],
    tables: tuple[int, ...],
    values: tuple[int, ...],
    half_keys: tuple[str, ...],
    reason: str,
) -> None:
    first, second = opened(), opened(**options)
    for pair in ((first, second), (second, first)):
        found = compare_sizes(*pair)
        assert found.vocabulary
        assert (found.tables, found.values) == (tables, values)
        assert set(found.half_keys) == set(half_keys)
    assert reason in " ".join(compare_sizes(first, second).reasons)


def test_two_dense_models_are_said_to_be(opened: Opener) -> None:
    dense = opened(memory_layers=[])
    assert compare_sizes(dense, dense).reasons[0].startswith("Neither has memory layers")
