"""Files that the facts page and the list of edits take in: facts, lists, patches."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from inspector.analyses.edit_files import edits_to_text, edits_to_url
from inspector.analyses.edit_list import SlotEdit
from inspector.analyses.facts import write_facts
from inspector.analyses.patch_files import write_patch
from inspector.analyses.patches import Patch, make_patch
from inspector.capture.value_edits import NewValues
from inspector.families.base import MemoryModel
from tests.analyses.planted_facts import FACTS, WORDS, planted_model, slot
from tests.families.damage import change_tensors
from tests.pages.user_session import UserSession

ROME = slot("Ada", "home")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MemoryModel:
    folder = tmp_path_factory.mktemp("files") / "planted"
    found = planted_model(folder)
    write_facts(folder / "facts.jsonl", FACTS)
    return found


def ada(model: MemoryModel, section: str, **entries: object) -> UserSession:
    named = {"relation": "home", "subject": "Ada", "section": section}
    return UserSession("facts", checkpoint=model.path, **named, **entries)


def upload(session: UserSession, key: str, *files: tuple[str, bytes]) -> None:
    """Choose files in a box."""
    named = [(name, content, "application/octet-stream") for name, content in files]
    box = session.app.file_uploader(key=key)
    box.set_value(named if box.accept_multiple_files else named[0])
    session.run()


# --- a list of edits ----------------------------------------------------------------------------


def test_a_saved_list_is_loaded_at_the_end(model: MemoryModel) -> None:
    session = ada(model, "Edit")
    saved = edits_to_text([SlotEdit("zero", (ROME,), note="<b>why</b>")], model.fingerprint)
    upload(session, "edit file", ("edits.json", saved.encode()))
    assert [toggle.label for toggle in session.app.toggle] == [f"zero slot {ROME}"]
    assert session.shows("edits headline")
    assert any("<b>why</b>" in text for text in session.errors)  # as plain text
    assert not any("<b>" in text for text in session.markdown())


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[]", b'{"format": 1, "edits": [{}]}'])
def test_a_damaged_list_is_told_and_nothing_lost(model: MemoryModel, content: bytes) -> None:
    kept = edits_to_url([SlotEdit("zero", (ROME,))])
    session = ada(model, "Edit", edits=kept)
    upload(session, "edit file", ("edits.json", content))
    errors = [error.value for error in session.app.error]
    assert "The file was not loaded; the list is as it was." in errors
    assert len(session.app.toggle) == 1


def test_every_checkpoint_has_its_own_list(model: MemoryModel, tmp_path: Path) -> None:
    other = Path(shutil.copytree(model.path, tmp_path / "other"))
    change_tensors(other, lambda tensors: next(iter(tensors.values())).mul_(1.001))
    session = ada(model, "Edit")
    session.app.text_input(key="edit slots").set_value(str(ROME))
    session.press("Add to edits")
    session.open_checkpoint(other)
    assert not session.app.toggle
    assert "edits" not in session.url
    session.open_checkpoint(model.path)
    assert len(session.app.toggle) == 1
    assert "edits" in session.url


def test_a_list_too_long_for_a_link_lives_in_the_session(model: MemoryModel) -> None:
    values = torch.randn(40, model.tables[0].d_value, dtype=torch.float64)
    rows = tuple(tuple(row) for row in values.tolist())
    long = SlotEdit("replace", tuple(range(40)), values=rows)
    session = ada(model, "Edit")
    upload(session, "edit file", ("edits.json", edits_to_text([long]).encode()))
    assert len(session.app.toggle) == 1
    assert "edits" not in session.url
    assert any("too long for a link" in text for text in [c.value for c in session.app.caption])
    session.choose("section picker", "Locate")
    session.press("Add to edits: zero 1 slot")
    assert [toggle.value for toggle in session.app.toggle] == [True, True]
    session.app.toggle(key="edit on 0").set_value(False)
    session.run()
    assert [toggle.value for toggle in session.app.toggle] == [False, True]


def test_the_trace_page_says_where_a_decoded_value_is_not_the_one_that_acts(
    model: MemoryModel,
) -> None:
    swapped = edits_to_url([SlotEdit("swap", (ROME, slot("Bob", "home")))])
    entries = {"checkpoint": model.path, "text": "Ada home is", "site": "L0", "slot": ROME}
    edited = UserSession("trace", **entries, edits=swapped)
    plain = UserSession("trace", **entries)
    for said in ("fetch values that an edit replaced", "An edit replaced this value"):
        assert any(said in text for text in edited.markdown())
        assert not any(said in text for text in plain.markdown())
    assert edited.data("predictions")["predictions"][0][0] == "Oslo"
    own = [row for row in edited.data("reads L0")["rows"] if f"slot {ROME} " in row["place"]]
    assert max(row["effect"] for row in own) > 10  # of the value that acts: it promotes Oslo


# --- facts --------------------------------------------------------------------------------------


def test_a_file_of_facts_is_read_and_one_that_is_not_text_refused(model: MemoryModel) -> None:
    session = UserSession("facts", checkpoint=model.path, set="mine")
    rows = "subject,relation,object,prompt\nAda,home,Rome,Ada home is\n"
    upload(session, "facts file", ("mine.csv", rows.encode()))
    assert "the model says Rome" in session.sentence("fact headline")
    upload(session, "facts file", ("mine.csv", rows.encode() + b"\xff\n"))
    assert any("mine.csv row 3: found bytes that are not UTF-8" in t for t in session.errors)
    assert "the model says Rome" in session.sentence("fact headline")


# --- patches ------------------------------------------------------------------------------------


def patch(model: MemoryModel, answer: str, what: str) -> Patch:
    """Ada's home slot holds another answer, loudly."""
    value = torch.zeros(1, model.tables[0].d_value)
    value[0, WORDS.index(answer)] = 50.0
    return make_patch(model, [NewValues(0, torch.tensor([ROME]), value)], what, "")


