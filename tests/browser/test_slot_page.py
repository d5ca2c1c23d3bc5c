"""The slot page in a real browser: links lead to it, texts are tried, its file stands alone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect

from inspector.analyses.facts import Fact, write_facts

pytestmark = pytest.mark.browser

HEADLINE = ".st-key-slot-headline .sentence"
SLOT = 13  # (1,5) of 8 x 8
FACTS = [
    Fact("capital", subject, answer, (f"The capital of {subject} is",))
    for subject, answer in (("Peru", "Lima"), ("Canada", "Ottawa"), ("<b>x</b>", "Lima"))
]


@pytest.fixture(scope="module")
def checkpoint(
    tiny_checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("slot") / "checkpoint"
    shutil.copytree(tiny_checkpoint(), folder)
    write_facts(folder / "facts.jsonl", FACTS)
    return folder


@pytest.fixture
def height() -> int:
    return 2400


def link(address: str, checkpoint: Path, **entries: object) -> str:
    return f"{address}/slot?{urlencode({'checkpoint': checkpoint, **entries})}"


def test_a_first_link_to_a_slot_shows_it_within_the_frame(
    page: Page, address: str, checkpoint: Path
) -> None:
    """The server has not been visited before; nor has it scanned anything."""
    page.goto(link(address, checkpoint, site="L2", slot=SLOT, corpus="facts"))
    headline = page.locator(HEADLINE)
    expect(headline).to_contain_text("L2·(1,5)")
    expect(page.get_by_role("link", name="Trace")).to_be_visible()
    expect(headline).to_contain_text(re.compile(r"it was read|no read of it"))  # scanned by itself
    expect(page.get_by_text("facts read it there")).to_be_visible()
    expect(page.get_by_text("distinct contexts.").first).to_be_visible()
    found = headline.text_content()
    page.reload()
    expect(headline).to_have_text(str(found))
    assert "slot=13" in page.url
    assert "site=L2" in page.url


def test_an_address_is_typed_and_a_garbled_one_told(
    page: Page, address: str, checkpoint: Path
) -> None:
    page.goto(link(address, checkpoint, site="L2", slot=SLOT))
    box = page.get_by_role("textbox", name="Slot")
    expect(box).to_have_value("L2·(1,5)")
    box.fill("L0 H1 3,7")
    box.press("Enter")
    expect(page.locator(HEADLINE)).to_contain_text("L0·H1·(3,7)")
    box.fill("<img src=x onerror=alert(1)>")
    box.press("Enter")
    expect(page.get_by_text("is no address of a slot")).to_be_visible()
    expect(page.locator(HEADLINE)).to_contain_text("L0·H1·(3,7)")
    expect(box).to_have_value("L0·H1·(3,7)")


def test_a_text_is_tried_and_the_link_keeps_it(page: Page, address: str, checkpoint: Path) -> None:
    page.goto(link(address, checkpoint, site="L2", slot=SLOT))
    box = page.locator(".st-key-slot-try-box input")
    box.fill("Oslo is <b>cold</b>")
    box.press("Enter")
    strip = page.locator(".st-key-slot-try-strip .token")
    expect(strip.first).to_be_visible()
    verdict = page.locator(".st-key-slot-try-verdict .sentence")
    expect(verdict).to_contain_text(re.compile("read it|No token reads it"))
    page.wait_for_url(re.compile("text="))
    expect(strip.nth(1)).to_have_text("O")
    strip.nth(2).click()
    page.wait_for_url(re.compile(r"pos=2"))
    tokens = strip.all_text_contents()
    page.reload()
    expect(strip.nth(2)).to_have_attribute("aria-selected", "true")
    assert strip.all_text_contents() == tokens


def test_a_value_like_it_is_opened_by_a_click(page: Page, address: str, checkpoint: Path) -> None:
    page.goto(link(address, checkpoint, site="L2", slot=SLOT))
    row = page.locator(".st-key-slot-nearest tbody tr").first
    shown = str(row.locator(".address-text").text_content())
    row.locator("td").last.click()
    expect(page.locator(HEADLINE)).to_contain_text(shown)
    page.go_back()
    expect(page.locator(HEADLINE)).to_contain_text("L2·(1,5)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_file_opens_without_a_server(
    page: Page, browser: Browser, address: str, checkpoint: Path, tmp_path: Path, scheme: str
) -> None:
    page.goto(link(address, checkpoint, site="L2", slot=SLOT, corpus="facts"))
    expect(page.get_by_text("facts read it there")).to_be_visible()
    expect(page.get_by_text("distinct contexts.").first).to_be_visible()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save this page as one HTML file").click()
    file = tmp_path / saved.value.suggested_filename
    saved.value.save_as(file)
    assert file.name == "slot_L2_1_5.html"

    context = browser.new_context(offline=True, color_scheme=scheme)  # type: ignore[arg-type]
    alone = context.new_page()
    asked: list[str] = []
    failures: list[str] = []
    alone.on("request", lambda request: asked.append(request.url))
    alone.on("pageerror", lambda error: failures.append(str(error)))
    alone.on("console", lambda said: failures.append(said.text) if said.type == "error" else None)
    alone.goto(file.as_uri())
    expect(alone.locator(".lead")).to_have_text(str(page.locator(HEADLINE).text_content()))
    expect(alone.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    ground = alone.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(14, 17, 24)"}[scheme]
    assert alone.locator("td b:text-is('x')").count() == 0
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert failures == []
    context.close()
