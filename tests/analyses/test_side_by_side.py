"""Original and edited, side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from inspector.analyses.edit_list import SlotEdit, as_edits
from inspector.analyses.side_by_side import continue_both, trace_both
from inspector.capture.generate import continue_greedily
from inspector.capture.load import load
from inspector.capture.session import session
from inspector.capture.trace import encode, trace
from inspector.families.base import MemoryModel

TEXT = "Lima is the capital of"


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")


def test_both_traces_and_how_far_they_are_apart(model: MemoryModel) -> None:
    edits = as_edits(model, [SlotEdit("scale", tuple(range(64)), factor=3.0, position=2)])
    both = trace_both(model, TEXT, edits)
    assert torch.equal(both.original.logits, trace(model, TEXT).logits)
    assert torch.equal(both.edited.logits, trace(model, TEXT, edits=edits).logits)
    first, second = (t.logits[0].double().log_softmax(-1) for t in (both.original, both.edited))
    kl = (first.exp() * (first - second)).sum(-1)
    assert both.kl == pytest.approx(kl.numpy(), abs=1e-5)
    assert (both.kl[:2] == 0).all()  # the model is causal, and position 2 is the first edited
    assert both.kl[2] > 0
    following = int(both.original.ids[0, 3])
    assert both.before[2] == pytest.approx(float(first[2, following].exp()), rel=1e-4)
    assert both.after[2] == pytest.approx(float(second[2, following].exp()), rel=1e-4)
    assert math.isnan(both.before[-1])
    frame = both.to_frame()
    assert frame.token.tolist() == list(both.original.tokens)
    assert (frame.changed == (frame.original != frame.edited)).all()
    assert both.to_json()["edited"] == both.edited.to_json()


def test_edits_at_a_position_hold_there_while_it_writes_on(model: MemoryModel) -> None:
    ids = encode(model, TEXT)
    edits = as_edits(model, [SlotEdit("zero", tuple(range(64)), position=ids.shape[1] + 1)])
    written = continue_greedily(model, ids, 6, edits)
    for length in range(ids.shape[1], written.shape[1]):  # token by token, from whole passes
        with session(edits), torch.inference_mode():
            best = model.module(input_ids=written[:, :length]).logits[0, -1].argmax()
        assert int(best) == int(written[0, length])
    plain = continue_greedily(model, ids, 6)
    assert torch.equal(written[0, : ids.shape[1] + 2], plain[0, : ids.shape[1] + 2])


def test_continuations_with_and_without(model: MemoryModel) -> None:
    edits = as_edits(model, [SlotEdit("zero", tuple(range(64)))])
    both = continue_both(model, TEXT, edits, 5)
    ids = encode(model, TEXT)
    for text, each in ((both.original, ()), (both.edited, edits)):
        written = continue_greedily(model, ids, 5, each)
        assert text == model.tokenizer.decode(written[0, ids.shape[1] :])
    assert both.original != both.edited
    assert both.to_frame().prompt.tolist() == [TEXT]
