"""From the sum of values to the next token, against the forward pass itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inspector.analyses.lookup_effect import LookupEffect, lookup_effect
from inspector.capture.edits import ZeroPositions
from inspector.capture.load import load
from inspector.capture.trace import Trace, trace
from inspector.families.base import MemoryModel

OPTIONS: list[dict[str, object]] = [
    {},
    {"memory_projection": "none"},
    {"memory_projection": "linear", "memory_sigmoid_gate": True},
]


@pytest.fixture(scope="module", params=OPTIONS, ids=str)
def model(request: pytest.FixtureRequest, tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(**request.param), device="cpu")


@pytest.fixture(scope="module")
def traced(model: MemoryModel) -> Trace:
    return trace(model, ids=[[3, 1, 4, 1, 5]])


def effects(model: MemoryModel, traced: Trace) -> dict[str, list[LookupEffect]]:
    return {
        name: [lookup_effect(model, traced, name, 4, head) for head in range(info.heads)]
        for name, info in traced.sites.items()
    }


def test_what_is_written_is_the_output_less_the_remainder(
    model: MemoryModel, traced: Trace
) -> None:
    for name, found in effects(model, traced).items():
        x = traced.inputs[name][0, 4]
        expected = traced.residual.sites[name][0, 4] - model.site(name).remainder(x)
        np.testing.assert_allclose(found[0].written, expected.numpy(), atol=1e-5)
        by_heads = sum(effect.head for effect in found)
        np.testing.assert_allclose(by_heads, found[0].written, atol=1e-5)


def test_the_gated_sum_projected_is_what_is_written(model: MemoryModel, traced: Trace) -> None:
    for name, found in effects(model, traced).items():
        effect, site = found[0], model.site(name)
        gate = None if effect.gate is None else torch.from_numpy(effect.gate)
        written = site.project(torch.from_numpy(effect.summed), gate)
        np.testing.assert_allclose(written.numpy(), effect.written, atol=1e-5)


def test_without_its_reads_the_prediction_is_that_of_a_second_pass(
    model: MemoryModel, traced: Trace
) -> None:
    for name, found in effects(model, traced).items():
        positions = torch.zeros(1, 5, dtype=torch.bool)
        positions[0, 4] = True
        edit = ZeroPositions(positions, frozenset([name]))
        again = trace(model, ids=traced.ids, edits=[edit]).logits[0, 4].softmax(-1)
        chances = [chance for _, chance in found[0].without_reads]
        assert chances == pytest.approx(again.topk(len(chances)).values.tolist(), rel=1e-5)
        plain = traced.logits[0, 4].softmax(-1).topk(len(chances)).values.tolist()
        assert [chance for _, chance in found[0].with_reads] == pytest.approx(plain, rel=1e-5)


def test_tokens_are_pushed_by_their_direct_effect(model: MemoryModel, traced: Trace) -> None:
    for found in effects(model, traced).values():
        effect = found[0]
        pushed = model.backbone.unembedding() @ torch.from_numpy(effect.written) / effect.rms
        promoted = [logit for _, logit in effect.promoted]
        assert promoted == pytest.approx(pushed.topk(len(promoted)).values.tolist(), abs=1e-5)
        suppressed = [logit for _, logit in effect.suppressed]
        lowest = pushed.topk(len(suppressed), largest=False).values.tolist()
        assert suppressed == pytest.approx(lowest, abs=1e-5)


def test_vectors_that_disagree_are_refused(model: MemoryModel, traced: Trace) -> None:
    effect = lookup_effect(model, traced, "L0", 4, 0)
    with pytest.raises(ValueError, match="by the head"):
        replace(effect, head=effect.head[:3])
    with pytest.raises(ValueError, match="gate"):
        replace(effect, gate=np.ones(3))
