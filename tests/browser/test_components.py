"""The components in a real browser: clicks, keys, themes, and text that tries to be markup."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Position, expect, sync_playwright

from tests.browser.app_server import FLAGS, PATIENCE, served

pytestmark = pytest.mark.browser

PAGE = Path(__file__).with_name("component_page.py")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Streamlit server of our own that shows component_page.py."""
    with served(tmp_path_factory.mktemp("cache"), PAGE) as address:
        yield address


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context(
        color_scheme="light",
        viewport={"width": 1280, "height": 1400},
        permissions=["clipboard-read", "clipboard-write"],
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    open_page(page, address)
    yield page
    context.close()
    assert failures == []


def open_page(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.get_by_text("token 0, slot")).to_be_visible(timeout=PATIENCE)
    for name in (".token", "tbody tr", ".prediction", ".chip"):
        page.locator(name).first.wait_for()
    page.wait_for_function(f"{GRID}?.levels")


GRID = "document.querySelector('.st-key-grid [data-testid=stBidiComponentIsolated]')?.shadowRoot"
GRID += "?.querySelector('.key-grid')?.grid"


def says(page: Page, text: str) -> None:
    expect(page.get_by_text(text)).to_be_visible(timeout=PATIENCE)


def token(page: Page, index: int) -> Locator:
    return page.locator(".token").nth(index)


def pixel(page: Page, spot: Position) -> list[int]:
    """The colour of the grid's canvas at a position in CSS pixels."""
    colour: list[int] = page.locator(".key-grid canvas").evaluate(
        "(canvas, [x, y]) => [...canvas.getContext('2d').getImageData("
        "x * devicePixelRatio, y * devicePixelRatio, 1, 1).data]",
        [spot["x"], spot["y"]],
    )
    return colour


def cell_position(page: Page, i: int, j: int) -> Position:
    """The canvas position of the centre of key (i, j), all 16 by 16 keys in view."""
    box = page.evaluate(f"{GRID}.area")
    width, height = box["width"] / 16, box["height"] / 16
    return {"x": box["left"] + (j + 0.5) * width, "y": box["top"] + (i + 0.5) * height}


def test_markup_in_a_token_stays_text(page: Page) -> None:
    shown = token(page, 4)
    expect(shown).to_have_text("·<img·src=x·onerror=\"document.title='broken·into'\">")
    for host in ("strip", "grid", "rows", "bars"):
        assert page.locator(f".st-key-{host} img").count() == 0
    shown.hover()
    expect(page.locator(".token-strip .tooltip")).to_contain_text("<img src=x onerror")
    page.locator(".key-grid canvas").focus()
    page.keyboard.press("End")
    expect(page.locator(".key-grid .tooltip")).to_contain_text("<img src=x onerror")
    assert page.title() == "components"


def test_white_space_shows_and_generated_tokens_are_marked(page: Page) -> None:
    texts = [token(page, index).text_content() for index in (1, 2, 3, 6)]
    assert texts == ["·tower", "⏎", "⇥in", "�"]
    tops = [token(page, index).bounding_box() for index in (2, 3)]
    assert tops[0] is not None
    assert tops[1] is not None
    assert tops[1]["y"] > tops[0]["y"] + 10
    assert page.locator(".token.generated").count() == 2


def test_a_click_selects_a_token_and_the_page_can_move_it(page: Page) -> None:
    token(page, 5).click()
    says(page, "token 5, slot")
    expect(token(page, 5)).to_have_attribute("aria-selected", "true")
    page.get_by_role("button", name="jump").click()
    says(page, "token 2, slot 255, row 2")
    expect(token(page, 2)).to_have_attribute("aria-selected", "true")
    expect(token(page, 5)).to_have_attribute("aria-selected", "false")
    page.get_by_role("button", name="nothing").click()
    page.wait_for_timeout(500)
    says(page, "token 2, slot 255, row 2")
    token(page, 5).click()
    says(page, "token 5, slot 255, row 2")


def test_the_last_of_many_quick_clicks_stays(page: Page) -> None:
    for index in (1, 2, 3, 4, 5):
        token(page, index).click()
    expect(token(page, 5)).to_have_attribute("aria-selected", "true")
    says(page, "token 5, slot")
    expect(token(page, 5)).to_have_attribute("aria-selected", "true")


def test_a_token_is_selected_by_keyboard(page: Page) -> None:
    token(page, 0).focus()
    page.keyboard.press("ArrowRight")
    expect(token(page, 1)).to_be_focused()
    expect(page.locator(".token-strip .tooltip")).to_contain_text("tip of 1")
    page.keyboard.press("End")
    expect(token(page, 7)).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(token(page, 2)).to_be_focused()
    page.keyboard.press("Enter")
    says(page, "token 2, slot")
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    says(page, "token 0, slot")


def test_a_thousand_tokens_scroll_to_the_selected_one(page: Page, address: str) -> None:
    open_page(page, f"{address}/?tokens=1024")
    expect(page.locator(".token")).to_have_count(1024)
    token(page, 0).focus()
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    says(page, "token 1023, slot")
    strip = page.locator(".tokens").bounding_box()
    last = token(page, 1023).bounding_box()
    assert strip is not None
    assert last is not None
    assert last["y"] + last["height"] <= strip["y"] + strip["height"] + 1


def test_the_grid_is_read_by_keyboard(page: Page) -> None:
    page.locator(".key-grid canvas").focus()
    page.keyboard.press("Home")
    expect(page.locator(".said")).to_have_text("L4·H0·(2,12)")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".said")).to_have_text("L4·H1·(2,3)")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".said")).to_have_text("L4·H1·(13,3)")
    page.keyboard.press("Enter")
    says(page, "slot 211")


