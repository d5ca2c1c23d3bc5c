"""The files beside the components: no untrusted text becomes markup, nothing is fetched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from inspector.ui import components

FOLDER = Path(components.__file__).parent
SCRIPTS = sorted(FOLDER.glob("*.js"))
FILES = sorted(file for file in FOLDER.iterdir() if file.suffix in {".js", ".css", ".html"})
MARKUP = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.name)
def test_text_never_becomes_markup(script: Path) -> None:
    assert re.findall(MARKUP, script.read_text()) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_is_fetched_from_elsewhere(file: Path) -> None:
    text = file.read_text().replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"https?:|fetch\(|XMLHttpRequest|@import|url\(|import\(", text) == []


def test_every_component_mounts_in_a_run() -> None:
    def page() -> None:
        from inspector.ui import components as ui

        ui.token_strip(["a", " b"], [0.1, 1.0], ["x", "y"], key="strip", selected=1)
        ui.key_grid([ui.GridRead(3, 0.5, 0, "L1·H0·(1,1)")], key="grid", n=2, background=bytes(4))
        row = ui.ReadRow("L1·H0·(1,1)", "L1", 0, 3, weight=0.5, promoted=((" b", 1.0),))
        ui.read_table([row], key="rows", selected=0)
        ui.prediction_bars([(" b", 0.5)], key="bars")
        ui.token_chips([(" b", 0.5)], [("a", -0.5)], key="chips")
        ui.context_list([ui.ContextRow("strongest", "L1·H0", 0.5, ["a"], " b", [])], key="list")
        said = ui.DecodingRow("raw", "tip", [(" b", 0.5)], [("a", -0.5)], 3.0, 0.01, True)
        ui.decoding_rows([said], key="decodings")

    app = AppTest.from_function(page).run()
    assert not app.exception
