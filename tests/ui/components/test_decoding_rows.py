"""What the decodings of a slot send to the browser."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from inspector.ui.components import DecodingRow, decoding_rows


def test_a_row_says_how_far_it_can_be_trusted(browser: Any) -> None:
    said = ([(" Paris", np.float32(2.0))], [("\t", -1.0)])
    rows = [
        DecodingRow("raw", "As it is.", *said, 2.4, 0.31, np.bool_(False)),  # type: ignore[arg-type]
        DecodingRow("static · L2", "Mean gate.", *said, 8.31, 0.0025, True),
    ]
    decoding_rows(rows, key="rows")
    raw, static = json.loads(json.dumps(browser.data["rows"]))["rows"]
    assert raw["promoted"] == [["·Paris", 2.0]]
    assert raw["suppressed"] == [["⇥", -1.0]]
    assert (raw["quality"], raw["passes"]) == ("2.4 σ –", False)
    assert (static["quality"], static["passes"]) == ("8.3 σ ✓", True)
    assert "no clearer than random" in raw["qualityTip"]
    assert "p = 0.003: stands out from random" in static["qualityTip"]
    assert static["tip"] == "static · L2\nMean gate."
