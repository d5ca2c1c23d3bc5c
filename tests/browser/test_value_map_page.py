"""The value map in a real browser: search, click, go on to the slot, and come back by the URL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from inspector.analyses.decoded_table import decode_table
from inspector.analyses.token_search import matching_tokens
from inspector.analyses.value_map import value_map
from inspector.capture.load import load
from inspector.ui.map_words import TOP
from tests.analyses.planted_map import HALF_KEYS, SLOTS, write_map_model
from tests.browser.app_server import served
from tests.conftest import SENTENCES as PLAIN
from tests.families.tiny_native import write_checkpoint

pytestmark = pytest.mark.browser

SENTENCES = (*PLAIN, *(f"{word} and {word}" for word in ("Paris", "Lima") * 9))
MAP = (
    "document.querySelector('.st-key-value-map [data-testid=stBidiComponentIsolated]')"
    "?.shadowRoot?.querySelector('.point-map')?.map"
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("map cache")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Values that speak for four tokens, " Paris" among them."""
    folder = tmp_path_factory.mktemp("planted")

    def write(**options: object) -> Path:
        return write_checkpoint(folder / "source", SENTENCES, **options)  # type: ignore[arg-type]

    first = load(write(memory_projection="none", memory_half_keys=HALF_KEYS), device="cpu")
    tokens = [int(matching_tokens(first, word)[0]) for word in ("Paris", "Lima", "the", "is")]
    assert [first.token_text(token).strip() for token in tokens[:2]] == ["Paris", "Lima"]
    path, _ = write_map_model(lambda **_: folder / "source", folder / "planted", np.array(tokens))
    return path


@pytest.fixture(scope="module")
def hits(checkpoint: Path, cache: Path) -> np.ndarray:
    """Slots that promote a token of "Paris"; the map and decodings are in the server's cache."""
    model = load(checkpoint, device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INSPECTOR_CACHE", str(cache))
        value_map(model)
        decoded = [decode_table(model, site) for site in model.sites]
    promoted = decoded[0].promoted[:, :TOP]
    return np.flatnonzero(np.isin(promoted, matching_tokens(model, "Paris")).any(1))


@pytest.fixture(scope="module")
def address(cache: Path, hits: np.ndarray) -> Iterator[str]:
    with served(cache) as address:
        yield address


@pytest.fixture
def page(page: Page) -> Iterator[Page]:
    """Nothing may go wrong in its scripts."""
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    yield page
    assert failures == []


def wait_for_map(page: Page) -> None:
    page.wait_for_function(f"{MAP}?.tips && {MAP}.digests.colours && !{MAP}.pointsAreStale")


def entries_of(page: Page) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(urlsplit(page.url).query).items()}


def test_from_a_search_to_a_slot_and_back_by_the_url(
    page: Page, address: str, checkpoint: Path, hits: np.ndarray
) -> None:
    assert 50 < len(hits) < SLOTS / 2
    page.goto(f"{address}/value_map?{urlencode({'checkpoint': checkpoint})}")
    wait_for_map(page)
    page.evaluate(f"Object.assign({MAP}.root, {{ same: true }}).same")
    box = page.get_by_role("textbox", name="Search")
    box.fill("Paris")
    box.press("Enter")
    page.wait_for_function(f"{MAP}?.litCount === {len(hits)}")
    assert page.evaluate(f"{MAP}.index.count") == SLOTS
    assert page.evaluate(f"{MAP}.root.same")  # the map stays in place, with its view

    canvas = page.locator("canvas.overlay")
    canvas.focus()
    canvas.press("Home")
    spot = page.evaluate(f"""(() => {{
      const map = {MAP};
      const {{ left, right, top, bottom }} = map.index.bounds;
      const across = (map.width - 68) / (right - left);
      const scale = Math.min(across, (map.height - 68) / (bottom - top));
      const x = (map.index.xy[2 * map.hover] - map.view.x) * scale + map.width / 2;
      const y = (map.index.xy[2 * map.hover + 1] - map.view.y) * scale + map.height / 2;
      return {{ x, y }};
    }})()""")
    canvas.click(position=spot)
    page.wait_for_url("**slot=*")
    slot = int(entries_of(page)["slot"])
    assert slot in hits
    i, j = divmod(slot, HALF_KEYS)
    expect(page.get_by_test_id("stCode").first).to_contain_text(f"({i},{j})")

    link = page.url
    page.get_by_role("button", name="Slot page").click()
    page.wait_for_url("**/slot?*")
    expect(page.get_by_role("heading", name="Slot", exact=False).first).to_be_visible()
    assert entries_of(page)["slot"] == str(slot)

    page.goto(link)
    wait_for_map(page)
    page.wait_for_function(f"{MAP}?.litCount === {len(hits)}")
    assert page.evaluate(f"{MAP}.index.slots[{MAP}.selected]") == slot
    expect(page.get_by_test_id("stCode").first).to_contain_text(f"({i},{j})")
    expect(box).to_have_value("Paris")


def test_the_picture_is_the_same_for_another_visitor(
    page: Page, browser: Browser, address: str, checkpoint: Path
) -> None:
    entries = {"checkpoint": checkpoint, "colour": "norm", "slot": 7}
    link = f"{address}/value_map?{urlencode(entries)}"
    page.goto(link)
    wait_for_map(page)
    digests = page.evaluate(f"{MAP}.digests")
    other = browser.new_context(viewport={"width": 1920, "height": 1200}).new_page()
    other.goto(link)
    wait_for_map(other)
    assert other.evaluate(f"{MAP}.digests") == digests
    expect(other.locator(".legend-name")).to_have_text("length of the value")
    other.context.close()
