"""What a sweep is made of: order, fingerprint, and dense models that really match."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inspector.errors import ConfigError
from inspector.memory.llama import MemoryLlamaConfig, MemoryLlamaForCausalLM
from inspector.training.sweep_config import (
    SweepConfig,
    SweepModel,
    lookup_operations,
    match_error,
    read_sweep_config,
    site_flops,
    site_parameters,
)
from inspector.training.sweep_costs import POSITIONS, measure_times, measure_token_costs

SHIPPED = Path(__file__).parents[2] / "sample_checkpoints" / "sweep.toml"
BACKBONE = {
    "hidden_size": 16,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": 48,
    "tie_word_embeddings": True,
}
MEMORY = {"memory_heads": 2, "memory_knn": 3, "memory_d_key": 16, "memory_projection": "swiglu"}
SIZES = {"half_keys": (4, 8), "match_flops": (8,), "match_parameters": (4,), "blocks": (1, 2)}


def sweep_of(**entries: object) -> SweepConfig:
    return SweepConfig(**{**SIZES, "backbone": BACKBONE, "memory": MEMORY, **entries})  # type: ignore[arg-type]


def built(model: SweepModel) -> MemoryLlamaForCausalLM:
    torch.manual_seed(0)
    return MemoryLlamaForCausalLM(MemoryLlamaConfig(vocab_size=500, **model.entries))


@pytest.fixture(scope="module")
def shipped() -> SweepConfig:
    return read_sweep_config(SHIPPED)


def test_runs_go_seed_0_first_and_the_late_ones_last() -> None:
    config = sweep_of(seeds=2, late=("memory-8",))
    names = [run.config.name for run in config.runs()]
    assert names == [
        *("dense-seed-0", "memory-4-seed-0", "memory-8-seed-0"),
        *("dense-flops-8-seed-0", "dense-params-4-seed-0"),
        *("dense-seed-1", "memory-4-seed-1", "dense-flops-8-seed-1", "dense-params-4-seed-1"),
        "memory-8-seed-1",
    ]
    assert all(run.config.seed == run.seed for run in config.runs())


def test_all_runs_share_data_steps_and_backbone() -> None:
    runs = sweep_of(optimisation={"steps": 7}, training={"vocabulary": 300}).runs()
    assert {run.config.optimisation.steps for run in runs} == {7}
    assert {run.config.vocabulary for run in runs} == {300}
    for run in runs:
        assert {name: run.config.model[name] for name in BACKBONE} == BACKBONE


def test_the_fingerprint_is_of_what_runs_share() -> None:
    plain = sweep_of().fingerprint
    assert sweep_of(seeds=5).fingerprint == plain
    assert sweep_of(half_keys=(4, 8, 16), late=("memory-16",)).fingerprint == plain
    for change in (
        {"optimisation": {"steps": 9}},
        {"training": {"vocabulary": 9}},
        {"backbone": {**BACKBONE, "hidden_size": 32}},
        {"memory": {**MEMORY, "memory_knn": 4}},
        {"asked": 5},
        {"blocks": (0, 1)},
    ):
        assert sweep_of(**change).fingerprint != plain


@pytest.mark.parametrize("name", ["memory-32", "memory-64", "memory-128", "memory-256"])
def test_formulas_are_what_is_counted(shipped: SweepConfig, name: str) -> None:
    """The matched widths are worked out; the counts of real models must agree with them."""
    models = {model.name: model for model in shipped.models()}
    memory, dense = built(models[name]), built(models["dense"])
    shape = memory.config.memory_shape()
    blocks, width = len(shipped.blocks), memory.config.intermediate_size
    feed_forward = 6 * shape.d_model * width
    costs, plain = measure_token_costs(memory), measure_token_costs(dense)
    assert costs.flops - plain.flops == blocks * (site_flops(shape) - feed_forward)
    assert costs.lookup == blocks * lookup_operations(shape)
    added = shape.slots * shape.d_value
    added += blocks * (site_parameters(shape) - 3 * shape.d_model * width)
    assert costs.parameters - plain.parameters == added
    touched = blocks * shape.heads * shape.knn * shape.d_value
    assert costs.table == shape.slots * shape.d_value
    assert costs.active == costs.parameters - costs.table + touched


def test_the_shipped_dense_models_match_within_a_fifth_of_a_percent(shipped: SweepConfig) -> None:
    costs = {model.name: measure_token_costs(built(model)) for model in shipped.models()}
    for n in shipped.match_flops:
        exact = costs[f"memory-{n}"].flops
        assert match_error(exact, costs[f"dense-flops-{n}"].flops) < 0.002
    for n in shipped.match_parameters:
        exact = costs[f"memory-{n}"].parameters
        assert match_error(exact, costs[f"dense-params-{n}"].parameters) < 0.002


def test_counted_arithmetic_is_the_products_of_a_dense_model() -> None:
    model = built(sweep_of().models()[0])
    d, width, heads = 16, 40, 2
    block = 4 * d * d + 3 * d * width
    attention = 2 * POSITIONS * d  # scores and sums over all positions, as sdpa is counted
    expected = 2 * (3 * (block + attention) + d * 500)
    costs = measure_token_costs(model)
    assert heads * model.config.head_dim == d
    assert costs.counted == expected
    assert (costs.values, costs.lookup, costs.table) == (0, 0, 0)
    assert costs.head == 2 * d * 500
    assert costs.active == costs.parameters


def test_times_are_taken_of_every_model_in_turn() -> None:
    models = {model.name: built(model) for model in sweep_of().models()[:2]}
    said: list[str] = []
    times = measure_times(models, rounds=3, tell=said.append)
    assert list(times) == ["dense", "memory-4"]
    assert all(0 < t["low"] <= t["median"] <= t["high"] for t in times.values())
    assert said[-1] == "timing the models, round 3 of 3"


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"seeds": 0}, "seeds = 0 must be at least 1"),
        ({"half_keys": ("many",)}, "must be whole numbers"),
        ({"late": ("memory-9",)}, "late names .'memory-9'."),
        ({"memory": {**MEMORY, "memory_d_key": 5}}, "cannot be split"),
        ({"memory": {"memory_layers": [1]}}, "the sweep's own to set"),
        ({"optimisation": {"stepps": 1}}, "make no model"),
        ({"optimisation": {"steps": 0}}, "steps = 0"),
    ],
)
def test_what_makes_no_sweep_is_named(entries: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        sweep_of(**entries)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("half_keys = [", "is not a TOML file"),
        ("sizes = [1]", "found sizes; it may have"),
        ("half_keys = [4]\nmemory = 3", "memory must be a table"),
        ("half_keys = [4]", "missing"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        read_sweep_config(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_sweep_config(tmp_path / "none.toml")
