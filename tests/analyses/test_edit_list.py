"""Lists of edits: what they make act, where, in which order, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from inspector.analyses.edit_list import SlotEdit, as_edits, edits_frame
from inspector.capture.edits import MaskSlots, ZeroSlots
from inspector.capture.load import load
from inspector.capture.lookup_edits import Edit
from inspector.capture.session import logits, session
from inspector.capture.trace import trace
from inspector.capture.value_edits import NewValues
from inspector.errors import EditError, SlotError
from inspector.families.base import MemoryModel

IDS = torch.tensor([[0, 41, 7, 299, 5]])


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(memory_projection="swiglu"), device="cpu")


@pytest.fixture(scope="module")
def slots(model: MemoryModel) -> tuple[int, ...]:
    """Slots that head 0 of L0 reads at the last position."""
    return tuple(trace(model, ids=IDS).reads["L0"].slots[0, -1, 0].tolist())


def under(model: MemoryModel, *edits: SlotEdit) -> Tensor:
    return with_edits(model, *as_edits(model, edits))


def with_edits(model: MemoryModel, *edits: Edit) -> Tensor:
    with session(edits):
        return logits(model, IDS)


def test_zero_and_mask_of_a_table_are_those_of_all_its_sites(
    model: MemoryModel, slots: tuple[int, ...]
) -> None:
    index = torch.tensor(slots)
    zeroed, masked = (SlotEdit(kind, slots) for kind in ("zero", "mask"))
    assert torch.equal(under(model, zeroed), with_edits(model, ZeroSlots(index)))
    assert torch.equal(under(model, masked), with_edits(model, MaskSlots(index)))
    assert zeroed.sites_changed(model) == ("L0", "L2")


@pytest.mark.parametrize("kind", ["zero", "mask", "scale"])
def test_a_scope_limits_where_it_acts(
    model: MemoryModel, slots: tuple[int, ...], kind: str
) -> None:
    factor = 0.25 if kind == "scale" else None
    narrow = SlotEdit(kind, slots, sites=("L0",), head=0, position=4, factor=factor)  # type: ignore[arg-type]
    plain = trace(model, ids=IDS).reads["L0"]
    edited = trace(model, ids=IDS, edits=as_edits(model, [narrow])).reads["L0"]
    for part in ("slots", "scores", "weights", "coefficients"):
        before, after = getattr(plain, part).clone(), getattr(edited, part).clone()
        changed = part == "coefficients" or kind == "mask"
        assert torch.equal(before[0, 4, 0], after[0, 4, 0]) is not changed
        before[0, 4, 0] = after[0, 4, 0] = 0
        assert torch.equal(before, after)
    here = edited.coefficients[0, 4, 0]
    if kind == "mask":
        assert not set(edited.slots[0, 4, 0].tolist()) & set(slots)
    else:
        expected = plain.coefficients[0, 4, 0] * (factor or 0.0)
        assert torch.equal(here, expected)


def test_masks_act_together_and_before_all_else(model: MemoryModel, slots: tuple[int, ...]) -> None:
    both = under(model, SlotEdit("mask", slots[:2]), SlotEdit("mask", slots[2:]))
    torch.testing.assert_close(both, under(model, SlotEdit("mask", slots)))
    scaled = SlotEdit("scale", tuple(range(64)), factor=0.5)
    orders = ((scaled, SlotEdit("mask", slots)), (SlotEdit("mask", slots), scaled))
    first, second = (under(model, *order) for order in orders)
    assert torch.equal(first, second)
    assert not torch.allclose(first, under(model, SlotEdit("mask", slots)))


def test_factors_multiply(model: MemoryModel, slots: tuple[int, ...]) -> None:
    twice = (SlotEdit("scale", slots, factor=0.5), SlotEdit("scale", slots, factor=0.5))
    once = SlotEdit("scale", slots, factor=0.25)
    torch.testing.assert_close(under(model, *twice), under(model, once))


def test_replace_holds_new_values_at_every_site(model: MemoryModel, slots: tuple[int, ...]) -> None:
    rows = torch.randn(len(slots), 32, generator=torch.Generator().manual_seed(1))
    edit = SlotEdit("replace", slots, values=tuple(map(tuple, rows.tolist())))
    expected = with_edits(model, NewValues(0, torch.tensor(slots), rows))
    assert torch.equal(under(model, edit), expected)


def test_swaps_exchange_values_and_two_of_them_undo_each_other(
    model: MemoryModel, slots: tuple[int, ...]
) -> None:
    pair = torch.tensor(slots[:2])
    rows = model.tables[0].rows(pair).flip(0)
    swap = SlotEdit("swap", slots[:2])
    assert torch.equal(under(model, swap), with_edits(model, NewValues(0, pair, rows)))
    torch.testing.assert_close(under(model, swap, swap), logits(model, IDS))


def test_what_is_off_does_nothing(model: MemoryModel, slots: tuple[int, ...]) -> None:
    assert as_edits(model, [SlotEdit("mask", slots, on=False)]) == ()
    assert as_edits(model, []) == ()


def test_new_values_are_rounded_to_what_the_table_stores(
    tiny_checkpoint: Callable[..., Path],
) -> None:
    model = load(tiny_checkpoint(dtype=torch.bfloat16), "cpu")
    [made] = as_edits(model, [SlotEdit("replace", (3,), values=((0.1,) * 32,))])
    assert isinstance(made, NewValues)
    assert made.values.dtype == torch.bfloat16


def test_a_frame_lists_every_site(model: MemoryModel) -> None:
    frame = edits_frame([SlotEdit("swap", (1, 2)), SlotEdit("zero", (1,), sites=("L2",))], model)
    assert frame.sites.tolist() == [["L0", "L2"], ["L2"]]
    assert frame.slots.tolist() == [[1, 2], [1]]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "erase", "slots": (1,)}, "'erase', expected one of zero, mask"),
        ({"kind": "zero", "slots": ()}, "names slots"),
        ({"kind": "zero", "slots": (1, 1)}, "each once"),
        ({"kind": "zero", "slots": (-1,)}, "from 0 on"),
        ({"kind": "swap", "slots": (1, 2, 3)}, "takes two slots; found 3"),
        ({"kind": "swap", "slots": (1, 2), "head": 0}, "leave out site, head"),
        ({"kind": "scale", "slots": (1,)}, "A factor belongs"),
        ({"kind": "zero", "slots": (1,), "factor": 0.5}, "A factor belongs"),
        ({"kind": "replace", "slots": (1,)}, "New values belong"),
        ({"kind": "replace", "slots": (1, 2), "values": ((0.0,),)}, "1 new values for 2"),
    ],
)
def test_records_that_are_no_edit_are_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(EditError, match=said):
        SlotEdit(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("edit", "error", "said"),
    [
        (SlotEdit("zero", (64,)), SlotError, "Slots of table 0 are 0 to 63"),
        (SlotEdit("zero", (1,), table=2), SlotError, "no value table 2"),
        (SlotEdit("zero", (1,), sites=("L1",)), EditError, "L1 does not read value table 0"),
        (SlotEdit("zero", (1,), head=2), EditError, "no head 2: heads are 0 to 1"),
        (SlotEdit("zero", (1,), position=64), EditError, "no position 64"),
        (SlotEdit("replace", (1,), values=((0.0,),)), SlotError, "have 32 numbers; found 1"),
    ],
)
def test_edits_that_the_model_has_no_place_for_are_refused(
    model: MemoryModel, edit: SlotEdit, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        as_edits(model, [edit])
