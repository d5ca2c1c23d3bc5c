"""The facts page in a real browser: a fact is located, proven, given another answer, and traced."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from inspector.analyses.facts import Fact, read_facts
from inspector.analyses.recall import Question, measure_recall
from inspector.capture.load import load

pytestmark = pytest.mark.browser

HEADLINE = ".st-key-fact-headline .sentence"
SWITCH = ".st-key-edit-list [data-testid='stCheckbox']"


@pytest.fixture(scope="module")
def facts(little_world: Path) -> tuple[Fact, ...]:
    return read_facts(little_world / "facts.jsonl")


@pytest.fixture(scope="module")
def known(little_world: Path, facts: tuple[Fact, ...]) -> Fact:
    """A fact that the checkpoint knows in every phrasing."""
    model = load(little_world, device="cpu")
    for fact in facts:
        asked = [Question(prompt, fact.object) for prompt in fact.prompts]
        if fact.heldout_prompts and measure_recall(model, asked).correct.all():
            return fact
    raise AssertionError("it knows none")


def open_section(page: Page, name: str) -> None:
    page.locator(".st-key-section-picker").get_by_text(name, exact=True).click()


def test_a_first_link_leads_through_to_an_edit_on_the_trace_page(
    page: Page, address: str, little_world: Path, facts: tuple[Fact, ...], known: Fact
) -> None:
    """The server has not been visited before."""
    entries = {"relation": known.relation, "subject": known.subject}
    page.goto(f"{address}/facts?{urlencode({'checkpoint': little_world, **entries})}")
    headline = page.locator(HEADLINE)
    expect(headline).to_contain_text(f"the model says {known.object} in")
    expect(page.get_by_role("link", name="Trace")).to_be_visible()

    open_section(page, "Prove")
    verdict = page.locator(".st-key-proof-verdict .sentence")
    nothing = page.get_by_text("There is nothing to prove.")
    start = page.get_by_role("button", name="Prove it")
    expect(start.or_(nothing)).to_be_visible()
    if start.is_visible():
        start.click()
        expect(verdict).to_contain_text(re.compile("^(Not p|P)roven: with its"))
        expect(page.locator(".st-key-proof-figure .main-svg").first).to_be_visible()

    open_section(page, "Make it say")
    other = next(f.object for f in facts if f.relation == known.relation and f != known)
    page.get_by_role("textbox", name="New answer").fill(other)
    page.get_by_test_id("stBaseButton-primaryFormSubmit").click()
    expect(page.locator(".st-key-rewrite-message .sentence")).to_contain_text(f"is {other}")
    page.get_by_role("button", name=re.compile("^.*Use this (edit|attempt)")).click()
    expect(page.locator(SWITCH)).to_have_count(1)

    page.get_by_role("link", name="Trace").click()
    compared = page.locator(".st-key-edits-headline .sentence")
    expect(compared).to_contain_text("The best prediction changes at")
    page.locator(SWITCH).locator("label").first.click()
    expect(compared).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(compared).to_be_visible()


def test_edits_of_one_visitor_are_not_seen_by_another(
    page: Page, address: str, little_world: Path, known: Fact
) -> None:
    entries = {"relation": known.relation, "subject": known.subject, "section": "Edit"}
    link = f"{address}/facts?{urlencode({'checkpoint': little_world, **entries})}"
    page.goto(link)
    page.get_by_role("textbox", name="Slots").fill("0, 1, 2")
    page.get_by_role("textbox", name="Slots").press("Enter")
    page.get_by_role("button", name="Add to edits").click()
    expect(page.locator(".st-key-edits-headline .sentence")).to_be_visible()
    page.wait_for_url(re.compile("edits="))
    assert page.context.browser is not None
    stranger = page.context.browser.new_context().new_page()
    stranger.goto(link)
    expect(stranger.locator(HEADLINE)).to_be_visible()
    expect(stranger.get_by_text("No edit is on")).to_be_visible()
    stranger.goto(page.url)
    expect(stranger.locator(".st-key-edits-headline .sentence")).to_be_visible()
    stranger.context.close()
