"""What is typed into the boxes of an edit becomes that edit, or a sentence."""

from pathlib import Path

import pytest

from inspector.errors import EditError, SlotError
from inspector.families.base import MemoryModel
from inspector.ui.edit_form import EditAsked, make_edits, slots_of
from tests.analyses.planted_facts import planted_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MemoryModel:
    folder: Path = tmp_path_factory.mktemp("form") / "planted"
    return planted_model(folder)


def test_numbers_and_addresses_name_slots_once_in_their_order(model: MemoryModel) -> None:
    n = model.site("L0").info.half_keys
    typed = f"9, (1, 2) L0·H1·(0,3);9 {n + 2}"
    assert slots_of(model, typed) == (0, (9, n + 2, 3))


@pytest.mark.parametrize("typed", ["", "  ,; "])
def test_no_slots_are_told(model: MemoryModel, typed: str) -> None:
    with pytest.raises(EditError, match="No slots are named"):
        slots_of(model, typed)


def test_what_is_no_address_is_told(model: MemoryModel) -> None:
    with pytest.raises(SlotError, match="no address"):
        slots_of(model, "5 <b>")


def test_an_edit_holds_what_was_asked_for(model: MemoryModel) -> None:
    (edit,) = make_edits(model, EditAsked("scale", "5 6", ("L0",), 2, 0.25))
    assert (edit.kind, edit.slots, edit.sites, edit.head, edit.factor) == (
        "scale",
        (5, 6),
        ("L0",),
        2,
        0.25,
    )


def test_a_value_is_that_of_another_slot_or_typed(model: MemoryModel) -> None:
    (edit,) = make_edits(model, EditAsked("replace", "5 6", source="7"))
    row = tuple(model.tables[0].weight[7].double().tolist())
    assert edit.values == (row, row)
    width = model.tables[0].d_value
    numbers = "[" + ", ".join(["1.5"] * width) + "]"
    (typed,) = make_edits(model, EditAsked("replace", "5", numbers=numbers))
    assert typed.values == ((1.5,) * width,)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (EditAsked("replace", "5"), "Fill in one of them"),
        (EditAsked("replace", "5", source="7", numbers="1"), "Fill in one of them"),
        (EditAsked("replace", "5", source="7 8"), "one slot"),
        (EditAsked("replace", "5", numbers="1 x"), "no number"),
        (EditAsked("replace", "5", numbers="1 2"), "have 32 numbers"),
        (EditAsked("replace", "5", ("L0",), numbers="1"), "acts on the table"),
        (EditAsked("zero", "5", head=9), "no head 9"),
    ],
)
def test_what_makes_no_sense_is_told(model: MemoryModel, asked: EditAsked, said: str) -> None:
    with pytest.raises((EditError, SlotError), match=said):
        make_edits(model, asked)
