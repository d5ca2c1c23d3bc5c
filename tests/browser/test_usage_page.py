"""A scan in a real browser: it outlives the page that started it, and can be stopped."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser

HEADLINE = ".st-key-usage-headline .sentence"
SENTENCES = "Lima is the capital of Peru\nOslo is cold\nA city by the sea\n"


def corpus(folder: Path, times: int) -> Path:
    file = folder / "corpus.txt"
    file.write_text(SENTENCES * times)
    return file


def link(address: str, checkpoint: Path, **entries: object) -> str:
    return f"{address}/usage?{urlencode({'checkpoint': checkpoint, **entries})}"


def start(page: Page, file: Path) -> None:
    """Type the path of a corpus and press Scan."""
    box = page.get_by_role("textbox", name="Path of the corpus")
    box.fill(str(file))
    box.press("Enter")
    page.get_by_role("button", name="Scan", exact=True).click()


def test_a_scan_outlives_its_page_and_is_seen_from_elsewhere(
    page: Page, browser: Browser, address: str, checkpoint: Path, tmp_path: Path
) -> None:
    page.goto(link(address, checkpoint))
    start(page, corpus(tmp_path, 4000))
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    page.get_by_role("link", name="Trace").click()
    expect(page.get_by_role("heading", name="Trace")).to_be_visible()
    page.get_by_role("link", name="Usage").click()
    expect(page.locator(HEADLINE)).to_contain_text("values are dead")
    found = page.locator(HEADLINE).text_content()
    page.reload()
    expect(page.locator(HEADLINE)).to_have_text(str(found))
    other = browser.new_context().new_page()
    other.goto(page.url)
    expect(other.locator(HEADLINE)).to_have_text(str(found))
    other.context.close()


def test_a_stopped_scan_keeps_what_was_counted(
    page: Page, address: str, checkpoint: Path, tmp_path: Path
) -> None:
    page.goto(link(address, checkpoint))
    start(page, corpus(tmp_path, 200_000))
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(HEADLINE)).to_contain_text("values are dead")
    expect(page.get_by_text("This scan was stopped before the corpus ended")).to_be_visible()
