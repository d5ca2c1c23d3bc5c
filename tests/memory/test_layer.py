"""ProductKeyMemory against the reference implementation's numbers, and against its own parts."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from inspector.memory.layer import HalfKeyScores, MemoryShape, ProductKeyMemory
from inspector.memory.product_keys import look_up
from inspector.memory.values import ValueTable

PARITY = Path(__file__).parents[1] / "data" / "parity"
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "swiglu": {"projection": "swiglu"},
    "gated": {"projection": "swiglu", "sigmoid_gate": True},
}
REFERENCE_NAMES = {
    "half_key_scores.half_keys": "keys",
    "half_key_scores.query.weight": "query_proj.query_mlps.0.weight",
    "half_key_scores.query.bias": "query_proj.query_mlps.0.bias",
    "gate_proj.weight": "swilu_projection.weight",
    "gate_proj.bias": "swilu_projection.bias",
    "value_proj.weight": "value_proj.weight",
    "value_proj.bias": "value_proj.bias",
    "sigmoid_gate.weight": "gating.weight",
    "sigmoid_gate.bias": "gating.bias",
}


def memory(table: ValueTable | None = None, **options: Any) -> ProductKeyMemory:
    """A small layer in float64 whose parameters are all drawn at random, biases and norms too."""
    sizes = {"d_model": 6, "heads": 2, "knn": 3, "half_keys": 4, "d_key": 8, "d_value": 6}
    shape = MemoryShape(**(sizes | options))
    table = table or ValueTable(shape.slots, shape.d_value)
    layer = ProductKeyMemory(shape, table).double()
    table.double()
    for parameter in (*layer.parameters(), *table.parameters()):
        torch.nn.init.normal_(parameter, std=0.7)
    return layer.requires_grad_(False)


def test_a_peer_layer_by_hand() -> None:
    second = ValueTable(16, 6).double().requires_grad_(False)
    torch.nn.init.normal_(second.weight)
    shape = MemoryShape(
        d_model=6, heads=2, knn=3, half_keys=4, d_key=8, d_value=6, activation="gelu"
    )
    layer = ProductKeyMemory(shape, ValueTable(16, 6), second).double().requires_grad_(False)
    layer.table.double().requires_grad_(False)
    for parameter in (*layer.parameters(), layer.table.weight):
        torch.nn.init.normal_(parameter)
    x = torch.randn(5, 6, dtype=torch.float64)
    reads = look_up(layer.half_key_scores(x), 3)
    expected = torch.zeros_like(x)
    for pos, head, rank in itertools.product(range(5), range(2), range(3)):
        slot = int(reads.slots[pos, head, rank])
        product = float(second.weight[slot] @ x[pos])
        gelu = product * (1 + math.erf(product / math.sqrt(2))) / 2
        expected[pos] += reads.weights[pos, head, rank] * gelu * layer.table.weight[slot]
    torch.testing.assert_close(layer(x), expected)
    assert not layer.remainder(x).any()
    assert {name for name, _ in layer.named_parameters() if "table" in name} == set()


@pytest.mark.parametrize(("activation", "table"), [("gelu", None), ("none", ValueTable(16, 6))])
def test_an_activation_comes_with_a_table_of_its_own(activation: Any, table: Any) -> None:
    shape = MemoryShape(
        d_model=6, heads=2, knn=3, half_keys=4, d_key=8, d_value=6, activation=activation
    )
    with pytest.raises(ValueError, match=f"activation = '{activation}'"):
        ProductKeyMemory(shape, ValueTable(16, 6), table)


# --- the reference implementation ---------------------------------------------------------------


@pytest.fixture(scope="module", params=OPTIONS)
def variant(request: pytest.FixtureRequest) -> tuple[str, dict[str, Tensor]]:
    return request.param, load_file(PARITY / f"{request.param}.safetensors")


def reference_layer(options: dict[str, Any], tensors: dict[str, Tensor], at: int) -> Any:
    shape = MemoryShape(d_model=64, heads=2, knn=4, half_keys=16, d_key=32, d_value=64, **options)
    table = ValueTable(shape.slots, shape.d_value)
    table.weight.data = tensors["layers.1.feed_forward.values.weight"]  # in bfloat16, as stored
    layer = ProductKeyMemory(shape, table)
    state = {
        ours: tensors[f"layers.{at}.feed_forward.{name}"].view_as(layer.get_parameter(ours))
        for ours, name in REFERENCE_NAMES.items()
        if ours in layer.state_dict()
    }
    layer.load_state_dict(state, strict=True)
    return layer


@pytest.mark.parametrize("at", [1, 3])
def test_the_layer_does_what_the_reference_does(
    variant: tuple[str, dict[str, Tensor]], at: int
) -> None:
    name, tensors = variant
    layer = reference_layer(OPTIONS[name], tensors, at)
    given, expected = tensors[f"memory.{at}.input"], tensors[f"memory.{at}.output"]
    scale = expected.abs().max()
    with torch.no_grad():
        torch.testing.assert_close(layer(given) / scale, expected / scale, atol=1e-5, rtol=0)
        query = layer.half_key_scores.query(given).reshape(-1, 32)
        reads = layer.top_slots(layer.half_key_scores(given))
    torch.testing.assert_close(query, tensors[f"memory.{at}.query"], atol=1e-5, rtol=0)
    slots, scores = tensors[f"memory.{at}.last_indices"], tensors[f"memory.{at}.last_scores"]
    assert torch.equal(reads.slots.flatten(0, 1).sort().values, slots.sort().values)
    assert torch.equal(reads.slots.flatten(0, 1), slots)  # the reference too has the best first
    torch.testing.assert_close(reads.scores.flatten(0, 1), scores, atol=1e-5, rtol=0)
    torch.testing.assert_close(reads.weights.flatten(0, 1), scores.softmax(-1))


def test_the_files_hold_memory_layers_alone(variant: tuple[str, dict[str, Tensor]]) -> None:
    name, tensors = variant
    assert {tensor.split(".")[0] for tensor in tensors} == {"layers", "memory"}
    assert (PARITY / f"{name}.safetensors").stat().st_size < 500_000


# --- its own parts ------------------------------------------------------------------------------

COMBINATIONS = [
    {"projection": projection, "sigmoid_gate": gate, "query_norm": query, "key_norm": key}
    for projection, gate, query, key in itertools.product(
        ("none", "linear", "swiglu"),
        (False, True),
        ("none", "layer", "rms"),
        ("none", "layer", "rms"),
    )
]


@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_the_output_is_the_sum_of_its_reads_and_the_remainder(options: dict[str, Any]) -> None:
    layer = memory(**options, d_value=6 if options["projection"] == "none" else 5)
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    reads = layer.top_slots(layer.half_key_scores(x))
    gate = layer.gate(x)
    total = layer.remainder(x).clone()
    for batch, pos, head, rank in itertools.product(*map(range, reads.slots.shape)):
        value = layer.table.weight[reads.slots[batch, pos, head, rank]]
        weighted = reads.weights[batch, pos, head, rank] * value
        own = None if gate is None else gate[batch, pos]
        total[batch, pos] += layer.project(weighted, own)
    torch.testing.assert_close(layer(x), total, atol=1e-9, rtol=0)


@pytest.mark.parametrize("kind", ["none", "layer", "rms"])
def test_half_scores_by_hand(kind: str) -> None:
    layer = memory(query_norm=kind, key_norm=kind)
    scores: HalfKeyScores = layer.half_key_scores
    x = torch.randn(6, dtype=torch.float64)
    query = scores.query.weight @ x + scores.query.bias
    for head, half, key in itertools.product(range(2), range(2), range(4)):
        start = head * 8 + half * 4
        sides = [
            normed(query[start : start + 4], kind, scores.query_norm),
            normed(scores.half_keys[head, half, key], kind, scores.key_norm),
        ]
        expected = (sides[0] * sides[1]).sum()
        torch.testing.assert_close(scores(x)[head, half, key], expected, atol=1e-9, rtol=0)


def normed(vector: Tensor, kind: str, norm: Any) -> Any:
    if kind == "none":
        return vector
    if kind == "rms":
        epsilon = torch.finfo(torch.float64).eps
        return vector / (vector.pow(2).mean() + epsilon).sqrt() * norm.weight
    centred = vector - vector.mean()
    return centred / (centred.pow(2).mean() + 1e-5).sqrt() * norm.weight + norm.bias


def test_a_gated_layer_by_hand() -> None:
    layer = memory(projection="swiglu", sigmoid_gate=True, d_value=5)
    assert layer.gate_proj is not None
    assert layer.value_proj is not None
    assert layer.sigmoid_gate is not None
    x = torch.randn(6, dtype=torch.float64)
    reads = layer.top_slots(layer.half_key_scores(x))
    total = sum(
        reads.weights[head, rank] * layer.table.weight[reads.slots[head, rank]]
        for head in range(2)
        for rank in range(3)
    )
    inner = layer.gate_proj.weight @ x + layer.gate_proj.bias
    projected = layer.value_proj.weight @ (inner * inner.sigmoid() * total) + layer.value_proj.bias
    outer = (layer.sigmoid_gate.weight @ x + layer.sigmoid_gate.bias).sigmoid()
    torch.testing.assert_close(layer(x), outer * projected, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("options", "gated"),
    [
        ({}, False),
        ({"projection": "linear"}, False),
        ({"projection": "swiglu"}, True),
        ({"sigmoid_gate": True}, True),
    ],
)
def test_a_layer_without_a_gate_has_none(options: dict[str, Any], gated: bool) -> None:
    layer = memory(**options)
    gate = layer.gate(torch.randn(2, 6, dtype=torch.float64))
    assert (gate is not None) == gated
    assert gate is None or gate.shape == (2, 6)


@pytest.mark.parametrize("projection", ["none", "linear", "swiglu"])
def test_what_is_done_to_a_remainder_leaves_the_layer_alone(projection: str) -> None:
    layer = memory(projection=projection)
    x = torch.randn(2, 6, dtype=torch.float64)
    before = layer(x)
    layer.remainder(x).add_(1)
    assert torch.equal(layer(x), before)


def test_any_leading_axes_will_do() -> None:
    layer = memory(projection="swiglu")
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[1, 2], layer(x[1, 2]))
    torch.testing.assert_close(layer(x).flatten(0, 1), layer(x.flatten(0, 1)))


def test_layers_that_share_a_table_read_the_same_module() -> None:
    table = ValueTable(16, 6)
    first, second = memory(table), memory(table)
    assert first.table is second.table is table
    assert not any("table" in name for name in (*first.state_dict(), *second.state_dict()))
    x = torch.randn(6, dtype=torch.float64)
    before = first(x), second(x)
    table.weight.data *= 2
    torch.testing.assert_close((first(x), second(x)), (before[0] * 2, before[1] * 2))


def test_training_reaches_every_parameter() -> None:
    layer = memory(projection="swiglu", sigmoid_gate=True, query_norm="layer", key_norm="rms")
    layer.requires_grad_(True)
    layer(torch.randn(9, 6, dtype=torch.float64)).pow(2).sum().backward()
    parameters = {**dict(layer.named_parameters()), "table": layer.table.weight}
    assert [n for n, p in parameters.items() if p.grad is None or not p.grad.any()] == []


def test_the_query_may_lack_its_bias() -> None:
    assert memory(query_bias=False).half_key_scores.query.bias is None


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 0}, "every size of a memory layer is at least 1"),
        ({"knn": 0}, "every size of a memory layer is at least 1"),
        ({"half_keys": -4}, "every size of a memory layer is at least 1"),
        ({"d_key": 7}, "d_key = 7 cannot be split into two equal halves"),
        ({"knn": 17}, "knn = 17 reads per head, but 4 half-keys make only 16 keys"),
        ({"d_value": 5}, "d_value = 5 needs a projection to reach d_model = 6"),
        ({"projection": "swilu"}, "projection = 'swilu' is none of none, linear, swiglu"),
        ({"query_norm": "batch"}, "query_norm = 'batch' is none of none, layer, rms"),
        ({"key_norm": "l2"}, "key_norm = 'l2' is none of none, layer, rms"),
    ],
)
def test_shapes_that_make_no_memory_layer(options: dict[str, Any], message: str) -> None:
    sizes = {"d_model": 6, "heads": 2, "knn": 3, "half_keys": 4, "d_key": 8, "d_value": 6}
    with pytest.raises(ValueError, match=message):
        MemoryShape(**(sizes | options))


def test_as_many_reads_as_keys_are_allowed() -> None:
    layer = memory(knn=16)
    reads = layer.top_slots(layer.half_key_scores(torch.randn(6, dtype=torch.float64)))
    assert reads.slots.sort().values.tolist() == [list(range(16))] * 2
