"""Sessions: what hooks do within one, and that they do nothing outside."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from inspector.capture.edits import ZeroPositions
from inspector.capture.load import load
from inspector.capture.lookup_edits import LookupInput
from inspector.capture.session import logits, session
from inspector.families.base import MemoryModel
from inspector.families.registry import open_checkpoint
from inspector.memory.product_keys import SiteReads

IDS = torch.tensor([[0, 41, 7, 299, 5], [0, 3, 260, 270, 8]])


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")


@pytest.fixture(scope="module")
def plain(tiny_checkpoint: Callable[..., Path]) -> Tensor:
    """Logits of the checkpoint without any hooks."""
    unhooked = open_checkpoint(tiny_checkpoint(), device=torch.device("cpu"))
    assert not any(m._forward_hooks for m in unhooked.module.modules())
    return logits(unhooked, IDS)


def halve(made_from: LookupInput, reads: SiteReads) -> SiteReads:
    return replace(reads, coefficients=reads.coefficients * 0.5)


def shift(made_from: LookupInput, reads: SiteReads) -> SiteReads:
    return replace(reads, coefficients=reads.coefficients + 1.0)


def fail(made_from: LookupInput, reads: SiteReads) -> SiteReads:
    raise RuntimeError("this edit fails")


# --- recording ----------------------------------------------------------------------------------


def test_outside_a_session_hooks_do_nothing(model: MemoryModel, plain: Tensor) -> None:
    with session(record=True, residual=True) as recording:
        pass
    assert torch.equal(logits(model, IDS), plain)
    assert (recording.reads, recording.inputs, recording.outputs) == ({}, {}, {})
    assert (recording.embedding, recording.residual) == (None, None)


def test_a_session_that_records_nothing_records_nothing(model: MemoryModel) -> None:
    with session(residual=True) as recording:
        logits(model, IDS)
    assert (recording.reads, recording.attentions) == ({}, {})
    assert recording.embedding is None


def test_the_residual_stream_is_recorded_where_it_was_asked_for(model: MemoryModel) -> None:
    with session(record=True) as recording:
        logits(model, IDS)
    assert (
        list(recording.reads) == list(recording.inputs) == list(recording.outputs) == ["L0", "L2"]
    )
    assert (recording.attentions, recording.feed_forwards) == ({}, {})
    with session(record=True, residual=True) as recording:
        logits(model, IDS)
    assert list(recording.attentions) == [0, 1, 2]
    assert list(recording.feed_forwards) == [1]  # L0 and L2 are sites and stand in ``outputs``


def test_what_was_written_adds_up_to_what_the_final_norm_saw(model: MemoryModel) -> None:
    with session(record=True, residual=True) as recording:
        found = logits(model, IDS)
    written = [
        *recording.attentions.values(),
        *recording.feed_forwards.values(),
        *recording.outputs.values(),
    ]
    assert len(written) == 6
    assert recording.embedding is not None
    assert recording.residual is not None
    total = recording.embedding + torch.stack(written).sum(0)
    torch.testing.assert_close(recording.residual, total, atol=1e-5, rtol=1e-5)
    backbone = model.backbone
    assert torch.equal(recording.embedding, backbone.embedding(IDS))
    with torch.inference_mode():
        assert torch.equal(backbone.head(backbone.final_norm(recording.residual)), found)


def test_a_later_pass_overwrites_an_earlier_one(model: MemoryModel) -> None:
    with session(record=True) as alone:
        logits(model, IDS[1:])
    with session(record=True) as recording:
        logits(model, IDS)
        logits(model, IDS[1:])
    assert torch.equal(recording.reads["L2"].slots, alone.reads["L2"].slots)
    assert torch.equal(recording.inputs["L2"], alone.inputs["L2"])


def test_a_recording_is_detached_but_the_pass_is_not(model: MemoryModel) -> None:
    embedded = model.backbone.embedding(IDS).detach().requires_grad_()
    with session([halve], record=True, residual=True) as recording:
        output = model.module(inputs_embeds=embedded, use_cache=False).logits
    assert output.requires_grad
    recorded = [recording.residual, *recording.inputs.values(), *recording.outputs.values()]
    recorded += [r.coefficients for r in recording.reads.values()]
    assert not any(part.requires_grad for part in recorded if part is not None)
    output.sum().backward()
    assert embedded.grad is not None
    assert embedded.grad.any()


# --- edits --------------------------------------------------------------------------------------


def test_edits_are_applied_in_the_order_given(model: MemoryModel) -> None:
    with session(record=True) as untouched:
        logits(model, IDS)
    weights = untouched.reads["L0"].weights  # nothing before L0 changes what it reads
    for edits, expected in (
        ([halve, shift], weights * 0.5 + 1),
        ([shift, halve], (weights + 1) * 0.5),
    ):
        with session(edits, record=True) as recording:
            logits(model, IDS)
        torch.testing.assert_close(recording.reads["L0"].coefficients, expected)
        assert torch.equal(recording.reads["L0"].weights, weights)


def test_an_edit_sees_its_site_and_its_half_scores(model: MemoryModel) -> None:
    seen = []

    def watch(made_from: LookupInput, reads: SiteReads) -> SiteReads:
        seen.append(
            (
                made_from.site,
                made_from.half_scores.shape,
                torch.equal(reads.coefficients, reads.weights),
            )
        )
        return reads

    with session([watch]):
        logits(model, IDS)
    shape = (2, 5, 2, 2, 8)
    assert seen == [(model.sites["L0"], shape, True), (model.sites["L2"], shape, True)]


def test_an_edit_that_changes_nothing_changes_no_logit(model: MemoryModel, plain: Tensor) -> None:
    with session([lambda made_from, reads: reads]):
        assert torch.equal(logits(model, IDS), plain)


def test_edits_act_without_a_recording(model: MemoryModel) -> None:
    with session([shift], record=True):
        recorded = logits(model, IDS)
    with session([shift]):
        assert torch.equal(logits(model, IDS), recorded)


# --- coming and going ---------------------------------------------------------------------------


def test_an_inner_session_stands_for_the_outer_one_and_then_gives_way(
    model: MemoryModel, plain: Tensor
) -> None:
    with session([ZeroPositions()]):
        zeroed = logits(model, IDS)
    with session([ZeroPositions()], record=True) as outer:
        with session(record=True) as inner:
            assert torch.equal(logits(model, IDS), plain)
        assert outer.reads == {}
        assert inner.reads["L0"].coefficients.any()
        assert torch.equal(logits(model, IDS), zeroed)
    assert not outer.reads["L0"].coefficients.any()
    assert torch.equal(logits(model, IDS), plain)


@pytest.mark.parametrize("nested", [False, True])
def test_a_session_ends_with_the_exception_that_leaves_it(
    model: MemoryModel, plain: Tensor, nested: bool
) -> None:
    def leave() -> None:
        with session([ZeroPositions()]):
            if nested:
                with session([halve]):
                    raise KeyboardInterrupt
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert torch.equal(logits(model, IDS), plain)


def test_an_edit_that_fails_leaves_the_model_as_it_was(model: MemoryModel, plain: Tensor) -> None:
    with pytest.raises(RuntimeError, match="this edit fails"), session([fail], record=True):
        logits(model, IDS)
    assert torch.equal(logits(model, IDS), plain)


def test_other_threads_do_not_see_a_session(model: MemoryModel, plain: Tensor) -> None:
    found: list[Tensor] = []
    with session([ZeroPositions()], record=True) as recording:
        thread = threading.Thread(target=lambda: found.append(logits(model, IDS)))
        thread.start()
        thread.join()
        assert recording.reads == {}
        assert not torch.equal(logits(model, IDS), plain)
    assert torch.equal(found[0], plain)
