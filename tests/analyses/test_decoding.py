"""Decodings name their gate, find the planted token, and call noise noise."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from inspector.analyses.decoding import Decoding, decode, gate_at
from inspector.analyses.gates import MeanGates, measure_mean_gates
from inspector.analyses.unembedding import null_vectors, unembedding_of
from inspector.analyses.value_quality import nulls_of
from inspector.capture.load import load
from inspector.capture.trace import Trace, trace
from inspector.errors import NotShown, SlotError
from inspector.families.base import MemoryModel

Written = Callable[..., Path]
SLOTS = [0, 17, 63, 17]
TABLE = "model.value_tables.0.weight"


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Written) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")


@pytest.fixture(scope="module")
def gates(model: MemoryModel) -> MeanGates:
    return measure_mean_gates(model, [torch.tensor([[0, 10, 20, 30]])], "four tokens")


@pytest.fixture(scope="module")
def traced(model: MemoryModel) -> Trace:
    return trace(model, "Lima speaks")


def logits_of(model: MemoryModel, vectors: Tensor) -> Tensor:
    """What ``vectors [slot d_model]`` add to every logit, rms aside."""
    state = model.module.state_dict()
    return vectors @ (state["lm_head.weight"] * state["model.norm.weight"]).T


def values_of(model: MemoryModel, slots: Sequence[int]) -> Tensor:
    return model.module.state_dict()[TABLE][list(slots)]


def projected(model: MemoryModel, layer: int, values: Tensor) -> Tensor:
    return values @ model.module.state_dict()[f"model.layers.{layer}.mlp.value_proj.weight"].T


def check_tokens(found: Decoding, logits: Tensor, top: int = 5) -> None:
    """The decoding against brute force over the whole vocabulary."""
    best, worst = logits.topk(top), logits.topk(top, largest=False)
    assert np.array_equal(found.promoted, best.indices.numpy())
    assert np.array_equal(found.suppressed, worst.indices.numpy())
    assert found.promoted_logits == pytest.approx(best.values.numpy(), abs=1e-4)
    assert found.suppressed_logits == pytest.approx(worst.values.numpy(), abs=1e-4)


# --- the three gates ----------------------------------------------------------------------------


def test_raw_is_the_value_times_the_unembedding(model: MemoryModel) -> None:
    found = decode(model, SLOTS, "L2", "raw")
    assert (found.site, found.gate) == ("L2", "raw")
    assert found.slots.tolist() == SLOTS
    assert not found.fallback.any()
    check_tokens(found, logits_of(model, values_of(model, SLOTS)))


def test_static_goes_through_the_mean_gate_of_each_slot(
    model: MemoryModel, gates: MeanGates
) -> None:
    own = gates.sites["L2"]
    read, unread = int(own.slots[2]), min(set(range(64)) - set(own.slots.tolist()))
    found = decode(model, [read, unread], "L2", "static", gates=gates)
    assert found.gate == "static"
    assert found.fallback.tolist() == [False, True]
    gate = torch.stack([own.gates[2], own.mean])
    vectors = projected(model, 2, values_of(model, [read, unread]) * gate)
    check_tokens(found, logits_of(model, vectors))


def test_in_context_goes_through_the_gate_of_the_token(model: MemoryModel, traced: Trace) -> None:
    pos = 3
    slots = traced.reads["L0"].slots[0, pos].flatten()
    found = decode(model, slots, "L0", gate_at(model, traced, "L0", pos))
    assert found.gate == "context"
    assert found.slots.tolist() == slots.tolist()
    module = model.module.model.layers[0].mlp.gate_proj
    gate = torch.nn.functional.silu(module(traced.inputs["L0"][0, pos]))
    vectors = projected(model, 0, values_of(model, slots.tolist()) * gate)
    check_tokens(found, logits_of(model, vectors))


def test_another_token_gives_another_decoding(model: MemoryModel, traced: Trace) -> None:
    first, second = (decode(model, [5], "L0", gate_at(model, traced, "L0", p)) for p in (1, 2))
    assert not np.array_equal(first.promoted_logits, second.promoted_logits)


def test_a_shared_value_says_another_thing_at_each_site(
    model: MemoryModel, gates: MeanGates
) -> None:
    l0, l2 = (decode(model, [5], name, "static", gates=gates) for name in ("L0", "L2"))
    assert not np.array_equal(l0.promoted, l2.promoted)
    raw = [decode(model, [5], name, "raw") for name in ("L0", "L2")]
    assert np.array_equal(raw[0].promoted, raw[1].promoted)


def test_a_site_that_is_no_sum_of_its_reads_decodes_raw_values_alone(
    tiny_checkpoint: Written,
) -> None:
    other = load(tiny_checkpoint(), device="cpu")
    found = trace(other, "Lima speaks")
    gate = gate_at(other, found, "L2", 1)
    raw = decode(other, SLOTS, "L2", "raw")
    site = other.site("L2")
    site.info = replace(site.info, additive=False)
    with pytest.raises(NotShown, match="L2 writes is no sum over its reads"):
        gate_at(other, found, "L2", 1)
    for through in (gate, "static"):
        with pytest.raises(NotShown, match="raw values can be"):
            decode(other, SLOTS, "L2", through, gates=None)
    assert np.array_equal(decode(other, SLOTS, "L2", "raw").promoted, raw.promoted)


@pytest.mark.parametrize("projection", ["none", "linear"])
def test_without_a_gate_a_value_needs_no_scan(tiny_checkpoint: Written, projection: str) -> None:
    plain = load(tiny_checkpoint(memory_projection=projection), device="cpu")
    found = trace(plain, "Lima speaks")
    assert gate_at(plain, found, "L2", 1) == "static"
    decoding = decode(plain, SLOTS, "L2", "static")
    assert not decoding.fallback.any()
    vectors = values_of(plain, SLOTS)
    check_tokens(
        decoding,
        logits_of(plain, vectors if projection == "none" else projected(plain, 2, vectors)),
    )


def test_a_bf16_checkpoint_decodes(tiny_checkpoint: Written) -> None:
    half = load(tiny_checkpoint(dtype=torch.bfloat16), device="cpu")
    state = half.module.state_dict()
    head = (state["lm_head.weight"] * state["model.norm.weight"]).float()
    found = decode(half, SLOTS, "L2", "raw")
    check_tokens(found, state[TABLE][SLOTS].float() @ head.T)


# --- quality ------------------------------------------------------------------------------------


def test_the_p_value_is_the_share_of_nulls_that_stand_as_high(model: MemoryModel) -> None:
    found = decode(model, SLOTS, "L2", "raw")
    logits = logits_of(model, nulls_of(model.site("L2").table).float())
    nulls = (logits.max(-1).values - logits.mean(-1)) / logits.std(-1, correction=0)
    assert nulls.shape == (9_999,)
    for standing, p_value in zip(found.standing, found.p_value, strict=True):
        at_least = sum(float(null) >= standing for null in nulls)
        assert p_value == pytest.approx((1 + at_least) / 10_000, abs=2e-4)


def test_nulls_go_through_the_same_gate(model: MemoryModel, traced: Trace) -> None:
    """A gate that lets one dimension through makes all values say one of two things."""
    gate = torch.zeros(32)
    gate[4] = 1.0
    found = decode(model, list(range(64)), "L2", gate)
    assert {tuple(row) for row in found.promoted.tolist()} <= {
        tuple(found.promoted[0]),
        tuple(found.suppressed[0]),
    }
    assert not found.passes.any(), "what every null says cannot stand out"


def with_table(source: Path, target: Path, table: Tensor) -> MemoryModel:
    """The checkpoint at ``source`` with other values."""
    path = Path(shutil.copytree(source, target))
    tensors = load_file(path / "model.safetensors")
    assert tensors[TABLE].shape == table.shape
    tensors[TABLE] = table
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    return load(path, device="cpu")


@pytest.mark.parametrize("gate", ["raw", "context"])
def test_a_planted_token_is_found_and_stands_out(
    tiny_checkpoint: Written, tmp_path: Path, gate: str
) -> None:
    """Ten values write a token's unembedding and noise, as they are or through gate and W_o."""
    source = tiny_checkpoint(memory_half_keys=16)
    original = load(source, device="cpu")
    head = original.backbone.unembedding()
    generator = torch.Generator().manual_seed(11)
    planted = torch.randperm(300, generator=generator)[:10]
    written = 6 * head[planted] / head[planted].norm(dim=-1, keepdim=True)
    written = written + 0.1 * torch.randn(10, 32, generator=generator)
    token_gate = 0.5 + torch.rand(32, generator=generator)
    table = original.module.state_dict()[TABLE].clone()
    table[:10] = written
    if gate == "context":
        weight = original.module.state_dict()["model.layers.2.mlp.value_proj.weight"]
        table[:10] = torch.linalg.solve(weight, written.T).T / token_gate
    model = with_table(source, tmp_path / "planted", table)
    found = decode(model, list(range(256)), "L2", "raw" if gate == "raw" else token_gate)
    assert found.promoted[:10, 0].tolist() == planted.tolist()
    assert found.passes[:10].all()
    assert found.passes[10:].mean() < 0.12  # the rest is noise


