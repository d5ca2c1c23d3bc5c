"""Direct effects: they sum to the logits, and each is what its part wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inspector.analyses.direct_effect import MEAN, direct_effect
from inspector.capture.edits import ZeroReads
from inspector.capture.load import load
from inspector.capture.trace import Trace, trace
from inspector.families.base import MemoryModel

Written = Callable[..., Path]
TEXT = "Lima is the capital of"

KINDS: dict[str, dict[str, Any]] = {
    "swiglu": {},
    "plain": {"memory_projection": "none"},
    "linear": {"memory_projection": "linear", "memory_d_value": 20},
    "sigmoid": {"memory_sigmoid_gate": True},
    "tied": {"tie_word_embeddings": True},
    "dense": {"memory_layers": []},
}


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Written) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")


@pytest.fixture(scope="module")
def traced(model: MemoryModel) -> Trace:
    return trace(model, TEXT)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_sum_to_the_contrast_of_two_logits(tiny_checkpoint: Written, kind: str) -> None:
    model = load(tiny_checkpoint(**KINDS[kind]), device="cpu")
    found = trace(model, TEXT)
    for pos in (0, found.ids.shape[1] - 1):
        logits = found.logits[0, pos]
        best, other = logits.topk(2).indices.tolist()
        contrasts = {other: logits[best] - logits[other], MEAN: logits[best] - logits.mean()}
        for against, contrast in contrasts.items():
            effect = direct_effect(model, found, pos, best, against)
            rows = sum(part.effect for part in effect.parts)
            assert effect.total == pytest.approx(float(contrast), abs=1e-4)
            assert rows == pytest.approx(float(contrast), abs=1e-4)
            assert effect.error < 1e-4


def test_the_reads_of_a_site_sum_to_its_row(model: MemoryModel, traced: Trace) -> None:
    effect = direct_effect(model, traced, 3, token=40, against=7)
    of_reads = {part.label: part.effect for part in effect.parts if part.kind == "reads"}
    assert list(of_reads) == ["L0 reads", "L2 reads"]
    for name, reads in effect.reads.items():
        assert reads.shape == (2, 4)
        assert of_reads[f"{name} reads"] == pytest.approx(float(reads.sum()), abs=1e-5)


def test_each_read_is_its_value_through_gate_projection_and_head(
    model: MemoryModel, traced: Trace
) -> None:
    """Written out for one read after another, from the weights alone."""
    pos, token, against = 4, 12, 200
    weights = {name: tensor.double() for name, tensor in model.module.state_dict().items()}
    final = traced.residual.final[0, pos].double()
    rms = (final.pow(2).mean() + 1e-6).sqrt()
    head = weights["lm_head.weight"] * weights["model.norm.weight"]
    effect = direct_effect(model, traced, pos, token, against)
    for layer, name in ((0, "L0"), (2, "L2")):
        own = f"model.layers.{layer}.mlp."
        x = traced.inputs[name][0, pos].double()
        inner = weights[f"{own}gate_proj.weight"] @ x + weights[f"{own}gate_proj.bias"]
        gate = inner * inner.sigmoid()
        for head_number in range(2):
            for rank in range(4):
                slot = traced.reads[name].slots[0, pos, head_number, rank]
                weight = traced.reads[name].weights[0, pos, head_number, rank].double()
                value = weights["model.value_tables.0.weight"][slot]
                written = weights[f"{own}value_proj.weight"] @ (gate * weight * value)
                expected = float(written @ (head[token] - head[against]) / rms)
                found = effect.reads[name][head_number, rank]
                assert found == pytest.approx(expected, abs=1e-5)


def test_the_embedding_and_the_remainder_are_what_they_wrote(
    model: MemoryModel, traced: Trace
) -> None:
    pos, token = 2, 33
    state = model.module.state_dict()
    head = state["lm_head.weight"] * state["model.norm.weight"]
    direction = (head[token] - head.mean(0)) / model.backbone.rms(traced.residual.final[0, pos])
    effect = direct_effect(model, traced, pos, token)
    by_label = {part.label: part.effect for part in effect.parts}
    embedded = state["model.embed_tokens.weight"][traced.ids[0, pos]]
    assert by_label["Embedding"] == pytest.approx(float(embedded @ direction), abs=1e-5)
    bias = state["model.layers.2.mlp.value_proj.bias"]
    assert by_label["L2 remainder"] == pytest.approx(float(bias @ direction), abs=1e-5)


def test_a_read_of_the_last_block_is_worth_what_its_ablation_takes_away(
    model: MemoryModel, traced: Trace
) -> None:
    """Nothing comes after the last block but the norm, so with its rms put back both agree."""
    pos, token, against = 5, 90, 150
    effect = direct_effect(model, traced, pos, token, against)
    mask = torch.zeros_like(traced.reads["L2"].slots, dtype=torch.bool)
    mask[0, pos, 1, 2] = True
    without = trace(model, ids=traced.ids, edits=[ZeroReads({"L2": mask})])

    def unscaled(found: Trace) -> float:
        logits = found.logits[0, pos].double()
        contrast = logits[token] - logits[against]
        return float(contrast * model.backbone.rms(found.residual.final[0, pos]))

    rms = float(model.backbone.rms(traced.residual.final[0, pos]))
    lost = (unscaled(traced) - unscaled(without)) / rms
    assert lost == pytest.approx(float(effect.reads["L2"][1, 2]), abs=1e-4)


def test_the_effect_on_an_edited_pass_is_that_of_the_edited_reads(model: MemoryModel) -> None:
    plain = trace(model, TEXT)
    masks = {name: torch.ones_like(r.slots, dtype=torch.bool) for name, r in plain.reads.items()}
    silent = trace(model, TEXT, edits=[ZeroReads(masks)])
    effect = direct_effect(model, silent, 3, token=5, against=6)
    assert all(np.all(reads == 0) for reads in effect.reads.values())
    assert effect.error < 1e-4


def test_against_the_mean_all_tokens_cancel(model: MemoryModel, traced: Trace) -> None:
    """Summed over the vocabulary, every part's effect against the mean is zero."""
    effects = [direct_effect(model, traced, 1, token) for token in range(300)]
    totals = np.sum([[part.effect for part in effect.parts] for effect in effects], axis=0)
    assert np.abs(totals).max() < 1e-8


def test_parts_come_in_the_order_they_write(model: MemoryModel, traced: Trace) -> None:
    frame = direct_effect(model, traced, 0, token=1).to_frame()
    assert list(frame["label"]) == [
        "Embedding",
        "Attention 0",
        "L0 reads",
        "L0 remainder",
        "Attention 1",
        "Feed-forward 1",
        "Attention 2",
        "L2 reads",
        "L2 remainder",
    ]
    assert list(frame["layer"]) == [-1, 0, 0, 0, 1, 1, 2, 2, 2]


def test_each_row_of_a_batch_is_explained_by_itself(model: MemoryModel) -> None:
    ids = torch.tensor([[0, 10, 20, 30], [0, 60, 70, 80]])
    both = trace(model, ids=ids)
    alone = trace(model, ids=ids[1:])
    in_batch = direct_effect(model, both, 3, token=9, against=4, row=1)
    expected = direct_effect(model, alone, 3, token=9, against=4)
    assert in_batch.total == pytest.approx(expected.total, abs=1e-5)
    for part, other in zip(in_batch.parts, expected.parts, strict=True):
        assert part.effect == pytest.approx(other.effect, abs=1e-5)
