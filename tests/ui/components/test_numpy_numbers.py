"""NumPy's numbers reach the browser as JSON, like Python's own."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from inspector.ui.components import GridRead, ReadRow, key_grid, read_table, token_strip
from tests.ui.components.conftest import Browser

ONE: Any = np.int64(1)
HALF: Any = np.float32(0.5)


def test_everything_sent_is_json(browser: Browser) -> None:
    token_strip(["a", "b"], [HALF, HALF], ["", ""], key="strip", selected=ONE, prompt_length=ONE)
    key_grid([GridRead(ONE, HALF, ONE, "x")], key="grid", n=2, selected_slot=ONE)
    row = ReadRow("x", "L1", ONE, ONE, HALF, HALF, HALF, HALF, ((" b", HALF),), (), HALF)
    read_table([row, row], key="rows", selected=ONE)
    for key in ("strip", "grid", "rows"):
        assert json.loads(json.dumps(browser.data[key]))["selected"] == 1
    assert browser.data["rows"]["rows"][0]["weight"] == 0.5
