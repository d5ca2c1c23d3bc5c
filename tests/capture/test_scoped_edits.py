"""Scopes of masks and factors; ``test_edit_list`` holds what they do to a site's reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from inspector.capture.load import load
from inspector.capture.scoped_edits import MaskWithin, ScaleWithin, Scope
from inspector.capture.session import logits, session
from inspector.capture.trace import trace
from inspector.families.base import MemoryModel

IDS = torch.tensor([[0, 41, 7, 299, 5], [0, 3, 260, 270, 8]])


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(memory_tables=[0, 1]), device="cpu")


def test_a_scope_keeps_to_its_table(model: MemoryModel) -> None:
    l0, l2 = model.sites["L0"], model.sites["L2"]
    assert Scope(0).covers(l0)
    assert not Scope(0).covers(l2)
    assert Scope(1).covers(l2)
    assert not Scope(1, ("L0",)).covers(l0)
    plain = trace(model, ids=IDS).reads
    edited = trace(model, ids=IDS, edits=[ScaleWithin(Scope(1), torch.arange(64), 0.0)]).reads
    assert torch.equal(edited["L0"].coefficients, plain["L0"].coefficients)
    assert not edited["L2"].coefficients.any()


def test_narrow_leaves_the_rest_as_it_was(model: MemoryModel) -> None:
    full = torch.arange(24).view(1, 3, 2, 4) + 1
    assert torch.equal(Scope().narrow(full, -1), full)
    one = Scope(head=1, position=2).narrow(full, -1)
    assert torch.equal(one[0, 2, 1], full[0, 2, 1])
    assert (one == -1).sum() == 20
    assert (Scope(position=9).narrow(full, -1) == -1).all()  # a shorter text has no position 9


def test_masks_of_different_scopes_are_one_lookup(model: MemoryModel) -> None:
    plain = trace(model, ids=IDS).reads["L0"].slots
    first, second = plain[0, 1, 0, :2], plain[0, 4, 1, :3]
    mask = MaskWithin([(Scope(head=0, position=1), first), (Scope(head=1, position=4), second)])
    edited = trace(model, ids=IDS, edits=[mask]).reads["L0"].slots
    assert not torch.isin(edited[0, 1, 0], first).any()
    assert not torch.isin(edited[0, 4, 1], second).any()
    same = edited == plain
    same[:, 1, 0] = same[:, 4, 1] = True
    assert same.all()


def test_without_a_mask_here_nothing_is_looked_up_anew(model: MemoryModel) -> None:
    plain = logits(model, IDS)
    elsewhere = MaskWithin([(Scope(1, ("L0",)), torch.arange(3))])
    with session([elsewhere]):
        assert torch.equal(logits(model, IDS), plain)
