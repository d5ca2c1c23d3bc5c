"""What every test in a real browser starts from: a browser, a server nobody has visited, a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.app_server import FLAGS, PATIENCE, served


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps what it stores."""
    return tmp_path_factory.mktemp("browser cache")


@pytest.fixture(scope="module")
def address(cache: Path) -> Iterator[str]:
    """A server of the app."""
    with served(cache) as address:
        yield address


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Callable[..., Path]) -> Path:
    return tiny_checkpoint()


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def height() -> int:
    """Of the window, in pixels; a module may have another."""
    return 1400


@pytest.fixture
def page(browser: Browser, height: int) -> Iterator[Page]:
    """A new user's only tab."""
    context = browser.new_context(viewport={"width": 1280, "height": height})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    yield page
    context.close()