def content(tmp_path: Path, made: Patch) -> bytes:
    path = tmp_path / "made.patch.safetensors"
    write_patch(path, made)
    return path.read_bytes()


def test_patches_are_loaded_conflicts_shown_and_used(model: MemoryModel, tmp_path: Path) -> None:
    oslo = content(tmp_path, patch(model, "Oslo", "Ada lives in Oslo"))
    lima = content(tmp_path, patch(model, "Lima", "Ada lives in Lima"))
    session = ada(model, "Make it say")
    upload(session, "patch files", ("a.safetensors", oslo), ("b.safetensors", lima))
    assert session.table("what")["what"].tolist() == ["Ada lives in Oslo", "Ada lives in Lima"]
    conflict = session.table("first").iloc[0]
    assert conflict.tolist() == ["Ada lives in Oslo", "Ada lives in Lima", 0, ROME]
    assert not any(b.label == "Use them in this session" for b in session.app.button)
    session.app.checkbox(key="later wins").set_value(True)
    session.run()
    session.press("Use them in this session")
    session.choose("section picker", "Edit")
    assert session.data("edits Edited")["predictions"][0][0] == "Lima"
    assert session.data("edits Original")["predictions"][0][0] == "Rome"


def test_a_patch_for_another_checkpoint_is_refused(model: MemoryModel, tmp_path: Path) -> None:
    alien = replace(patch(model, "Oslo", "alien"), fingerprint="0" * 64)
    session = ada(model, "Make it say")
    upload(
        session,
        "patch files",
        ("a.safetensors", content(tmp_path, alien)),
        ("b.safetensors", b"no patch"),
    )
    said = session.errors
    assert said.count("A file was left out.") == 2
    assert any("a.safetensors: The patch 'alien' was made for" in text for text in said)
    assert any(text.startswith("b.safetensors: it is no patch") for text in said)
    assert not any("Use" in button.label for button in session.app.button)
