"""The point map in a real browser: pointer, keyboard, areas, density, and no WebGL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Position, expect

from tests.browser.app_server import PATIENCE, served

pytestmark = pytest.mark.browser

PAGE = Path(__file__).with_name("point_map_page.py")
SIDE = 20
MAP = (
    "document.querySelector('.st-key-map [data-testid=stBidiComponentIsolated]')"
    "?.shadowRoot?.querySelector('.point-map')?.map"
)
NO_WEBGL = """
const real = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
  return kind === "webgl2" ? null : real.call(this, kind, ...more);
};
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("cache"), PAGE) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    open_map(page, address)
    yield page
    context.close()
    assert failures == []


def open_map(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_function(f"{MAP}?.tips && {MAP}.digests.colours && !{MAP}.pointsAreStale")


def canvas(page: Page) -> Locator:
    return page.locator("canvas.overlay")


def place(page: Page, column: float, row: float) -> Position:
    """Where the point of a row and column lies on the canvas, all points in view."""
    found: Position = page.evaluate(
        f"""([column, row]) => {{
          const map = {MAP};
          const {{ left, right, top, bottom }} = map.index.bounds;
          const across = (map.width - 68) / (right - left);
          const down = (map.height - 68) / (bottom - top);
          const scale = Math.min(across, down);
          const x = left + (column / {SIDE - 1}) * (right - left) - (left + right) / 2;
          const y = top + (row / {SIDE - 1}) * (bottom - top) - (top + bottom) / 2;
          return {{ x: x * scale + map.width / 2, y: y * scale + map.height / 2 }};
        }}""",
        [column, row],
    )
    return found


def says(page: Page, text: str) -> None:
    expect(page.get_by_text(text)).to_be_visible()


def pixel(page: Page, layer: str, spot: Position) -> list[int]:
    """The colour of a layer of the map at a position in CSS pixels."""
    colour: list[int] = page.evaluate(
        f"""([layer, x, y]) => {{
          const map = {MAP};
          const brush = new OffscreenCanvas(1, 1).getContext("2d");
          brush.drawImage(map.canvases[layer], x, y, 1, 1, 0, 0, 1, 1);
          return [...brush.getImageData(0, 0, 1, 1).data];
        }}""",
        [layer, spot["x"], spot["y"]],
    )
    return colour


def drag(page: Page, start: Position, end: Position) -> None:
    box = canvas(page).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + start["x"], box["y"] + start["y"])
    page.mouse.down()
    page.mouse.move(box["x"] + end["x"], box["y"] + end["y"], steps=6)
    page.mouse.up()


def test_a_click_selects_the_point_under_it(page: Page) -> None:
    canvas(page).click(position=place(page, 4, 7))
    says(page, f"slot {7 * SIDE + 4}, 0 in the area")
    expect(page.locator(".said")).to_contain_text("L1·(7,4)")


def test_hovering_tells_address_and_tokens_as_text(page: Page) -> None:
    canvas(page).hover(position=place(page, 5, 2))
    tip = page.locator(".tooltip")
    expect(tip).to_contain_text("L1·(2,5) · slot 45")
    expect(tip).to_contain_text("<img·src=x·onerror")
    expect(tip).to_contain_text("half: left")
    assert page.locator(".point-map img").count() == 0
    assert page.title() == "point map"


def test_a_box_selects_what_lies_in_it_and_outlives_a_reload(page: Page) -> None:
    page.get_by_title("Drag selects a box").click()
    drag(page, place(page, 1.5, 1.5), place(page, 4.5, 3.5))
    says(page, "slot None, 6 in the area")
    assert page.evaluate(f"{MAP}.litCount") == 6
    open_map(page, page.url)
    says(page, "slot None, 6 in the area")
    page.wait_for_function(f"{MAP}.litCount === 6")
    page.get_by_role("button", name="Clear the area").click()
    says(page, "slot None, 0 in the area")
    page.wait_for_function(f"{MAP}.litCount === {SIDE * SIDE}")


