"""Stacking patches, and refusing those that disagree."""

from __future__ import annotations

import pytest
import torch

from inspector.analyses.patch_conflicts import find_conflicts, stack_patches
from inspector.analyses.patches import Patch, TablePatch
from inspector.errors import PatchError


def patch(what: str, values: dict[int, float], table: int = 0, base: str = "a" * 64) -> Patch:
    slots = torch.tensor(sorted(values))
    rows = torch.tensor([[values[slot]] * 2 for slot in sorted(values)])
    part = TablePatch(table, slots, rows, torch.zeros_like(rows))
    return Patch(what, f"why {what}", "2026-01-01T00:00:00+00:00", base, "tiny", (part,))


FIRST = patch("first", {1: 1.0, 2: 2.0, 7: 7.0})
SECOND = patch("second", {2: 2.0, 7: 70.0, 9: 9.0})
THIRD = patch("third", {4: 4.0}, table=1)


def test_a_conflict_is_a_slot_with_two_values() -> None:
    [found] = find_conflicts([FIRST, THIRD, SECOND])
    assert (found.first, found.second, found.table, found.slots) == (0, 2, 0, (7,))
    assert found.to_frame().slot.tolist() == [7]
    assert find_conflicts([FIRST, THIRD]) == ()
    assert find_conflicts([FIRST, patch("same slots, other table", {7: 70.0}, table=1)]) == ()


def test_a_conflict_is_another_base() -> None:
    [found] = find_conflicts([FIRST, patch("other", {99: 1.0}, base="b" * 64)])
    assert (found.table, found.slots) == (None, ())
    with pytest.raises(PatchError, match="aaaaaaaaaaaa and 'other' for bbbbbbbbbbbb"):
        stack_patches([FIRST, patch("other", {99: 1.0}, base="b" * 64)], later_wins=True)


def test_patches_that_agree_stack() -> None:
    stacked = stack_patches([FIRST, THIRD, patch("fourth", {2: 2.0, 3: 3.0})])
    assert [part.table for part in stacked.tables] == [0, 1]
    assert stacked.tables[0].slots.tolist() == [1, 2, 3, 7]
    assert stacked.tables[0].values[:, 0].tolist() == [1, 2, 3, 7]
    assert (stacked.what, len(stacked)) == ("first; third; fourth", 5)
    assert [each["what"] for each in stacked.figures["stacked"]] == ["first", "third", "fourth"]
    assert stack_patches([FIRST]) is FIRST


def test_patches_that_disagree_are_refused_unless_the_later_wins() -> None:
    said = "'first' and 'second' both change 1 slots of table 0, to different values: 7. Leave"
    with pytest.raises(PatchError, match=said):
        stack_patches([FIRST, SECOND])
    stacked = stack_patches([FIRST, SECOND], later_wins=True).tables[0]
    assert dict(zip(stacked.slots.tolist(), stacked.values[:, 0].tolist(), strict=True)) == {
        1: 1,
        2: 2,
        7: 70,
        9: 9,
    }
    back = stack_patches([SECOND, FIRST], later_wins=True).tables[0]
    assert back.values[back.slots == 7, 0].tolist() == [7]


def test_no_patches_are_refused() -> None:
    with pytest.raises(PatchError, match="no patches"):
        stack_patches([])
