"""Patches: made of edits, held against their base, as records and in sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from inspector.analyses.edit_list import SlotEdit, as_edits
from inspector.analyses.patches import TablePatch, check_base, make_patch, patch_of_list
from inspector.capture.load import load
from inspector.capture.lookup_edits import Edit
from inspector.capture.session import logits, session
from inspector.capture.value_edits import NewValues
from inspector.errors import PatchError, SlotError
from inspector.families.base import MemoryModel

IDS = torch.tensor([[0, 41, 7, 299, 5]])
EVERY = tuple(range(64))


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(memory_tables=[0, 1], memory_projection="swiglu"), device="cpu")


def rows(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 32, generator=torch.Generator().manual_seed(seed))


def under(model: MemoryModel, *edits: Edit) -> torch.Tensor:
    with session(edits):
        return logits(model, IDS)


def test_a_patch_holds_what_changes_and_what_was_there(model: MemoryModel) -> None:
    slots = torch.tensor([9, 3, 40])
    values = rows(3)
    values[1] = model.tables[1].rows(torch.tensor(3))
    patch = make_patch(model, [NewValues(1, slots, values)], "what", "why", {"efficacy": 1.0})
    [part] = patch.tables
    assert (part.table, part.slots.tolist(), len(patch)) == (1, [9, 40], 2)
    assert torch.equal(part.values, values[[0, 2]])
    assert torch.equal(part.old, model.tables[1].rows(part.slots))
    assert (patch.fingerprint, patch.checkpoint) == (model.fingerprint, model.name)
    told = patch.to_json()
    assert told["slots"] == {"1": [9, 40]}
    assert told["figures"] == {"efficacy": 1.0}
    assert patch.to_frame().slot.tolist() == [9, 40]


def test_it_does_what_its_edits_do(model: MemoryModel) -> None:
    edits = [NewValues(t, torch.tensor(EVERY), rows(64, t)) for t in (0, 1)]
    patch = make_patch(model, edits, "all")
    expected = under(model, *edits)
    assert torch.equal(under(model, *patch.new_values()), expected)
    assert torch.equal(under(model, *as_edits(model, patch.slot_edits())), expected)


def test_of_a_list_zeroed_and_scaled_slots_become_values(model: MemoryModel) -> None:
    edits = [
        SlotEdit("zero", EVERY[:20]),
        SlotEdit("scale", EVERY[20:40], factor=-1.5),
        SlotEdit("swap", (41, 42)),
        SlotEdit("replace", (43,), values=(tuple(rows(1)[0].tolist()),)),
        SlotEdit("scale", (41,), factor=2.0),
        SlotEdit("mask", (1,), on=False),
    ]
    patch = patch_of_list(model, edits, "all kinds")
    expected = under(model, *as_edits(model, edits))
    torch.testing.assert_close(under(model, *patch.new_values()), expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(logits(model, IDS), expected, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize(
    "kinds",
    [
        *(("zero", "replace"), ("replace", "zero"), ("zero", "swap"), ("scale", "swap", "scale")),
        ("replace", "scale", "swap", "zero"),
    ],
)
def test_a_patch_of_a_list_does_what_the_list_does_in_any_order(
    model: MemoryModel, kinds: tuple[str, ...]
) -> None:
    made = {
        "zero": SlotEdit("zero", EVERY[:20]),
        "scale": SlotEdit("scale", EVERY[10:40], factor=-1.5),
        "swap": SlotEdit("swap", (5, 45)),
        "replace": SlotEdit("replace", EVERY[:30], values=((0.5,) * 32,) * 30),
    }
    edits = [made[kind] for kind in kinds]
    expected = under(model, *as_edits(model, edits))
    patch = patch_of_list(model, edits, "all")
    torch.testing.assert_close(under(model, *patch.new_values()), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "edit",
    [
        SlotEdit("mask", (1,)),
        SlotEdit("zero", (1,), sites=("L0",)),
        SlotEdit("scale", (1,), head=0, factor=2.0),
        SlotEdit("zero", (1,), position=3),
    ],
)
def test_what_values_cannot_tell_is_refused(model: MemoryModel, edit: SlotEdit) -> None:
    with pytest.raises(PatchError, match=rf"the {edit.kind} of slots \[1\] is none"):
        patch_of_list(model, [edit], "what")


def test_nothing_makes_no_patch(model: MemoryModel) -> None:
    same = NewValues(0, torch.tensor([3]), model.tables[0].rows(torch.tensor([3])))
    for edits in ([], [same]):
        with pytest.raises(PatchError, match="no value changes"):
            make_patch(model, edits, "what")


def test_slots_that_are_not_there_are_refused(model: MemoryModel) -> None:
    with pytest.raises(SlotError, match="0 to 63"):
        make_patch(model, [NewValues(0, torch.tensor([64]), rows(1))], "what")
    with pytest.raises(SlotError, match="0 to 63"):
        patch_of_list(model, [SlotEdit("swap", (3, 64))], "what")


def test_a_patch_fits_its_base_alone(
    model: MemoryModel, tiny_checkpoint: Callable[..., Path]
) -> None:
    patch = make_patch(model, [NewValues(0, torch.tensor([3, 5]), rows(2))], "what")
    check_base(model, patch)
    other = load(tiny_checkpoint(seed=8, memory_tables=[0, 1], memory_projection="swiglu"), "cpu")
    with pytest.raises(PatchError, match=rf"fingerprint {model.fingerprint[:12]}.*Open the"):
        check_base(other, patch)
    forged = replace(patch, fingerprint=other.fingerprint)
    with pytest.raises(PatchError, match="the first at slot 3 of table 0"):
        check_base(other, forged)
    beyond = TablePatch(0, torch.tensor([64]), rows(1), rows(1))
    with pytest.raises(SlotError, match="0 to 63"):
        check_base(model, replace(patch, tables=(beyond,)))


def test_half_precision_is_kept(tiny_checkpoint: Callable[..., Path]) -> None:
    model = load(tiny_checkpoint(dtype=torch.bfloat16), "cpu")
    patch = make_patch(model, [NewValues(0, torch.tensor([3]), rows(1))], "what")
    assert patch.tables[0].values.dtype == torch.bfloat16
    assert torch.equal(patch.tables[0].values, rows(1).bfloat16())


def test_parts_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="ascend"):
        TablePatch(0, torch.tensor([5, 3]), rows(2), rows(2))
    with pytest.raises(ValueError, match="disagree"):
        TablePatch(0, torch.tensor([3]), rows(1), rows(2))