def test_shift_and_drag_selects_and_a_lasso_too(page: Page) -> None:
    page.keyboard.down("Shift")
    drag(page, place(page, -0.5, -0.5), place(page, 1.5, 0.5))
    page.keyboard.up("Shift")
    says(page, "slot None, 2 in the area")
    page.get_by_title("Drag draws a lasso").click()
    box = canvas(page).bounding_box()
    assert box is not None
    for number, (column, row) in enumerate([(5.5, 5.5), (8.5, 5.5), (8.5, 7.5), (5.5, 7.5)]):
        spot = place(page, column, row)
        page.mouse.move(box["x"] + spot["x"], box["y"] + spot["y"], steps=8)
        if number == 0:
            page.mouse.down()
    page.mouse.up()
    says(page, "slot None, 6 in the area")


def test_the_map_works_by_keyboard(page: Page) -> None:
    canvas(page).focus()
    page.keyboard.press("Home")
    expect(page.locator(".said")).to_contain_text("L1·(0,0)")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".said")).to_contain_text("L1·(1,1)")
    page.keyboard.press("Enter")
    says(page, f"slot {SIDE + 1}, 0 in the area")
    page.get_by_title("Drag selects a box").click()
    canvas(page).focus()
    for key in ("Home", "Enter", "ArrowRight", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    says(page, f"slot {SIDE + 1}, 4 in the area")


def test_what_was_not_found_turns_grey_and_stays(page: Page) -> None:
    page.evaluate(f"Object.assign({MAP}.root, {{ same: true }}).same")
    page.get_by_text("search").click()
    page.wait_for_function(f"{MAP}.litCount === {SIDE}")
    assert page.evaluate(f"{MAP}.root.same")  # the map stays in place, with its view
    assert page.evaluate(f"{MAP}.index.count") == SIDE * SIDE
    canvas(page).focus()
    page.keyboard.press("Home")
    expect(page.locator(".said")).to_contain_text("L1·(3,0)")
    canvas(page).click(position=place(page, 6, 9))  # a grey point can be opened as well
    says(page, f"slot {9 * SIDE + 6}, 0 in the area")


def test_a_change_of_colours_sends_no_places(page: Page) -> None:
    before = page.evaluate(f"({{ ...{MAP}.digests }})")
    expect(page.locator(".legend-entry").nth(1)).to_contain_text("<img src=x")
    page.get_by_text("rows", exact=True).click()
    page.wait_for_function(f"{MAP}.digests.colours !== '{before['colours']}'")
    after = page.evaluate(f"({{ ...{MAP}.digests }})")
    assert {name for name in before if before[name] != after[name]} == {"colours"}
    expect(page.locator(".color-bar")).to_be_visible()


def test_zoom_and_pan_come_back(page: Page) -> None:
    canvas(page).hover(position=place(page, 3, 3))
    page.mouse.wheel(0, -400)
    page.wait_for_function(f"{MAP}.view.zoom > 1.5")
    before = page.evaluate(f"{MAP}.view.x")
    drag(page, {"x": 300, "y": 250}, {"x": 200, "y": 200})
    assert page.evaluate(f"{MAP}.view.x") > before
    canvas(page).focus()
    page.keyboard.press("0")
    page.wait_for_function(f"{MAP}.view.zoom === 1")
    says(page, "slot None, 0 in the area")


def test_too_many_points_are_a_density_picture_until_one_zooms_in(page: Page, address: str) -> None:
    open_map(page, f"{address}/?side=250")
    expect(page.locator(".point-map")).to_have_attribute("data-picture", "density")
    middle = {"x": 600.0, "y": 250.0}
    canvas(page).hover(position=middle)  # type: ignore[arg-type]
    for _ in range(3):
        page.mouse.wheel(0, -300)
    expect(page.locator(".point-map")).to_have_attribute("data-picture", "points")


def test_without_webgl_the_map_is_drawn_all_the_same(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.add_init_script(NO_WEBGL)
    open_map(page, f"{address}/?side=100")
    expect(page.locator(".point-map")).to_have_attribute("data-picture", "density")
    spots = [place(page, SIDE * share, SIDE / 2 + 0.02) for share in (0.3, 0.7)]
    left, right = (pixel(page, "density", spot) for spot in spots)
    assert left[3] > 0
    assert left[:3] != right[:3]  # the mean colours of the two halves
    open_map(page, address)
    expect(page.locator(".point-map")).to_have_attribute("data-picture", "points")
    assert pixel(page, "density", place(page, 4, 7))[3] > 100
    canvas(page).click(position=place(page, 4, 7))
    says(page, f"slot {7 * SIDE + 4}, 0 in the area")
    context.close()
