"""How fast it is, as ratios of medians from one run on one machine:

    python -m pytest tests/benchmarks -s

Set INSPECTOR_BENCHMARK to measure another checkpoint than the sample.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import torch
from playwright.sync_api import Browser, Page, sync_playwright

from inspector.capture.load import load
from inspector.capture.session import logits, session
from inspector.capture.trace import encode, trace
from inspector.families.base import MemoryModel
from inspector.memory.product_keys import look_up
from inspector.ui.components import visible_text
from tests.browser.app_server import FLAGS, PATIENCE, ROOT, served

CHECKPOINT = Path(os.environ.get("INSPECTOR_BENCHMARK", ROOT / "sample_checkpoints/world-facts"))
SUBJECTS = ("France", "Japan", "Kenya", "Brazil", "Italy", "Peru", "India", "Canada", "Egypt")
pytestmark = [
    pytest.mark.skipif(not CHECKPOINT.is_dir(), reason=f"there is no checkpoint at {CHECKPOINT}"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def model() -> MemoryModel:
    return load(CHECKPOINT, device="cpu")


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print whatever pytest captures."""

    def printed(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}", end="")

    return printed


def medians(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each work; they take turns, so that a busy moment meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 2):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn >= 2:  # the first two warm up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(measured) for name, measured in seconds.items()}


@pytest.mark.parametrize("length", [6, 64, 256])
def test_a_traced_pass(model: MemoryModel, length: int, say: Callable[[str], None]) -> None:
    """What watching costs: the hooks alone, and all that a trace is made of."""
    length = min(length, model.positions)
    ids = torch.randint(model.backbone.head.out_features, (1, length))

    def recorded() -> None:
        with session(record=True, residual=True):
            logits(model, ids)

    found = medians(
        {
            "plain": lambda: logits(model, ids),
            "recorded": recorded,
            "traced": lambda: trace(model, ids=ids),
        },
        rounds=60,
    )
    say(
        f"forward of {length:>3} tokens: plain {1e3 * found['plain']:.2f} ms, "
        f"recorded / plain {found['recorded'] / found['plain']:.2f}, "
        f"traced / plain {found['traced'] / found['plain']:.2f}"
    )


def brute_force(half_scores: torch.Tensor, knn: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same reads from all n * n sums."""
    sums = half_scores[..., 0, :, None] + half_scores[..., 1, None, :]
    scores, slots = sums.flatten(-2).topk(knn)
    return slots, scores.softmax(-1)


@pytest.mark.parametrize("n", [128, 1024])
@pytest.mark.parametrize("knn", [8, 32])
def test_a_lookup(n: int, knn: int, say: Callable[[str], None]) -> None:
    """16 lookups (4 tokens, 4 heads) from their half scores, float32."""
    half_scores = torch.randn(4, 4, 2, n)
    assert torch.equal(look_up(half_scores, knn).slots, brute_force(half_scores, knn)[0])
    found = medians(
        {
            "product keys": lambda: look_up(half_scores, knn),
            "brute force": lambda: brute_force(half_scores, knn),
        },
        rounds=20,
    )
    say(
        f"lookup, n = {n:>4}, k = {knn:>2}: {1e3 * found['product keys']:.2f} ms, "
        f"product keys / brute force {found['product keys'] / found['brute force']:.3f}"
    )


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


def address_of(server: str, page: str) -> str:
    return f"{server}/{page}?{urlencode({'checkpoint': CHECKPOINT})}"


def test_a_cold_start(browser: Browser, tmp_path: Path, say: Callable[[str], None]) -> None:
    """From starting the server to the first heading in the browser, and to the whole page."""
    painted, finished = [], []
    for number in range(3):
        start = time.perf_counter()
        with served(tmp_path / str(number)) as server:
            page = browser.new_page()
            page.set_default_timeout(PATIENCE)
            page.goto(address_of(server, ""))
            page.get_by_role("heading", name="Checkpoint", exact=True).wait_for()
            painted.append(time.perf_counter() - start)
            page.get_by_text("Load report").wait_for()
            finished.append(time.perf_counter() - start)
            page.close()
    say(
        f"cold start to first paint {statistics.median(painted):.1f} s, "
        f"to the finished page {statistics.median(finished):.1f} s"
    )


# Notes when Enter went down, and the first frame in which the view of the new text is complete:
# the sentence names its last token, and the script that made the page has ended.
WATCH = """
(expected) => {
  const app = document.querySelector('[data-testid=stApp]');
  const host = '.st-key-headline [data-testid=stBidiComponentIsolated]';
  window.took = null;
  let start = null;
  const look = () => {
    const said = document.querySelector(host)?.shadowRoot?.querySelector('.sentence');
    const idle = app.getAttribute('data-test-script-state') === 'notRunning'
      && !document.querySelector('[data-testid=stStatusWidget]');
    if (idle && said?.textContent.startsWith(expected)) window.took = performance.now() - start;
    else requestAnimationFrame(look);
  };
  addEventListener('keydown', () => { start = performance.now(); look(); },
                   { once: true, capture: true });
}
"""


def test_from_prompt_to_finished_view(
    browser: Browser, model: MemoryModel, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """From pressing Enter to the complete view of a text nobody traced before."""
    with served(tmp_path) as server:
        page = browser.new_page(viewport={"width": 1280, "height": 1200})
        page.set_default_timeout(PATIENCE)
        page.goto(address_of(server, "trace"))
        page.locator(".st-key-headline .sentence").wait_for()
        page.get_by_role("button", name="All reads (CSV)").wait_for()
        page.wait_for_timeout(3000)  # a user reads before they type
        seconds = [
            seconds_to_view(page, model, f"{opening} {subject}")
            for opening in ("The capital of", "People pay in")
            for subject in SUBJECTS
        ][3:13]
    say(
        f"prompt to finished view: median of {len(seconds)} {statistics.median(seconds):.2f} s "
        f"({min(seconds):.2f} to {max(seconds):.2f})"
    )


def seconds_to_view(page: Page, model: MemoryModel, text: str) -> float:
    last = model.token_text(int(encode(model, text)[0, -1]))
    box = page.get_by_role("textbox", name="Text")
    box.fill(text)
    page.evaluate(WATCH, f"After {visible_text(last)} ")
    box.press("Enter")
    page.wait_for_function("window.took !== null")
    return float(page.evaluate("window.took")) / 1000
