"""The token strip's contract: lengths, ranges, what is sent."""

from __future__ import annotations

from typing import Any

import pytest

from inspector.ui.components import token_strip
from tests.ui.components.conftest import Browser

PARIS: dict[str, Any] = {
    "tokens": ["The", " tower", "\n", " Paris"],
    "intensities": [0.0, 0.25, 0.5, 1.0],
    "tips": ["a", "b", "c", "d"],
}


def test_tokens_are_sent_visible_with_their_line_breaks(browser: Browser) -> None:
    assert token_strip(**PARIS, key="strip", selected=1, prompt_length=3) == 1
    sent = browser.data["strip"]
    assert sent["tokens"] == ["The", "·tower", "⏎", "·Paris"]
    assert sent["breaks"] == [2]
    assert sent["intensities"] == [0.0, 0.25, 0.5, 1.0]
    assert sent["promptLength"] == 3
    assert sent["selected"] == 1


def test_without_a_prompt_length_nothing_is_generated(browser: Browser) -> None:
    token_strip(**PARIS, key="strip", selected=0)
    assert browser.data["strip"]["promptLength"] == 4


@pytest.mark.parametrize(("asked", "shown"), [(99, 3), (-5, 0)])
def test_a_selection_out_of_range_is_brought_into_it(
    browser: Browser, asked: int, shown: int
) -> None:
    assert token_strip(**PARIS, key="strip", selected=asked) == shown


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tips": ["a"]}, "4 tokens, 4 intensities and 1 tips"),
        ({"intensities": [0.0]}, "4 tokens, 1 intensities and 4 tips"),
        ({"tokens": [], "intensities": [], "tips": []}, "needs at least one token"),
        ({"intensities": [0.0, 0.2, 1.5, 0.1]}, "that of token 2 is 1.5"),
        ({"intensities": [0.0, float("nan"), 0.5, 0.1]}, "that of token 1 is nan"),
        ({"prompt_length": 5}, "between 0 and 4 tokens, but is 5"),
    ],
)
def test_what_breaks_the_contract_is_named(
    browser: Browser, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        token_strip(**PARIS | changed, key="strip", selected=0)
