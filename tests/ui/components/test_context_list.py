"""What the list of contexts sends to the browser."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from inspector.ui.components import ContextRow, context_list


def test_white_space_is_visible_and_the_tip_holds_the_whole_text(browser: Any) -> None:
    row = ContextRow("strongest", "L1·H0", np.float32(0.5), ["<s>", "A", " b"], "\n", [" c"])
    context_list([row], key="list")
    (sent,) = json.loads(json.dumps(browser.data["list"]))["rows"]
    assert (sent["before"], sent["token"], sent["after"]) == ("<s>A·b", "⏎", "·c")
    assert sent["tip"] == "L1·H0 at ⏎\n<s>A·b⏎·c"
    assert (sent["kind"], sent["place"], sent["weight"]) == ("strongest", "L1·H0", 0.5)


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused(browser: Any, weight: float) -> None:
    with pytest.raises(ValueError, match="no number"):
        context_list([ContextRow("strongest", "L1·H0", weight, [], "a", [])], key="list")