def test_a_click_selects_an_empty_key(page: Page) -> None:
    canvas = page.locator(".key-grid canvas")
    canvas.hover(position=cell_position(page, 9, 7))
    expect(page.locator(".said")).to_have_text("slot 151 = (9, 7)")
    canvas.click(position=cell_position(page, 9, 7))
    says(page, "slot 151")


def test_the_grid_zooms_pans_and_comes_back(page: Page) -> None:
    canvas = page.locator(".key-grid canvas")
    canvas.hover(position=cell_position(page, 9, 7))
    page.mouse.wheel(0, -300)
    page.wait_for_function(f"{GRID}.view.zoom > 1.4")
    before = page.evaluate(f"{GRID}.view.left")
    page.mouse.down()
    page.mouse.move(300, 600, steps=4)
    page.mouse.up()
    assert page.evaluate(f"{GRID}.view.left") != before
    canvas.focus()
    page.keyboard.press("0")
    assert page.evaluate(f"{GRID}.view") == {"zoom": 1, "left": 0, "top": 0}
    says(page, "token 0, slot None")


def test_the_grid_follows_the_theme(page: Page) -> None:
    spot = cell_position(page, 0, 1)
    light = pixel(page, spot)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"{GRID}.colors.page !== '#ffffff'")
    page.wait_for_timeout(300)
    dark = pixel(page, spot)
    assert sum(light[:3]) > 600
    assert sum(dark[:3]) < 250


def test_rows_are_sorted_and_selected_by_their_own_index(page: Page) -> None:
    addresses = page.locator(".address-text")
    page.get_by_role("button", name="Weight").click()
    expect(addresses).to_have_text(["L4·H1·(2,3)", "L4·H0·(2,12)", "L4·H1·(13,3)"])
    expect(page.locator("th[aria-sort]")).to_have_attribute("aria-sort", "descending")
    page.locator("tbody tr").first.click()
    says(page, "row 1")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    says(page, "row 0")
    page.get_by_role("button", name="Weight").click()
    expect(addresses).to_have_text(["L4·H1·(13,3)", "L4·H0·(2,12)", "L4·H1·(2,3)"])
    page.get_by_role("button", name="Weight").click()
    expect(addresses).to_have_text(["L4·H0·(2,12)", "L4·H1·(2,3)", "L4·H1·(13,3)"])


def test_missing_figures_stay_last(page: Page) -> None:
    addresses = page.locator(".address-text")
    page.get_by_role("button", name="Effect").click()
    expect(addresses).to_have_text(["L4·H1·(2,3)", "L4·H0·(2,12)", "L4·H1·(13,3)"])
    page.get_by_role("button", name="Effect").click()
    expect(addresses).to_have_text(["L4·H0·(2,12)", "L4·H1·(2,3)", "L4·H1·(13,3)"])


def test_an_address_is_copied(page: Page) -> None:
    page.locator("tbody tr").nth(1).hover()
    page.locator(".copy").nth(1).click()
    expect(page.locator(".copy").nth(1)).to_have_class("copy copied")
    assert page.evaluate("navigator.clipboard.readText()") == "L4·H1·(2,3)"
    says(page, "row None")


def test_figures_and_tokens_of_the_table_are_shown(page: Page) -> None:
    effects = page.locator("td.diverging .figure")
    expect(effects).to_have_text(["\u22120.500", "+0.250"])
    expect(page.locator("td.promoted .chip").first).to_have_text("·Paris")
    expect(page.locator(".prediction-share")).to_have_text(["62.5 %", "12.5 %", "<0.1 %"])
