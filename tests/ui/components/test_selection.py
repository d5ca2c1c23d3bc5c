"""The newer of the page's argument and the user's click wins."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inspector.ui.components import token_strip
from tests.ui.components.conftest import Browser


def show(
    selected: int, tokens: str = "abcdef", on_select: Callable[[int], None] | None = None
) -> int:
    size = len(tokens)
    return token_strip(
        list(tokens),
        [0.0] * size,
        [""] * size,
        key="strip",
        selected=selected,
        on_select=on_select,
    )


def test_a_click_is_kept_while_the_page_asks_for_the_same(browser: Browser) -> None:
    assert show(0) == 0
    browser.click("strip", 4)
    assert [show(0), show(0)] == [4, 4]


def test_a_page_that_asks_for_something_new_wins_over_an_old_click(browser: Browser) -> None:
    show(0)
    browser.click("strip", 4)
    show(0)
    assert [show(2), show(2)] == [2, 2]


def test_the_old_click_that_the_browser_sends_again_stays_old(browser: Browser) -> None:
    show(0)
    browser.click("strip", 4)
    show(0)
    show(2)
    assert browser.session_state["strip"]["pick"]["value"] == 4
    assert show(2) == 2


def test_a_click_wins_over_an_argument_that_changes_in_the_same_run(browser: Browser) -> None:
    show(0)
    browser.click("strip", 4)
    assert show(0) == 4
    browser.click("strip", 5)
    assert show(4) == 5


def test_a_click_on_the_same_token_again_wins_again(browser: Browser) -> None:
    show(0)
    browser.click("strip", 4)
    show(0)
    show(2)
    browser.click("strip", 4)
    assert show(2) == 4


def test_a_page_that_stores_what_is_returned_follows_every_click(browser: Browser) -> None:
    token = show(0)
    for clicked in (3, 5, 1):
        browser.click("strip", clicked)
        token = show(token)
        assert token == clicked
    assert show(token) == 1


def test_new_tokens_take_the_pages_selection(browser: Browser) -> None:
    show(0)
    browser.click("strip", 4)
    show(0)
    assert show(0, tokens="uvwxyz") == 0


def test_a_click_on_the_old_tokens_is_void(browser: Browser) -> None:
    show(0)
    browser.click("strip", 4)
    assert show(0, tokens="uvwxyz") == 0
    assert show(0, tokens="uvwxyz") == 0


@pytest.mark.parametrize("nonsense", [6, -1, True, "2", None, 2.5])
def test_a_click_that_names_no_token_is_ignored(browser: Browser, nonsense: object) -> None:
    show(1)
    browser.click("strip", nonsense)
    assert show(1) == 1


def test_the_browser_learns_which_click_was_heeded(browser: Browser) -> None:
    show(0)
    browser.click("strip", 4, nonce=1700000000123)
    show(0)
    assert browser.data["strip"]["nonce"] == 1700000000123


def test_the_page_is_told_before_the_run(browser: Browser) -> None:
    told: list[int] = []
    show(0, on_select=told.append)
    browser.click("strip", 4)
    assert told == [4]
    assert show(told[-1], on_select=told.append) == 4
    browser.click("strip", 9)
    assert told == [4]


def test_a_page_told_of_a_click_may_ask_for_something_else(browser: Browser) -> None:
    show(0, on_select=lambda index: None)
    browser.click("strip", 4)
    assert show(2) == 2


def test_a_click_injected_by_a_test_needs_its_value_only(browser: Browser) -> None:
    browser.session_state["strip"] = {"pick": {"value": 3}}
    assert show(0) == 3
