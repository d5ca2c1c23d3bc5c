"""The app as a new user meets it, in a real browser."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.browser.app_server import PATIENCE, ROOT, served

pytestmark = pytest.mark.browser

SAMPLE = ROOT / "sample_checkpoints" / "world-facts"
TEXT = "Lima is the capital of"
HEADLINE = ".st-key-headline .sentence"
# Streamlit looks for its own server below the path of a page before it looks at the root.
OWN_PROBE = re.compile(r"/\w+/_stcore/(health|host-config)$")
needs_sample = pytest.mark.skipif(
    not SAMPLE.is_dir(), reason=f"{SAMPLE.name} is not there yet: inspector train makes it"
)


class Visitor:
    """A browser of its own, that notes what went wrong and whom it asked."""

    def __init__(self, browser: Browser, scheme: str = "light") -> None:
        self.context: BrowserContext = browser.new_context(
            color_scheme=scheme,  # type: ignore[arg-type]
            viewport={"width": 1280, "height": 1200},
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.failures: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("pageerror", lambda error: self.failures.append(str(error)))
        self.page.on(
            "console",
            lambda message: (
                self.failures.append(f"{message.text} {message.location['url']}")
                if message.type == "error" and not OWN_PROBE.search(message.location["url"])
                else None
            ),
        )
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def open(self, url: str) -> Page:
        self.page.goto(url)
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until the page shows a view, and nothing is running."""
        self.page.locator(HEADLINE).wait_for()
        self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()

    def close(self, address: str) -> None:
        self.context.close()
        assert self.failures == []
        assert self.hosts - {""} == {urlsplit(address).netloc}, "the page asked someone else"


@pytest.fixture
def visitor(browser: Browser, address: str) -> Iterator[Visitor]:
    visitor = Visitor(browser)
    yield visitor
    visitor.close(address)


def link(address: str, page: str, **entries: object) -> str:
    return f"{address}/{page}?{urlencode({k: str(v) for k, v in entries.items()})}"


def entries_of(url: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(urlsplit(url).query).items()}


def tokens_of(page: Page) -> Locator:
    return page.locator(".token-strip .token")


def view_of(page: Page) -> dict[str, object]:
    """What is shown, in words and numbers."""
    page.locator(".st-key-headline .sentence").wait_for()
    page.locator("tbody tr").first.wait_for()
    return {
        "headline": page.locator(HEADLINE).text_content(),
        "tokens": tokens_of(page).all_text_contents(),
        "selected": page.locator(".token-strip [aria-selected=true]").get_attribute("data-index"),
        "predictions": page.locator(".prediction").all_text_contents(),
        "slot": page.get_by_test_id("stCode").text_content(),
        "rows": page.locator("tbody tr").all_text_contents(),
    }


def selected(page: Page, index: int) -> None:
    expect(tokens_of(page).nth(index)).to_have_attribute("aria-selected", "true")


def says(page: Page, text: str | re.Pattern[str]) -> None:
    expect(page.locator(HEADLINE)).to_contain_text(text)


# --- a new user ---------------------------------------------------------------------------------


@needs_sample
def test_a_new_user_sees_a_real_model_recall_a_real_fact(visitor: Visitor, address: str) -> None:
    page = visitor.open(address)
    expect(page.get_by_role("heading", name="Checkpoint", exact=True)).to_be_visible()
    says(page, "adds up to what the model computes")
    expect(page.get_by_text("The capital of France is")).to_be_visible()
    expect(page.locator(".prediction").first).to_contain_text("Paris")
    page.get_by_role("button", name="See what fired").click()
    page.wait_for_url(re.compile("/trace"))
    says(page, "·Paris")
    expect(page.get_by_role("heading", name="Trace", exact=True)).to_be_visible()
    expect(page.locator(".prediction").first).to_contain_text("Paris")
    expect(page.get_by_role("textbox", name="Text")).to_have_value("The capital of France is")
    expect(page.locator("tbody tr").first).to_contain_text(re.compile(r"L\d·H\d·\(\d+,\d+\)"))


