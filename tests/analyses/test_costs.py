"""Parameters and arithmetic of configurations small enough to count on paper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inspector.analyses.costs import Costs, equal_width, measure_costs
from inspector.capture.load import load

Written = Callable[..., Path]

# Three blocks of width 32 (4 heads, 2 of keys and values), vocabulary 300, memory in two blocks.
EMBEDDING = 300 * 32
ATTENTION = 32 * 32 + 2 * 32 * 16 + 32 * 32
NORMS = 3 * 2 * 32 + 32
DENSE = 3 * 32 * 48
QUERY = 32 * (2 * 16) + 2 * 16
HALF_KEYS = 2 * 2 * 8 * 8  # heads, halves, half-keys, half of d_key
VALUES = 64 * 32
MEMORY_PLUS = 2 * (32 * 32 + 32)  # W and W_o, with their biases
READ = 2 * 4 * 32  # values that one token reads at one layer
BACKBONE = 2 * EMBEDDING + 3 * ATTENTION + NORMS + DENSE + 2 * (QUERY + MEMORY_PLUS)
# (a+1)(b+1) <= 4: four with a = 0, two with a = 1, one each with a = 2 and a = 3; two heads.
CANDIDATES = 2 * 8
LOOKUP = 2 * (32 * 32 + HALF_KEYS + READ) + CANDIDATES


def costs_of(path: Path) -> Costs:
    return measure_costs(load(path, device="cpu"))


def test_parameters_and_operations_are_those_counted_on_paper(tiny_checkpoint: Written) -> None:
    costs = costs_of(tiny_checkpoint())
    assert (costs.backbone, costs.half_keys, costs.values) == (BACKBONE, 2 * HALF_KEYS, VALUES)
    assert costs.total == 42_144
    assert costs.touched == BACKBONE - EMBEDDING + 32 + 2 * HALF_KEYS + 2 * READ
    assert costs.touched_share == costs.touched / 42_144
    assert costs.site_flops == LOOKUP + 2 * 2 * 32 * 32
    assert (costs.dense_width, costs.dense_flops) == (48, 2 * DENSE)


def test_a_table_of_its_own_for_each_layer_counts_twice(tiny_checkpoint: Written) -> None:
    shared, separate = (
        costs_of(tiny_checkpoint(memory_tables=tables)) for tables in ([0, 0], [0, 1])
    )
    assert separate.values == 2 * shared.values
    assert (separate.backbone, separate.touched) == (shared.backbone, shared.touched)


def test_a_tied_head_is_counted_once_and_touched_whole(tiny_checkpoint: Written) -> None:
    costs = costs_of(tiny_checkpoint(tie_word_embeddings=True))
    assert costs.backbone == BACKBONE - EMBEDDING
    assert costs.touched == costs.backbone + 2 * HALF_KEYS + 2 * READ


@pytest.mark.parametrize(
    ("options", "dense"),
    [
        ({"memory_projection": "none"}, 0),
        ({"memory_projection": "linear", "memory_d_value": 32}, 32 * 32),
        ({"memory_sigmoid_gate": True}, 2 * 32 * 32 + 32),
    ],
)
def test_each_kind_of_layer_pays_for_its_own_matrices(
    tiny_checkpoint: Written, options: dict[str, object], dense: int
) -> None:
    assert costs_of(tiny_checkpoint(**options)).site_flops == LOOKUP + 2 * dense


def test_a_dense_model_has_no_memory_to_count(tiny_checkpoint: Written) -> None:
    costs = costs_of(tiny_checkpoint(memory_layers=[]))
    assert (costs.half_keys, costs.values, costs.site_flops, costs.dense_flops) == (0, 0, 0, 0)
    assert costs.total == 2 * EMBEDDING + 3 * (ATTENTION + DENSE) + NORMS
    assert costs.touched == costs.total - EMBEDDING + 32


def test_the_frame_adds_up_to_all_parameters(tiny_checkpoint: Written) -> None:
    costs = costs_of(tiny_checkpoint())
    frame = costs.to_frame()
    assert list(frame["part"]) == ["backbone", "half-keys", "values"]
    assert frame["parameters"].sum() == costs.total


def test_a_dense_network_of_equal_width_does_the_same_arithmetic(tiny_checkpoint: Written) -> None:
    costs = costs_of(tiny_checkpoint())
    assert 2 * 3 * 32 * equal_width(costs, 32) == pytest.approx(costs.site_flops)
