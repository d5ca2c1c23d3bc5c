"""A link to a checkpoint on the Hub: nothing is fetched before a click, and then it opens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.families.small_hub import SmallHub, serving
from tests.pages.user_session import UserSession


@pytest.fixture
def hub(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SmallHub]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    name = f"org/{tmp_path.name}"  # jobs are kept by it
    with serving(SmallHub({name: tiny_checkpoint()})) as served:
        template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield served


def wait(session: UserSession, ready: Callable[[], object]) -> None:
    """Run the page again until it is."""
    end = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < end, [element.value for element in session.app.main]
        time.sleep(0.05)
        session.run()


def offers(session: UserSession) -> list[str]:
    return [button.label for button in session.app.button if button.label.startswith("Fetch it")]


def test_it_takes_a_click(hub: SmallHub) -> None:
    (name,) = hub.repositories
    session = UserSession("checkpoint", checkpoint=name)
    wait(session, lambda: offers(session))
    assert hub.files_sent() == [], "a link alone fetches nothing"
    (label,) = offers(session)
    assert "GB, 5 files" in label
    session.press(label)
    wait(session, lambda: session.shows("headline"))
    report = session.table("found").set_index("")["found"]
    assert report["Family"].startswith("native")
    assert session.sentence("headline").startswith(f"{name} keeps")
    assert session.url["checkpoint"] == name
    hub.failing = True
    again = UserSession("checkpoint", checkpoint=name)
    assert again.sentence("headline").startswith(name), "it is kept"


def test_a_name_that_isnt_there_is_told(hub: SmallHub, tmp_path: Path) -> None:
    session = UserSession("checkpoint", checkpoint=f"org/typo-{tmp_path.name}")
    wait(session, lambda: session.app.error)
    assert session.errors[0] == "It could not be fetched."
    assert "no such repository on the Hub" in session.errors[1]


def test_a_gated_repository_is_told(hub: SmallHub) -> None:
    (name,) = hub.repositories
    hub.gated.add(name)
    session = UserSession("checkpoint", checkpoint=name)
    wait(session, lambda: offers(session))
    session.press(offers(session)[0])
    wait(session, lambda: session.app.error)
    assert "is gated" in session.errors[1]
    assert offers(session), "it can be tried again"