@needs_sample
def test_an_example_fact_is_one_click_away(visitor: Visitor, address: str) -> None:
    page = visitor.open(f"{address}/trace")
    page.get_by_role("button", name="currency").click()
    box = page.get_by_role("textbox", name="Text")
    expect(box).to_have_value(re.compile("Japan"))
    says(page, "·Yen")


# --- one view, and its address ------------------------------------------------------------------


def test_a_token_is_clicked_and_everything_follows(
    visitor: Visitor, address: str, checkpoint: Path
) -> None:
    page = visitor.open(link(address, "trace", checkpoint=checkpoint, text=TEXT))
    before = view_of(page)
    tokens_of(page).nth(2).click()
    page.wait_for_url(re.compile(r"[?&]pos=2(&|$)"))
    selected(page, 2)
    says(page, f"After {page.locator('.token').nth(2).text_content()} the model says")
    visitor.settle()
    after = view_of(page)
    assert after["tokens"] == before["tokens"]
    assert after["predictions"] != before["predictions"]
    assert after["rows"] != before["rows"]
    tokens_of(page).nth(2).press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"[?&]pos=3(&|$)"))
    selected(page, 3)


def test_a_read_is_clicked_and_its_slot_is_shown(
    visitor: Visitor, address: str, checkpoint: Path
) -> None:
    page = visitor.open(link(address, "trace", checkpoint=checkpoint, text=TEXT, site="L2"))
    row = page.locator("tbody tr").nth(6)
    read = row.locator(".address-text").text_content()
    row.locator("td").nth(2).click()
    page.wait_for_url(re.compile("slot="))
    expect(page.get_by_test_id("stCode")).to_contain_text(str(read))
    i, j = map(int, re.findall(r"\d+", str(read))[-2:])
    assert entries_of(page.url)["slot"] == str(8 * i + j)
    assert entries_of(page.url)["site"] == "L2"


def test_the_address_of_a_view_shows_it_in_another_browser(
    visitor: Visitor, browser: Browser, address: str, checkpoint: Path
) -> None:
    page = visitor.open(link(address, "trace", checkpoint=checkpoint))
    box = page.get_by_role("textbox", name="Text")
    box.fill("Kenya speaks 100 % Swahili & more? é 😀 #1")
    box.press("Enter")
    page.wait_for_url(re.compile("Kenya"))
    visitor.settle()
    tokens_of(page).nth(3).click()
    page.wait_for_url(re.compile("pos=3"))
    visitor.settle()
    other = page.get_by_role("radio", name=re.compile(r"^L\d"), checked=False)
    site = str(other.text_content())[:2]
    other.click()
    page.wait_for_url(re.compile(f"site={site}"))
    expect(page.locator("tbody tr").first).to_contain_text(f"{site}·")
    page.locator("tbody tr").nth(4).locator("td").nth(2).click()
    page.wait_for_url(re.compile("slot="))
    visitor.settle()
    friend = Visitor(browser, "dark")
    try:
        assert view_of(friend.open(page.url)) == view_of(page)
        assert friend.page.url == page.url
    finally:
        friend.close(address)


def test_the_first_link_a_fresh_server_sees_shows_its_view(
    browser: Browser, checkpoint: Path, tmp_path: Path
) -> None:
    with served(tmp_path) as address:
        visitor = Visitor(browser)
        entries = {
            "checkpoint": str(checkpoint),
            "text": TEXT,
            "pos": "2",
            "site": "L0",
            "slot": "13",
        }
        page = visitor.open(link(address, "trace", **entries))
        expect(page.get_by_role("heading", name="Trace", exact=True)).to_be_visible()
        selected(page, 2)
        expect(page.get_by_test_id("stCode")).to_contain_text("(1,5)")
        expect(page.locator("tbody tr").first).to_contain_text("L0·H0")
        expect(page.get_by_role("textbox", name="Text")).to_have_value(TEXT)
        sidebar = page.get_by_test_id("stSidebar")
        expect(sidebar.get_by_role("link", name="Checkpoint")).to_be_visible()
        expect(sidebar.get_by_role("link", name="Trace")).to_be_visible()
        expect(sidebar.get_by_text("2 memory layers")).to_be_visible()
        assert urlsplit(page.url).path == "/trace"
        assert entries_of(page.url) == entries
        visitor.close(address)