@pytest.mark.parametrize("gate", ["raw", "static"])
def test_null_vectors_pass_at_most_one_time_in_twenty(
    tiny_checkpoint: Written, tmp_path: Path, gate: str
) -> None:
    """400 values drawn like the nulls, from a covariance that is far from isotropic.

    At 5 % 20 of 400 pass. Nulls are shared by the slots, and the least that are drawn are 99: the
    count has at most the spread of a binomial, 4.4, and of the place of their threshold, 8.7 (the
    5th of 99 has a standard error of 0.022). Twice both together are let through.
    """
    source = tiny_checkpoint(memory_half_keys=20)
    generator = torch.Generator().manual_seed(2)
    mixing = torch.randn(32, 32, generator=generator) * torch.logspace(0, -2, 32)[:, None]
    covariance_of = torch.randn(4000, 32, generator=generator) @ mixing
    model = with_table(source, tmp_path / "null", null_vectors(covariance_of, 400, seed=9).float())
    scanned = measure_mean_gates(model, [torch.arange(60).reshape(2, 30)], "some tokens")
    found = decode(model, list(range(400)), "L2", gate, gates=scanned)
    assert found.passes.sum() <= 20 + 2 * 9.7
    if gate == "raw":
        assert 0.4 < found.p_value.mean() < 0.6  # p-values of noise are uniform


