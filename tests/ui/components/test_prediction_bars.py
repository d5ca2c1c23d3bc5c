"""What the bars and the chips send."""

from __future__ import annotations

import pytest

from inspector.ui.components import prediction_bars, token_chips
from tests.ui.components.conftest import Browser


def test_predictions_keep_their_order(browser: Browser) -> None:
    prediction_bars([(" Paris", 0.25), ("\n", 0.5)], key="bars")
    assert browser.data["bars"]["predictions"] == [["·Paris", 0.25], ["⏎", 0.5]]


@pytest.mark.parametrize("probability", [-0.1, 1.2, float("nan")])
def test_a_probability_outside_its_range_is_named(browser: Browser, probability: float) -> None:
    with pytest.raises(ValueError, match=f"that of 'x' is {probability}"):
        prediction_bars([("x", probability)], key="bars")


def test_chips_are_sent_by_side(browser: Browser) -> None:
    token_chips([(" Paris", 2.0)], [("\t", -1.0)], key="chips")
    assert browser.data["chips"] == {"promoted": [("·Paris", 2.0)], "suppressed": [("⇥", -1.0)]}