def test_back_leads_to_the_view_before(visitor: Visitor, address: str, checkpoint: Path) -> None:
    page = visitor.open(link(address, "trace", checkpoint=checkpoint, text=TEXT, pos=4, slot=3))
    for token in (1, 3):
        tokens_of(page).nth(token).click()
        page.wait_for_url(re.compile(f"pos={token}"))
        visitor.settle()
    page.go_back()
    selected(page, 1)
    page.go_back()
    selected(page, 4)
    assert entries_of(page.url)["slot"] == "3"
    page.go_forward()
    selected(page, 1)
    assert "slot" not in entries_of(page.url)


def test_the_view_survives_another_page_and_a_reload(
    visitor: Visitor, address: str, checkpoint: Path
) -> None:
    page = visitor.open(link(address, "trace", checkpoint=checkpoint, text=TEXT, pos=2))
    shown = view_of(page)
    page.get_by_role("link", name="Checkpoint").click()
    says(page, "tiny keeps")
    page.get_by_role("link", name="Trace").click()
    says(page, "the model says")
    selected(page, 2)
    visitor.settle()
    assert view_of(page) == shown
    page.reload()
    visitor.settle()
    assert view_of(page) == shown


# --- texts --------------------------------------------------------------------------------------


def test_markup_in_the_text_is_shown_and_runs_nothing(
    visitor: Visitor, address: str, checkpoint: Path
) -> None:
    page = visitor.open(link(address, "trace", checkpoint=checkpoint, text=TEXT))
    attack = '<img src="//x.y/z" onerror="hacked=1">'
    box = page.get_by_role("textbox", name="Text")
    box.fill(attack)
    box.press("Enter")
    page.wait_for_url(re.compile("img"))
    visitor.settle()
    shown = "".join(tokens_of(page).all_text_contents())
    assert shown == "<s>" + attack.replace(" ", "·")
    expect(box).to_have_value(attack)
    for token in (0, 3):
        tokens_of(page).nth(token).click()
        tokens_of(page).nth(token).hover()
        visitor.settle()
    assert page.locator("img[src*='x.y']").count() == 0
    assert page.evaluate("typeof hacked") == "undefined"


def test_a_text_that_is_too_long_stays_in_the_box(
    visitor: Visitor, address: str, checkpoint: Path
) -> None:
    page = visitor.open(link(address, "trace", checkpoint=checkpoint, text=TEXT))
    long = "words and more words " * 10
    box = page.get_by_role("textbox", name="Text")
    box.fill(long)
    box.press("Enter")
    expect(page.get_by_text("Nothing was traced.")).to_be_visible()
    expect(page.get_by_text(re.compile("64 positions"))).to_be_visible()
    expect(box).to_have_value(long)
    box.fill("")
    box.press("Enter")
    expect(page.get_by_text("The prompt is empty.")).to_be_visible()
    box.fill(TEXT)
    box.press("Enter")
    says(page, "the model says")


def test_what_is_typed_but_not_sent_is_not_lost(
    visitor: Visitor, address: str, checkpoint: Path
) -> None:
    page = visitor.open(link(address, "trace", checkpoint=checkpoint, text=TEXT))
    box = page.get_by_role("textbox", name="Text")
    box.fill("half a thought")
    tokens_of(page).nth(1).click()
    page.wait_for_url(re.compile("pos=1"))
    visitor.settle()
    expect(box).to_have_value("half a thought")


