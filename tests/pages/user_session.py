"""One user's session with the app, without a browser: links, clicks, and what the page shows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).parents[2]
_SECONDS = 120  # a busy machine is no reason to fail
_JOB_SECONDS = 240


class UserSession:
    """Opens a link of the app and acts on the page it leads to.

    ``page`` is ``checkpoint`` or ``trace``; the other entries are those of the URL.
    """

    def __init__(self, page: str, **entries: object) -> None:
        self.app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=_SECONDS)
        self.app.query_params["page"] = page
        for name, value in entries.items():
            self.app.query_params[name] = str(value)
        self.run()

    def run(self) -> None:
        self.app.run()
        self.no_traceback()

    def no_traceback(self) -> None:
        shown = [f"{e.message}\n{chr(10).join(e.stack_trace)}" for e in self.app.exception]
        assert not shown, "\n".join(shown)

    def until(self, shown: Callable[[], bool]) -> None:
        """Run the page again, as its fragments do, until ``shown``."""
        end = time.monotonic() + _JOB_SECONDS
        while not shown():
            assert time.monotonic() < end, f"what was waited for did not come: {self.errors}"
            time.sleep(0.1)
            self.run()

    @property
    def title(self) -> str:
        (title,) = self.app.title
        return str(title.value)

    @property
    def url(self) -> dict[str, str]:
        """The entries of the address bar; a repeated one by its last value."""
        entries = self.app.query_params
        return {k: v[-1] if isinstance(v, list) else str(v) for k, v in entries.items()}

    @property
    def errors(self) -> list[str]:
        """What stands in place of a result: the headlines, then the explanations."""
        return [e.value for e in self.app.error] + [t.value for t in self.app.text]

    @property
    def box(self) -> str:
        """The text in the prompt box."""
        return str(self.app.text_input(key="prompt box").value)

    # --- our own components ---------------------------------------------------------------------

    def _components(self) -> dict[str, Any]:
        nodes = [node for node in self.app.main if node.type == "bidi_component"]
        return {node.key: node.proto for node in nodes}

    def shows(self, key: str) -> bool:
        return key in self._components()

    def data(self, key: str) -> dict[str, Any]:
        """What the component of that key was last told to show."""
        return dict(json.loads(self._components()[key].json))

    def sentence(self, key: str) -> str:
        return "".join(text for text, _ in self.data(key)["parts"])

    def pick(self, key: str, value: int) -> None:
        """A click in the component of that key, as the browser sends it."""
        component = self._components()[key]
        subject = self.data(key)["subject"]
        nonce = self.data(key)["nonce"] + 1
        pick = {"pick": {"value": value, "subject": subject, "nonce": nonce}}
        self._send(WidgetState(id=component.id, json_value=json.dumps(pick)))

    def _send(self, changed: WidgetState) -> None:
        """Run with one widget changed in a way that AppTest has no method for."""
        states = self.app._tree.get_widget_states()
        kept = [state for state in states.widgets if state.id != changed.id]
        self.app._run(WidgetStates(widgets=[*kept, changed]))
        self.no_traceback()

    # --- Streamlit's own ------------------------------------------------------------------------

    def press(self, label: str) -> None:
        (button,) = [button for button in self.app.button if button.label == label]
        button.click()
        self.run()

    def submit(self, text: str, button: str = "Trace") -> None:
        """Type a text into the prompt box and press a button of its form."""
        self.app.text_input(key="prompt box").set_value(text)
        self.press(button)

    def open_checkpoint(self, typed: str | Path) -> None:
        """Type a path, or a sample's name, into the checkpoint picker."""
        picker = self.app.selectbox(key="picked checkpoint")
        self._send(WidgetState(id=picker.proto.id, string_value=str(typed)))

    def choose(self, key: str, value: object) -> None:
        """Set a segmented control or a select box."""
        for group in (self.app.button_group, self.app.selectbox):
            for widget in group:
                if widget.key == key:
                    widget.set_value(value)
                    self.run()
                    return
        raise AssertionError(f"the page shows no {key!r}")

    def table(self, column: str) -> pd.DataFrame:
        """The one table on the page that has such a column."""
        (frame,) = [node.value for node in self.app.dataframe if column in node.value]
        assert isinstance(frame, pd.DataFrame)
        return frame

    def markdown(self) -> list[str]:
        """Every text on the page that the browser reads as Markdown."""
        app = self.app
        found = [node.value for kind in (app.markdown, app.caption, app.error) for node in kind]
        found += [node.value for kind in (app.info, app.success, app.title) for node in kind]
        found += [node.value for node in app.subheader]
        found += [button.label for button in app.button]
        return [str(text) for text in found]
