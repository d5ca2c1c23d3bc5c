"""The compare page: two checkpoints, what they share, and what is politely left out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from inspector.capture.load import load
from inspector.capture.trace import trace
from tests.pages.user_session import UserSession

Written = Callable[..., Path]
PROMPTS = "Lima is the capital\nOslo is"


@pytest.fixture(scope="module")
def first(tiny_checkpoint: Written) -> Path:
    return tiny_checkpoint()


@pytest.fixture(scope="module")
def second(tiny_checkpoint: Written) -> Path:
    return tiny_checkpoint(seed=1)


def ask(session: UserSession, key: str, typed: str) -> None:
    for kind in (session.app.text_area, session.app.text_input):
        for widget in kind:
            if widget.key == key:
                widget.set_value(typed)
                session.run()
                return
    raise AssertionError(f"there is no {key}")


def press(session: UserSession, key: str) -> None:
    session.app.button(key=key).click()
    session.run()


def columns(session: UserSession) -> list[set[str]]:
    return [set(node.value.columns) for node in session.app.dataframe]


def test_without_a_second_checkpoint_the_page_waits_for_one(first: Path) -> None:
    session = UserSession("compare", checkpoint=first)
    assert session.app.selectbox(key="other checkpoint").value is None
    assert not session.app.subheader


def test_predictions_are_those_of_both_models(first: Path, second: Path) -> None:
    session = UserSession("compare", checkpoint=first, other=second)
    ask(session, "compare prompts", PROMPTS)
    table = session.table("first_says")
    assert list(table["prompt"]) == PROMPTS.split("\n")
    for path, column in ((first, "first_says"), (second, "second_says")):
        model = load(path, device="cpu")
        for prompt, said in zip(table["prompt"], table[column], strict=True):
            assert trace(model, prompt).top[0][-1][0][0] == said
    assert session.sentence("compare said").startswith("Both say the same after ")


def test_slots_differ_between_two_seeds_and_not_from_a_copy_of_itself(
    first: Path, second: Path, copied: Path
) -> None:
    session = UserSession("compare", checkpoint=first, other=second)
    assert session.sentence("compare slots said").startswith("64 of 64 values differ")
    assert {"promoted_before", "promoted_after"} <= set(session.table("value_drift").columns)
    session = UserSession("compare", checkpoint=first, other=copied)
    assert session.sentence("compare slots said").startswith("0 of 64 values differ")


def test_a_checkpoint_that_was_written_anew_is_opened_again(
    first: Path, second: Path, copied: Path
) -> None:
    session = UserSession("compare", checkpoint=first, other=copied)
    assert session.sentence("compare slots said").startswith("0 of 64 values differ")
    said = session.table("first_says")
    assert said["first_says"].tolist() == said["second_says"].tolist()
    for file in second.iterdir():
        shutil.copyfile(file, copied / file.name)
    session.run()
    assert session.sentence("compare slots said").startswith("64 of 64 values differ")
    expected = UserSession("compare", checkpoint=first, other=second).table("first_says")
    assert session.table("first_says").equals(expected)


def test_scans_of_both_bring_usage_and_verdicts(first: Path, second: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("Lima is the capital of Peru\nOslo is cold\n" * 3)
    session = UserSession("compare", checkpoint=first, other=second)
    ask(session, "compare corpus", str(corpus))
    press(session, "start Scan both")
    session.until(lambda: any("unevenness" in found for found in columns(session)))
    assert "Usage (CSV)" in [button.label for button in session.app.get("download_button")]
    assert "slots died and" in session.sentence("compare slots said")
    assert {"reads_before", "verdict_after"} <= set(session.table("value_drift").columns)
    ask(session, "compare texts", "Lima is the capital of Peru")
    assert any("touched slots are read by these texts" in t.value for t in session.app.text)


def test_a_corpus_that_is_not_there_is_a_sentence(first: Path, second: Path) -> None:
    session = UserSession("compare", checkpoint=first, other=second)
    ask(session, "compare corpus", "/nowhere/at/all.txt")
    press(session, "start Scan both")
    session.until(lambda: any("It stopped." in error for error in session.errors))


def test_what_does_not_compare_is_said_and_the_rest_still_does(
    first: Path, tiny_checkpoint: Written
) -> None:
    other = tiny_checkpoint(memory_half_keys=6)
    session = UserSession("compare", checkpoint=first, other=other)
    assert any("8 half-keys a set in one and 6" in text.value for text in session.app.text)
    assert len(session.table("first_says"))
    assert not session.shows("compare slots said")


def test_a_dense_twin_compares_in_what_it_says(first: Path, tiny_checkpoint: Written) -> None:
    session = UserSession("compare", checkpoint=first, other=tiny_checkpoint(memory_layers=[]))
    assert any("has no memory layers" in text.value for text in session.app.text)
    assert len(session.table("first_says"))


def test_a_second_checkpoint_that_is_none_is_a_sentence(first: Path, tmp_path: Path) -> None:
    session = UserSession("compare", checkpoint=first, other=tmp_path / "nothing")
    assert session.errors[0] == "The other checkpoint could not be opened."


def test_recall_of_both_is_asked_in_the_background(little_world: Path) -> None:
    session = UserSession("compare", checkpoint=little_world, other=little_world)
    offered = [button.label for button in session.app.get("download_button")]
    assert offered == ["Predictions (CSV)", "All slots (CSV)"]
    press(session, "start Ask both the facts")
    session.until(lambda: session.shows("compare recall said"))
    offered = [button.label for button in session.app.get("download_button")]
    assert offered == ["Predictions (CSV)", "Recall (CSV)", "All slots (CSV)"]
    table = session.table("won")
    assert (table["won"] == 0).all()
    assert (table["first"] == table["second"]).all()
    assert table.iloc[-1]["relation"] == "all"