def test_the_model_writes_on(visitor: Visitor, address: str, checkpoint: Path) -> None:
    page = visitor.open(link(address, "trace", checkpoint=checkpoint, text=TEXT))
    tokens_of(page).first.wait_for()  # the strip is drawn after the script has ended
    count = tokens_of(page).count()
    page.get_by_role("button", name="Generate").click()
    page.wait_for_url(re.compile("more="))
    expect(page.locator(".token-strip .generated").first).to_be_visible()
    visitor.settle()
    assert tokens_of(page).count() == count + page.locator(".token-strip .generated").count()


def test_a_path_is_typed_and_opened(visitor: Visitor, address: str, checkpoint: Path) -> None:
    page = visitor.page
    page.goto(link(address, "", checkpoint="nowhere/at/all"))
    expect(page.get_by_text("This checkpoint could not be opened.")).to_be_visible()
    expect(page.get_by_text("There is nothing at nowhere/at/all")).to_be_visible()
    picker = page.get_by_role("combobox", name=re.compile("Checkpoint"))
    picker.fill(str(checkpoint))
    picker.press("Enter")
    says(page, "tiny keeps")
    assert entries_of(page.url)["checkpoint"] == str(checkpoint)


# --- tables and themes --------------------------------------------------------------------------


def test_tables_are_downloaded(visitor: Visitor, address: str, checkpoint: Path) -> None:
    page = visitor.open(link(address, "trace", checkpoint=checkpoint, text=TEXT))
    tokens_of(page).first.wait_for()  # the strip is drawn after the script has ended
    tokens = tokens_of(page).count()
    for name, file, rows in (
        ("All reads (CSV)", "reads.csv", tokens * 2 * 2 * 4),
        ("Predictions (CSV)", "predictions.csv", tokens * 5),
        ("Direct effects (CSV)", "direct_effects.csv", 9),
    ):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=name).click()
        assert waiting.value.suggested_filename == file
        with Path(waiting.value.path()).open(encoding="utf-8", newline="") as opened:
            assert len(list(csv.DictReader(opened))) == rows


@pytest.mark.parametrize("page_name", ["", "trace"])
def test_both_themes_are_finished(
    browser: Browser, address: str, checkpoint: Path, page_name: str
) -> None:
    """The theme follows the system, and so do our own components."""
    brightness = {}
    for scheme in ("light", "dark"):
        visitor = Visitor(browser, scheme)
        page = visitor.open(link(address, page_name, checkpoint=checkpoint, text=TEXT))
        colours = {
            "page": colour(page, "[data-testid=stApp]", "backgroundColor"),
            "text": colour(page, HEADLINE, "color"),
        }
        brightness[scheme] = {part: sum(rgb) / 3 for part, rgb in colours.items()}
        visitor.close(address)
    assert brightness["light"]["page"] > 230
    assert brightness["dark"]["page"] < 60
    assert brightness["light"]["text"] < 80
    assert brightness["dark"]["text"] > 180


def colour(page: Page, selector: str, which: str) -> list[int]:
    value = page.locator(selector).first.evaluate(f"(node) => getComputedStyle(node).{which}")
    return [int(part) for part in re.findall(r"\d+", value)[:3]]


def test_the_user_switches_the_theme_in_the_browser(
    visitor: Visitor, address: str, checkpoint: Path
) -> None:
    page = visitor.open(link(address, "trace", checkpoint=checkpoint, text=TEXT))
    light = colour(page, "[data-testid=stApp]", "backgroundColor")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "(light) => getComputedStyle(document.querySelector('[data-testid=stApp]'))"
        ".backgroundColor !== light",
        arg=f"rgb({', '.join(map(str, light))})",
    )
    assert sum(colour(page, HEADLINE, "color")) > 540
