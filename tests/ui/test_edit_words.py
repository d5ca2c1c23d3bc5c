"""How edits are called in the list."""

from pathlib import Path

import pytest

from inspector.analyses.edit_list import SlotEdit
from inspector.ui.edit_words import counted, place, title
from tests.analyses.planted_facts import planted_model


@pytest.mark.parametrize(
    ("edit", "called"),
    [
        (SlotEdit("zero", (5,)), "zero slot 5"),
        (SlotEdit("mask", (5, 6)), "mask 2 slots"),
        (SlotEdit("scale", (5,), factor=0.5), "scale ×0.5 slot 5"),
        (SlotEdit("swap", (5, 6)), "swap 2 slots"),
    ],
)
def test_kind_and_slots(edit: SlotEdit, called: str) -> None:
    assert title(edit) == called


def test_every_site_it_changes(tmp_path: Path) -> None:
    model = planted_model(tmp_path / "planted")
    assert place(SlotEdit("zero", (5,)), model) == "L0"
    assert place(SlotEdit("zero", (5,), head=1, position=3), model) == "L0 · H1 · position 3"
    assert place(SlotEdit("zero", (5,), table=7), model) == "table 7"


def test_numbers_and_their_nouns() -> None:
    assert [counted(n, "slot") for n in (0, 1, 1200)] == ["0 slots", "1 slot", "1,200 slots"]
