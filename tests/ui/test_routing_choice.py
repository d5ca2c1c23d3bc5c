"""The choice of Doge's routing on the checkpoint page, and loaders in the checkpoint box."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from inspector.capture.loaders import VARIABLE
from tests.conftest import SENTENCES
from tests.families.tiny_doge import write_doge
from tests.pages.user_session import UserSession
from tests.test_cli_loaders import MODELS


def report(session: UserSession) -> dict[str, str]:
    """The load report, by its rows."""
    frame = next(f for f in session.app.dataframe if f.value.columns.tolist() == ["", "found"])
    return dict(zip(frame.value[""], frame.value["found"], strict=True))


def told(session: UserSession) -> list[str]:
    """The sentences of the load report."""
    return [str(text.value) for text in session.app.text]


def test_the_routing_is_shown_and_can_be_changed(tmp_path: Path) -> None:
    path = write_doge(tmp_path / "doge", SENTENCES)
    session = UserSession("checkpoint", checkpoint=path, device="cpu")
    (choice,) = [c for c in session.app.segmented_control if c.label == "Routing"]
    assert choice.value == "token"
    assert any(said.startswith("Routing token. Every position is routed") for said in told(session))
    token = report(session)["Fingerprint"]
    choice.set_value("full")
    session.run()
    assert session.url["routing"] == "full"
    assert any(said.startswith("Routing full. ") for said in told(session))
    assert any("scans, facts" in said for said in told(session))
    assert report(session)["Fingerprint"] == f"{token}-full"


def test_others_have_no_choice(tiny_checkpoint: Callable[..., Path]) -> None:
    session = UserSession("checkpoint", checkpoint=tiny_checkpoint(), device="cpu")
    assert not [c for c in session.app.segmented_control if c.label == "Routing"]


def test_a_loader_of_your_own_is_opened_where_the_server_allows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    session = UserSession("checkpoint", checkpoint="app_models:load", device="cpu")
    assert any(f"{VARIABLE}=1" in said for said in session.errors)
    assert "app_models" not in sys.modules
    monkeypatch.setenv(VARIABLE, "1")
    session.run()
    assert "app_models:load keeps" in session.sentence("headline")
    assert report(session)["Family"].startswith("wrapped, because you gave it")
