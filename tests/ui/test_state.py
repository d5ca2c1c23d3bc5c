"""The view lives in the URL, and comes back when the navigation drops it."""

from __future__ import annotations

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from inspector.ui import state


class Url(dict[str, str]):
    """Stands for the address bar, and counts the steps of its history."""

    steps = 0

    def to_dict(self) -> dict[str, str]:
        return dict(self)

    def from_dict(self, entries: dict[str, str]) -> None:
        self.clear()
        self.update(entries)
        self.steps += 1


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Url:
    url = Url()
    monkeypatch.setattr(st, "query_params", url)
    monkeypatch.setattr(st, "session_state", {})
    return url


def test_what_was_written_is_read(url: Url) -> None:
    state.write(checkpoint="a", pos=3, text="")
    assert url == {"checkpoint": "a", "pos": "3", "text": ""}
    assert (state.read("text"), state.read_number("pos"), state.read("slot")) == ("", 3, None)


def test_none_takes_an_entry_out(url: Url) -> None:
    state.write(checkpoint="a", pos=3, slot=5)
    state.write(pos=None, slot=None, site=None)
    assert url == {"checkpoint": "a"}


def test_one_action_is_one_step_back(url: Url) -> None:
    state.write(checkpoint="a", text="b", slot=3)
    state.write(text="c", pos=1, slot=None)
    assert url.steps == 2
    state.write(text="c", slot=None)
    assert url.steps == 2


def test_entries_that_the_navigation_dropped_come_back(url: Url) -> None:
    state.write(checkpoint="a", text="b", pos=3)
    url.clear()
    assert state.read("pos") == "3"
    assert url == {"checkpoint": "a", "text": "b", "pos": "3"}


def test_a_callback_may_be_the_first_to_see_that_they_were_dropped(url: Url) -> None:
    state.write(checkpoint="a", text="b", pos=3)
    url.clear()
    state.write(pos=4)
    assert url == {"checkpoint": "a", "text": "b", "pos": "4"}


def test_going_back_leads_to_the_view_as_it_was(url: Url) -> None:
    state.write(checkpoint="a", text="b")
    before = dict(url)
    state.write(pos=3, slot=4)
    url.clear()
    url.update(before)
    assert state.read("pos") is None
    url.clear()
    assert (state.read("text"), state.read("pos")) == ("b", None)


def test_without_a_checkpoint_nothing_is_remembered(url: Url) -> None:
    state.write(text="b")
    url.clear()
    assert state.read("text") is None


@pytest.mark.parametrize("value", ["", "x", "1.5", "9" * 5000, "0x10", "1 2"])
def test_what_is_no_number_is_none(url: Url, value: str) -> None:
    url["pos"] = value
    assert state.read_number("pos") is None


def test_streamlit_itself_keeps_the_entries() -> None:
    def script() -> None:
        import streamlit

        from inspector.ui import state as entries

        entries.write(checkpoint="a&b=c", text="1 + 1 = 2 % é 😀\n", pos=3)
        streamlit.text(repr(entries.read("text")))

    app = AppTest.from_function(script).run()
    assert app.text[0].value == repr("1 + 1 = 2 % é 😀\n")
    assert app.query_params["checkpoint"] == "a&b=c"


def test_slots_are_handed_on_in_the_url_if_they_fit(url: Url) -> None:
    state.write(checkpoint="a")
    state.select_slots([3, 5])
    assert url["slots"] == "3,5"
    assert state.selected_slots() == (3, 5)
    state.select_slots(range(201))
    assert "slots" not in url
    assert state.selected_slots() == tuple(range(201))


def test_slots_of_another_checkpoint_are_not_handed_on(url: Url) -> None:
    state.write(checkpoint="a")
    state.select_slots(range(300))
    state.write(checkpoint="b")
    assert state.selected_slots() == ()
    state.write(slots="7,x,-2,9")
    assert state.selected_slots() == (7, 9)