def test_standing_is_that_of_the_vectors_written(model: MemoryModel) -> None:
    vectors = values_of(model, SLOTS)
    found = decode(model, SLOTS, "L2", "raw")
    assert found.standing == pytest.approx(unembedding_of(model).standing(vectors), rel=1e-5)


# --- what cannot be decoded ---------------------------------------------------------------------


@pytest.mark.parametrize("slots", [[64], [-1], [3, 999]])
def test_slots_out_of_range_are_told(model: MemoryModel, slots: list[int]) -> None:
    with pytest.raises(SlotError, match=r"Slots of L0 are 0 to 63; found"):
        decode(model, slots)


def test_a_site_that_is_not_there_is_told(model: MemoryModel) -> None:
    with pytest.raises(SlotError, match="no site L1"):
        decode(model, [0], "L1")


def test_a_dense_model_is_told(tiny_checkpoint: Written) -> None:
    dense = load(tiny_checkpoint(memory_layers=[]), device="cpu")
    with pytest.raises(SlotError, match="its sites are: none"):
        decode(dense, [0])


def test_raw_values_of_another_width_are_told(tiny_checkpoint: Written) -> None:
    narrow = load(tiny_checkpoint(memory_d_value=24), device="cpu")
    with pytest.raises(SlotError, match="24 dimensions and the residual stream 32"):
        decode(narrow, [0], gate="raw")
    scanned = measure_mean_gates(narrow, [torch.tensor([[0, 5]])], "two tokens")
    assert decode(narrow, [0], gate="static", gates=scanned).promoted.shape == (1, 5)


def test_static_without_a_scan_and_unknown_gates_are_refused(model: MemoryModel) -> None:
    with pytest.raises(ValueError, match="needs the mean gates of a scan"):
        decode(model, [0], gate="static")
    with pytest.raises(ValueError, match="must be one of raw, static, context"):
        decode(model, [0], gate="average")


def test_no_slots_make_an_empty_decoding(model: MemoryModel) -> None:
    found = decode(model, [])
    assert found.promoted.shape == (0, 5)
    assert len(found.to_frame()) == 0


def test_parts_that_disagree_are_refused(model: MemoryModel) -> None:
    whole = decode(model, SLOTS)
    parts = {name: getattr(whole, name) for name in whole.__dataclass_fields__}
    with pytest.raises(ValueError, match="a decoding of 3 slots"):
        Decoding(**(parts | {"slots": whole.slots[:3]}))


# --- as a table ---------------------------------------------------------------------------------


def test_the_frame_names_tokens_beside_their_logits(model: MemoryModel) -> None:
    found = decode(model, SLOTS, "L2", top=3)
    frame = found.to_frame()
    assert list(frame["slot"]) == SLOTS
    assert set(frame["site"]) == {"L2"}
    for row, (promoted, suppressed) in enumerate(
        zip(frame["promoted"], frame["suppressed"], strict=True)
    ):
        assert promoted == [model.token_text(token) for token in found.promoted[row].tolist()]
        assert suppressed == [model.token_text(token) for token in found.suppressed[row].tolist()]
        assert frame["promoted_logits"][row] == found.promoted_logits[row].tolist()
    assert frame["passes"].tolist() == (frame["p_value"] <= 0.05).tolist()


def test_the_first_site_and_raw_are_the_defaults(model: MemoryModel) -> None:
    assert (decode(model, [1]).site, decode(model, [1]).gate) == ("L0", "raw")
