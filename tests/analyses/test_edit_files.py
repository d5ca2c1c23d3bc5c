"""Lists of edits as JSON and in a URL; undo and redo."""

from __future__ import annotations

import base64
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as some

from inspector.analyses.edit_files import (
    URL_LIMIT,
    EditHistory,
    edits_from_json,
    edits_from_text,
    edits_from_url,
    edits_to_json,
    edits_to_text,
    edits_to_url,
)
from inspector.analyses.edit_list import SlotEdit
from inspector.errors import EditError

SLOTS = some.lists(some.integers(0, 10**6), min_size=1, max_size=5, unique=True).map(tuple)
NARROW = {
    "sites": some.sampled_from([(), ("L1",), ("L1", "L3")]),
    "head": some.none() | some.integers(0, 8),
    "position": some.none() | some.integers(0, 99),
}
ANY = {"table": some.integers(0, 3), "on": some.booleans(), "note": some.text(max_size=20)}
EDITS = some.one_of(
    some.builds(SlotEdit, some.sampled_from(["zero", "mask"]), SLOTS, **NARROW, **ANY),
    some.builds(SlotEdit, some.just("scale"), SLOTS, factor=some.floats(-9, 9), **NARROW, **ANY),
    some.builds(SlotEdit, some.just("swap"), some.just((3, 17)), **ANY),
    some.builds(
        SlotEdit,
        some.just("replace"),
        some.just((3, 17)),
        values=some.just(((0.1, -2.5), (1e-7, 3.0))),
        **ANY,
    ),
)
LISTS = some.lists(EDITS, max_size=4).map(tuple)
MASK = SlotEdit("mask", (1, 2))
ZERO = SlotEdit("zero", (3,), sites=("L1",), note="why")


@given(LISTS)
def test_a_list_comes_back_from_text_and_from_a_url(edits: tuple[SlotEdit, ...]) -> None:
    assert edits_from_text(edits_to_text(edits)) == edits
    assert edits_from_json(json.loads(json.dumps(edits_to_json(edits, "abc")))) == edits
    url = edits_to_url(edits)
    assert url is not None
    assert set(url) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert edits_from_url(url) == edits


def test_json_leaves_out_what_is_as_always() -> None:
    assert MASK.to_json() == {"kind": "mask", "slots": (1, 2)}
    assert ZERO.to_json() == {"kind": "zero", "slots": (3,), "sites": ("L1",), "note": "why"}


def test_what_is_too_long_for_a_url_has_none() -> None:
    rows = tuple(tuple(float(hash((i, j)) % 9973) / 7 for j in range(128)) for i in range(64))
    assert edits_to_url([SlotEdit("replace", tuple(range(64)), values=rows)]) is None


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_url_that_was_cut_short_is_refused(cut: int) -> None:
    url = edits_to_url([MASK, ZERO])
    assert url is not None
    with pytest.raises(EditError, match="cannot be read"):
        edits_from_url(url[:-cut])


@pytest.mark.parametrize("text", ["x", "%%%", "äöü", "A" * (URL_LIMIT + 1), "AAAA"])
def test_a_url_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(EditError, match="cannot be read"):
        edits_from_url(text)


def test_a_url_that_would_unpack_to_gigabytes_is_refused() -> None:
    import base64
    import zlib

    packed = zlib.compress(b"[" + b" " * 2**27, 9)
    bomb = base64.urlsafe_b64encode(packed).decode().rstrip("=")
    with pytest.raises(EditError, match="cannot be read"):
        edits_from_url(bomb[:URL_LIMIT])


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ("zero", "Edit 1: found zero, expected an object"),
        ({"kind": "zero"}, "expected an object with kind and slots"),
        ({"kind": "zero", "slots": [1], "code": "x"}, "expected an object with kind and slots"),
        ({"kind": "zero", "slots": ["1"]}, "slots = 1, expected a whole number"),
        ({"kind": "zero", "slots": [True]}, "expected a whole number"),
        ({"kind": "zero", "slots": [2**70]}, "expected a whole number"),
        ({"kind": "zero", "slots": 5}, "expected a list"),
        ({"kind": 5, "slots": [1]}, "expected a text"),
        ({"kind": "erase", "slots": [1]}, "'erase', expected one of"),
        ({"kind": "zero", "slots": [1], "on": 1}, "expected true or false"),
        ({"kind": "scale", "slots": [1], "factor": "2"}, "expected a finite number"),
        ({"kind": "scale", "slots": [1], "factor": float("nan")}, "expected a finite number"),
        ({"kind": "replace", "slots": [1, 2], "values": [[1.0], [1.0, 2.0]]}, "different lengths"),
    ],
)
def test_edits_that_make_no_sense_are_refused_by_their_number(edit: object, said: str) -> None:
    with pytest.raises(EditError, match=f"^Edit 1: .*{said.removeprefix('Edit 1: ')}"):
        edits_from_json({"format": 1, "edits": [edit]})


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": 2, "edits": []}', '{"format": 1}', "[" * 10**5]
)
def test_text_that_is_no_list_of_edits_is_refused(text: str) -> None:
    with pytest.raises(EditError, match="expected"):
        edits_from_text(text)


# --- undo and redo ------------------------------------------------------------------------------


def test_every_change_can_be_undone_and_redone() -> None:
    start = EditHistory()
    steps = [start.added(MASK)]
    steps.append(steps[-1].added(ZERO))
    steps.append(steps[-1].switched(0, False))
    steps.append(steps[-1].removed(1))
    lists = [start.edits, *(step.edits for step in steps)]
    off = SlotEdit("mask", (1, 2), on=False)
    assert lists == [(), (MASK,), (MASK, ZERO), (off, ZERO), (off,)]
    now = steps[-1]
    for expected in reversed(lists[:-1]):
        now = now.undone()
        assert now.edits == expected
    assert now.undone() == now
    for expected in lists[1:]:
        now = now.redone()
        assert now.edits == expected
    assert now.redone() == now


def test_a_change_after_an_undo_forgets_what_was_undone() -> None:
    history = EditHistory().added(MASK).undone().added(ZERO)
    assert (history.edits, history.future) == ((ZERO,), ())
    assert history.changed(history.edits) is history


def test_a_short_url_that_holds_very_many_edits_is_refused() -> None:
    many = [SlotEdit("zero", (1,))] * 201
    assert edits_to_url(many) is None
    packed = base64.urlsafe_b64encode(
        zlib.compress(json.dumps([edit.to_json() for edit in many]).encode())
    )
    with pytest.raises(EditError, match="holds 201 edits"):
        edits_from_url(packed.decode().rstrip("="))


def test_half_a_character_is_no_text() -> None:
    plain = SlotEdit("zero", (1,), note="x").to_json() | {"note": "\ud800"}
    with pytest.raises(EditError, match=r"Edit 1: found note = .*expected a text in UTF-8"):
        edits_from_json({"format": 1, "edits": [plain]})
