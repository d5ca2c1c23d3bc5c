"""The lookup page: every step of a model's lookup and of the tiny one, by link and by click."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inspector.capture.load import load
from inspector.capture.trace import trace
from inspector.ui.lookup_lesson import LESSON
from tests.pages.user_session import UserSession

Written = Callable[..., Path]


@pytest.fixture(scope="module")
def path(tiny_checkpoint: Written) -> Path:
    return tiny_checkpoint()


def texts(session: UserSession) -> str:
    return "\n".join(str(text.value) for text in session.app.text)


def says(session: UserSession, step: int) -> str:
    return session.sentence(f"lookup says {step}")


@pytest.mark.parametrize("view", ["model", "tiny"])
def test_every_step_has_a_link(path: Path, view: str) -> None:
    for number, step in enumerate(LESSON, start=1):
        session = UserSession("lookup", checkpoint=path, view=view, step=number)
        assert [h.value for h in session.app.header] == [f"{number} · {step.title}"]
        assert len(says(session, number)) > 20


def test_next_and_back_walk_through_the_lesson_and_the_url(path: Path) -> None:
    session = UserSession("lookup", checkpoint=path)
    assert session.app.button(key="lookup back").disabled
    for number in range(2, len(LESSON) + 1):
        session.app.button(key="lookup next").click()
        session.run()
        assert session.url["step"] == str(number)
    assert session.app.button(key="lookup next").disabled
    session.app.button(key="lookup back").click()
    session.run()
    assert session.url["step"] == str(len(LESSON) - 1)


@pytest.mark.parametrize("step", ["0", "99", "x"])
def test_a_link_to_no_step_shows_the_nearest(path: Path, step: str) -> None:
    session = UserSession("lookup", checkpoint=path, step=step)
    number = len(LESSON) if step == "99" else 1
    assert session.app.header[0].value.startswith(f"{number} · ")


def test_the_numbers_are_those_of_the_model(path: Path) -> None:
    model = load(path, device="cpu")
    found = trace(model, "Lima is the capital")
    asked = {"checkpoint": path, "text": "Lima is the capital", "pos": 2, "site": "L2", "head": 1}
    session = UserSession("lookup", step=7, **asked)
    slot = int(found.reads["L2"].slots[0, 2, 1, 0])
    n = found.sites["L2"].half_keys
    assert f"{slot // n} × {n} + {slot % n} = {slot}" in says(session, 7)
    session = UserSession("lookup", step=12, **asked)
    assert f"all {n * n:,} keys, just now, finds the same slots in the same order" in texts(session)


def test_the_tiny_memory_answers_the_query_in_the_url(path: Path) -> None:
    session = UserSession("lookup", checkpoint=path, view="tiny", step=8, query="0,2,0,-3")
    assert "“real”" in texts(session)  # currency of Brazil
    session = UserSession("lookup", checkpoint=path, view="tiny", step=8, query="9,,nonsense")
    assert "“Paris”" in texts(session)


def test_guessing_comes_before_the_picture(path: Path) -> None:
    session = UserSession("lookup", checkpoint=path, view="tiny", step=7)
    session.app.toggle(key="lookup guess").set_value(True)
    session.run()
    assert not session.shows("lookup says 7")
    assert "Which slot is key (0, 0)?" in texts(session)
    (radio,) = session.app.radio
    radio.set_value("0")
    session.run()
    assert [e.value for e in session.app.success] == ["Yes: 0"]
    assert session.shows("lookup says 7")


def test_a_wrong_guess_is_put_right(path: Path) -> None:
    session = UserSession("lookup", checkpoint=path, view="tiny", step=3)
    session.app.toggle(key="lookup guess").set_value(True)
    session.run()
    (radio,) = session.app.radio
    radio.set_value("16")
    session.run()
    assert [e.value for e in session.app.warning] == ["Not 16, but 8. See why:"]


def test_presenter_notes_are_shown_on_request(path: Path) -> None:
    session = UserSession("lookup", checkpoint=path, step=2)
    assert not session.app.info
    session.app.toggle(key="lookup notes").set_value(True)
    session.run()
    assert [note.value for note in session.app.info] == [LESSON[1].note]


def test_a_text_that_cannot_be_read_is_a_sentence(path: Path) -> None:
    session = UserSession("lookup", checkpoint=path, text="x " * 500)
    assert session.errors[0] == "There is no lookup to show."


def test_a_dense_checkpoint_has_no_lookup_but_the_tiny_one(tiny_checkpoint: Written) -> None:
    dense = tiny_checkpoint(memory_layers=[])
    session = UserSession("lookup", checkpoint=dense)
    assert "no memory layers" in session.app.info[0].value
    session = UserSession("lookup", checkpoint=dense, view="tiny")
    assert says(session, 1).startswith("A query of four whole numbers")
