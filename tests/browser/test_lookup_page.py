"""The lookup page in a real browser: on a projector, by keyboard, in both themes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect

from inspector.ui.lookup_lesson import LESSON
from tests.browser.app_server import PATIENCE

pytestmark = pytest.mark.browser

PROJECTOR = {"width": 1280, "height": 720}
STEPS = len(LESSON)
FITS = "most => document.querySelector('[data-testid=stMain]').scrollHeight <= most"


def link(address: str, checkpoint: Path, **entries: object) -> str:
    return f"{address}/lookup?{urlencode({'checkpoint': checkpoint, **entries})}"


def heading(page: Page, number: int) -> None:
    expect(
        page.get_by_role("heading", name=f"{number} · {LESSON[number - 1].title}")
    ).to_be_visible()


def settled(page: Page) -> None:
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    page.wait_for_timeout(300)


def press(page: Page, key: str, leads_to: int) -> None:
    """Press a key until its step is there: one pressed while the page is drawn anew is lost."""
    settled(page)
    for _ in range(4):
        page.keyboard.press(key)
        with suppress(AssertionError):
            expect(page.get_by_role("heading", name=f"{leads_to} · ")).to_be_visible(timeout=10_000)
            return
    heading(page, leads_to)


def test_a_first_deep_link_shows_its_step_and_survives_a_reload(
    page: Page, address: str, checkpoint: Path
) -> None:
    page.goto(link(address, checkpoint, step=6))
    heading(page, 6)
    page.reload()
    heading(page, 6)


@pytest.mark.parametrize(("view", "scheme"), [("model", "dark"), ("tiny", "light")])
def test_a_presenter_walks_through_by_keyboard_and_nothing_scrolls(
    browser: Browser, address: str, checkpoint: Path, view: str, scheme: str
) -> None:
    context = browser.new_context(viewport=PROJECTOR, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(link(address, checkpoint, view=view))
    for number in range(1, STEPS + 1):
        heading(page, number)
        settled(page)
        page.wait_for_function(FITS, arg=PROJECTOR["height"] + 2)
        if number < STEPS:
            page.get_by_role("button", name="Next").click()
    press(page, "PageUp", STEPS - 1)
    press(page, "PageDown", STEPS)
    press(page, "PageUp", STEPS - 1)
    assert f"step={STEPS - 1}" in page.url
    assert failures == []
    context.close()
