"""``with inspector.edit(model, ...)``: what runs in the block is edited, and nothing else is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import inspector
from inspector.analyses.edit_list import SlotEdit, as_edits
from inspector.capture.cache import cache_folder
from inspector.capture.load import load
from inspector.capture.session import logits, session
from inspector.errors import EditError
from inspector.families.base import MemoryModel

TEXT = "Lima is the capital of"


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(memory_projection="swiglu"), device="cpu")


@pytest.fixture(scope="module")
def slots(model: MemoryModel) -> list[int]:
    found: list[int] = inspector.trace(model, TEXT).reads["L0"].slots[0, -1, 0].tolist()
    return found


def expected(model: MemoryModel, *edits: SlotEdit) -> Tensor:
    return inspector.trace(model, TEXT, edits=as_edits(model, edits)).logits


def test_each_argument_is_one_kind_of_edit(model: MemoryModel, slots: list[int]) -> None:
    value = torch.linspace(-1, 1, 32)
    arguments: dict[str, object] = {
        "zero": slots[:1],
        "mask": slots[1:2],
        "scale": {slots[2]: 2.0},
        "replace": {slots[3]: value},
        "swap": [(slots[0], 63)],
    }
    records = (
        SlotEdit("zero", (slots[0],)),
        SlotEdit("mask", (slots[1],)),
        SlotEdit("scale", (slots[2],), factor=2.0),
        SlotEdit("replace", (slots[3],), values=(tuple(value.double().tolist()),)),
        SlotEdit("swap", (slots[0], 63)),
    )
    for (name, argument), record in zip(arguments.items(), records, strict=True):
        with inspector.edit(model, **{name: argument}) as listed:  # type: ignore[arg-type]
            assert listed == (record,)
            found = inspector.trace(model, TEXT).logits
        assert torch.equal(found, expected(model, record))
    with inspector.edit(model, edits=records):
        found = inspector.trace(model, TEXT).logits
    assert torch.equal(found, expected(model, *records))


def test_scopes_limit_zero_mask_and_scale(model: MemoryModel, slots: list[int]) -> None:
    narrow = SlotEdit("zero", tuple(slots), sites=("L2",), head=1, position=2)
    with inspector.edit(model, zero=slots, sites=["L2"], head=1, position=2) as listed:
        assert listed == (narrow,)


def test_blocks_add_up_and_end(model: MemoryModel, slots: list[int]) -> None:
    first, second = SlotEdit("zero", (slots[0],)), SlotEdit("zero", (slots[1],))
    plain = inspector.trace(model, TEXT).logits
    with inspector.edit(model, edits=[first]):
        with inspector.edit(model, edits=[second]):
            inner = inspector.trace(model, TEXT).logits
        outer = inspector.trace(model, TEXT).logits
    assert torch.equal(inner, expected(model, first, second))
    assert torch.equal(outer, expected(model, first))
    assert torch.equal(inspector.trace(model, TEXT).logits, plain)
    with pytest.raises(ZeroDivisionError), inspector.edit(model, edits=[first]):
        1 / 0  # noqa: B018
    assert torch.equal(inspector.trace(model, TEXT).logits, plain)


def test_another_thread_sees_the_model_as_it_is(model: MemoryModel, slots: list[int]) -> None:
    plain, found = inspector.trace(model, TEXT).logits, []
    with inspector.edit(model, mask=slots):
        ids = inspector.trace(model, TEXT).ids
        other = threading.Thread(target=lambda: found.append(logits(model, ids)))
        other.start()
        other.join()
    assert torch.equal(found[0], plain)


def test_values_are_decoded_as_edited(model: MemoryModel, slots: list[int]) -> None:
    with inspector.edit(model, swap=[(slots[0], slots[1])]):
        swapped = inspector.decode(model, slots[:2]).promoted
    assert (swapped == inspector.decode(model, slots[1::-1]).promoted).all()


def test_what_is_scanned_in_a_block_is_not_kept(
    model: MemoryModel, slots: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "cache"))
    texts = [TEXT, "Kenya speaks Swahili."]
    with inspector.edit(model, mask=slots):
        edited = inspector.scan(model, texts)
    assert not list(cache_folder().rglob("*"))
    plain = inspector.scan(model, texts)
    for name in model.sites:
        assert not edited.sites[name].reads[:, slots].any()
    assert plain.sites["L0"].reads[:, slots].any()


def test_a_pass_in_a_session_of_its_own_is_edited_too(model: MemoryModel, slots: list[int]) -> None:
    ids = inspector.trace(model, TEXT).ids
    with inspector.edit(model, zero=slots), session(record=True) as recording:
        logits(model, ids)
    hit = torch.isin(recording.reads["L0"].slots, torch.tensor(slots))
    assert hit.any()
    assert not recording.reads["L0"].coefficients[hit].any()


def test_what_cannot_be_edited_is_said(model: MemoryModel) -> None:
    with (
        pytest.raises(EditError, match="L1 does not read"),
        inspector.edit(model, zero=[1], sites=["L1"]),
    ):
        pass
