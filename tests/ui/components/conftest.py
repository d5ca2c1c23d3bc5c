"""Components without a browser: what they would have sent is recorded."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import streamlit as st

RENDERERS = (
    ("token_strip", "_STRIP"),
    ("key_grid", "_GRID"),
    ("key_grid", "_BACKGROUND_STORE"),
    ("point_map", "_MAP"),
    ("point_map", "_STORE"),
    ("read_table", "_TABLE"),
    ("prediction_bars", "_BARS"),
    ("token_chips", "_CHIPS"),
    ("context_list", "_LIST"),
    ("decoding_rows", "_ROWS"),
)


class Browser:
    """Stands for the browser: keeps the last data sent to each key, and can click."""

    def __init__(self, session_state: dict[str, Any]) -> None:
        self.session_state = session_state
        self.data: dict[str, Any] = {}
        self.callbacks: dict[str, Callable[[], None]] = {}
        self.nonce = 0

    def mount(
        self, *, key: str, data: Any, on_pick_change: Any = None, on_area_change: Any = None
    ) -> None:
        self.data[key] = data
        self.callbacks[key] = on_pick_change
        self.callbacks[f"{key}/area"] = on_area_change

    def click(self, key: str, value: object, **changed: object) -> None:
        """Send a click on what the component last showed, and run Streamlit's callback."""
        self.nonce += 1
        pick = {"value": value, "subject": self.data[key]["subject"], "nonce": self.nonce}
        self.session_state[key] = {"pick": pick | changed}
        self.callbacks[key]()

    def draw(self, key: str, corners: object, **changed: object) -> None:
        """Send an area drawn on the map that was last shown, and run Streamlit's callback."""
        self.nonce += 1
        area = {"corners": corners, "subject": self.data[key]["subject"], "nonce": self.nonce}
        self.session_state[key] = {"area": area | changed}
        self.callbacks[f"{key}/area"]()


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Browser:
    session_state: dict[str, Any] = {}
    recorder = Browser(session_state)
    monkeypatch.setattr(st, "session_state", session_state)
    for module, renderer in RENDERERS:
        file = importlib.import_module(f"inspector.ui.components.{module}")
        monkeypatch.setattr(file, renderer, recorder.mount)
    return recorder
