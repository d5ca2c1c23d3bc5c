"""The slot page: what it says of a slot is what the analyses found, with a scan and without."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector.analyses.facts import Fact, write_facts
from inspector.analyses.slot_address import SlotAddress
from inspector.analyses.slot_report import fires, headline, report_slot
from inspector.analyses.slot_triggers import find_triggers, token_occurrences
from inspector.analyses.usage_measures import table_reads
from inspector.analyses.verdicts import judge_usage
from inspector.capture.load import load
from inspector.capture.scan import scan
from inspector.capture.usage import Usage
from inspector.capture.visible_text import visible_text
from inspector.families.base import MemoryModel
from inspector.ui import slot_evidence, slot_export, slot_page, slot_passes
from inspector.ui.cache import Opened, opened
from tests.pages.user_session import UserSession

Written = Callable[..., Path]
_SECONDS = 90
FACTS = [
    Fact("capital", subject, answer, (f"The capital of {subject} is",))
    for subject, answer in (("Peru", "Lima"), ("Canada", "Ottawa"), ("<b>x</b>", "![](http://x)"))
]


@pytest.fixture(scope="module")
def path(tiny_checkpoint: Written, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slot") / "checkpoint"
    shutil.copytree(tiny_checkpoint(), folder)
    write_facts(folder / "facts.jsonl", FACTS)
    return folder


@pytest.fixture(scope="module")
def model(path: Path) -> MemoryModel:
    return load(path, device="cpu")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    file = tmp_path / "corpus.txt"
    file.write_text("Lima is the capital of Peru\nOslo is <b>cold</b>\nA city by the sea\n" * 4)
    return file


@pytest.fixture
def usage(model: MemoryModel, corpus: Path) -> Usage:
    return scan(model, corpus, cache=False)


@pytest.fixture
def most_read(usage: Usage) -> int:
    return int(table_reads(usage, 0).argmax())


def scanned(path: Path, corpus: Path, **entries: object) -> UserSession:
    """A session in which the scan and both passes are done."""
    session = UserSession("slot", checkpoint=path, corpus=corpus, column="text", **entries)
    session.until(lambda: has_table(session, "at_least") and has_table(session, "kl"))
    session.until(lambda: any("facts read it" in text for text in session.markdown()))
    return session


def has_table(session: UserSession, column: str) -> bool:
    return any(column in node.value for node in session.app.dataframe)


def spoken(parts: list[object]) -> str:
    return "".join(part if isinstance(part, str) else visible(part) for part in parts)


def visible(part: object) -> str:
    assert isinstance(part, tuple)
    return visible_text(part[0]) if part[1] == "token" else str(part[0])


# --- without a scan -----------------------------------------------------------------------------


def test_without_a_scan_it_shows_what_it_can_and_offers_one(path: Path, model: MemoryModel) -> None:
    session = UserSession("slot", checkpoint=path, site="L2", slot=13)
    expected = headline(report_slot(model, SlotAddress("L2", 13)))
    assert session.sentence("slot headline") == spoken(list(expected))
    assert "known after a scan" in session.sentence("slot headline")
    assert any(button.label == "Scan" for button in session.app.button)
    assert session.data("slot decodings")["rows"][0]["name"] == "raw"
    assert session.shows("slot nearest")
    assert session.shows("slot try strip")
    assert len(session.table("half_key")) == 8


def test_a_view_without_a_slot_opens_one_that_matters(path: Path) -> None:
    session = UserSession("slot", checkpoint=path)
    assert session.shows("slot headline")
    assert {"site", "slot"} <= set(session.url)
    again = UserSession("slot", **session.url)
    assert again.sentence("slot headline") == session.sentence("slot headline")


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"slot": 64}, "slots 0 to 63"),
        ({"slot": "<img src=x>"}, "no address of a slot"),
        ({"slot": 3, "site": "L7"}, "no site L7"),
    ],
)
def test_a_garbled_link_is_told_in_words(path: Path, entries: dict[str, object], said: str) -> None:
    session = UserSession("slot", checkpoint=path, **entries)
    assert "There is no such slot." in session.errors
    assert any(said in error for error in session.errors)
    assert not session.shows("slot headline")
    assert not any("<img" in text for text in session.markdown())
    session.app.text_input(key="slot box").set_value("L2·(1,5)")
    session.press("Show")
    assert (session.url["site"], session.url["slot"]) == ("L2", "13")
    assert session.sentence("slot headline").startswith("L2·(1,5) ")


def test_a_typed_address_opens_and_a_garbled_one_loses_nothing(path: Path) -> None:
    session = UserSession("slot", checkpoint=path, site="L0", slot=5)
    session.app.text_input(key="slot box").set_value("L2·H1·(3,7)")
    session.press("Show")
    assert {k: session.url[k] for k in ("site", "slot", "head")} == {
        "site": "L2",
        "slot": "31",
        "head": "1",
    }
    assert session.sentence("slot headline").startswith("L2·H1·(3,7) ")
    session.app.text_input(key="slot box").set_value("nonsense")
    session.press("Show")
    assert any("'nonsense' is no address" in error for error in session.errors)
    assert session.sentence("slot headline").startswith("L2·H1·(3,7) ")
    assert session.app.text_input(key="slot box").value == "L2·H1·(3,7)"
    assert session.url["slot"] == "31"
    session.run()
    assert not session.app.error


def test_a_checkpoint_without_memory_has_no_slots(tiny_checkpoint: Written) -> None:
    session = UserSession("slot", checkpoint=tiny_checkpoint(memory_layers=[]))
    assert any("no memory layers" in info.value for info in session.app.info)


def test_every_kind_of_checkpoint_opens(tiny_checkpoint: Written) -> None:
    for options in (
        {"memory_projection": "linear", "memory_d_value": 20},
        {"memory_tables": [0, 1]},
        {"memory_half_keys": 2, "memory_knn": 4},
        {"memory_heads": 1, "memory_knn": 1, "memory_projection": "swiglu"},
    ):
        session = UserSession("slot", checkpoint=tiny_checkpoint(**options), slot=1)
        assert session.shows("slot headline")
        assert not session.app.error


# --- with one -----------------------------------------------------------------------------------


def test_the_page_says_what_was_found(
    path: Path, corpus: Path, model: MemoryModel, usage: Usage, most_read: int
) -> None:
    from inspector.analyses.read_index import index_reads

    session = scanned(path, corpus, site="L0", slot=most_read)
    verdicts = judge_usage(usage)
    report = report_slot(model, SlotAddress("L0", most_read), None, usage, verdicts)
    index = index_reads(model, usage, cache=False)
    assert index is not None
    triggers = find_triggers(index.of_slot(0, most_read), usage, token_occurrences(index, usage))
    expected = headline(report, fires(triggers, model.token_text))
    assert session.sentence("slot headline") == spoken(list(expected))
    values = {metric.label: metric.value for metric in session.app.metric}
    assert values["Reads"] == f"{int(table_reads(usage, 0)[most_read]):,}"
    assert values["Rank by reads"] == "1 of 64"
    assert report.usage is not None
    assert values["Verdict"] == report.usage.verdict.label
    rows = session.data("slot contexts")["rows"]
    assert [row["weight"] for row in rows] == [c.coefficient for c in report.contexts]
    assert [row["token"] for row in rows] == [
        visible_text(model.token_text(c.prefix[-1])) for c in report.contexts
    ]
    frame = session.table("at_least")
    assert frame["reads"].tolist() == triggers.reads.tolist()
    assert frame["rate"].tolist() == triggers.rate.tolist()
    assert any("distinct contexts." in text for text in session.markdown())


def test_facts_are_those_it_promotes(path: Path, corpus: Path, model: MemoryModel) -> None:
    from inspector.analyses.fact_reads import fact_reads

    found = fact_reads(model, FACTS, cache=False)
    assert found is not None
    slot = int(found.slots.ravel()[found.effects.argmax()])
    session = scanned(path, corpus, slot=slot)
    frame = found.of_slot(0, slot)
    shown = session.table("relation")
    assert shown["subject"].tolist() == frame["subject"][frame["effect"] > 0].tolist()
    assert (shown["effect"] > 0).all()
    assert f"{len(frame):,} of 3 facts read it there" in " ".join(session.markdown())


def test_random_draws_a_slot_that_was_read(path: Path, corpus: Path, usage: Usage) -> None:
    session = scanned(path, corpus)
    read = set(np.flatnonzero(table_reads(usage, 0)).tolist())
    drawn = set()
    for _ in range(6):
        session.press("Random")
        drawn.add(int(session.url["slot"]))
        site = usage.sites[session.url["site"]]
        weights = [own.weights[:, int(session.url["slot"])].sum() for own in usage.sites.values()]
        assert site.weights[:, int(session.url["slot"])].sum() == max(weights)
    assert drawn <= read
    assert len(drawn) > 1


def test_another_session_finds_what_is_there_at_once(
    path: Path, corpus: Path, most_read: int
) -> None:
    first = scanned(path, corpus, slot=most_read)
    second = UserSession("slot", **first.url)
    assert second.sentence("slot headline") == first.sentence("slot headline")
    assert has_table(second, "at_least")


def test_a_pass_that_ends_while_the_page_is_drawn_is_shown(
    path: Path, corpus: Path, most_read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scanned(path, corpus, slot=most_read)
    whole, missed = slot_evidence.study, iter([True])

    def late(*given: Any) -> Any:
        return None if next(missed, False) else whole(*given)

    monkeypatch.setattr(slot_evidence, "study", late)
    second = UserSession("slot", **first.url)
    assert next(missed, None) is None, "it was not late"
    assert has_table(second, "at_least")


# --- its parts ----------------------------------------------------------------------------------


def test_a_text_is_tried(path: Path) -> None:
    session = UserSession("slot", checkpoint=path, slot=5, site="L0")
    session.app.text_input(key="slot try box").set_value("Oslo is\ncold")
    session.press("Try")
    assert session.url["text"] == "Oslo is\ncold"
    strip = session.data("slot try strip")
    assert "⏎" in "".join(strip["tokens"])
    session.pick("slot try strip", 1)
    assert session.url["pos"] == "1"
    rows = session.table("short_by")
    assert len(rows) == 4  # sites x heads
    assert rows["rank"].is_monotonic_increasing
    assert (rows["short_by"][~rows["read"]] > 0).all()
    verdict = session.sentence("slot try verdict")
    assert ("tokens read it" in verdict) == (max(strip["intensities"]) > 0)


def test_a_text_that_is_too_long_is_told_in_words(path: Path) -> None:
    session = UserSession("slot", checkpoint=path, slot=5)
    session.app.text_input(key="slot try box").set_value("word " * 100)
    session.press("Try")
    assert "This text cannot be tried." in session.errors
    assert session.shows("slot headline")


def test_a_click_opens_a_value_like_it(path: Path) -> None:
    session = UserSession("slot", checkpoint=path, site="L2", slot=13)
    rows = session.data("slot nearest")["rows"]
    session.pick("slot nearest", 1)
    i, j = divmod(int(session.url["slot"]), 8)
    assert rows[1]["address"] == f"L2·({i},{j})"
    assert session.sentence("slot headline").startswith(rows[1]["address"])


def test_pinned_slots_stand_side_by_side(path: Path) -> None:
    session = UserSession("slot", checkpoint=path, site="L2", slot=13)
    assert not session.shows("compared this")
    session.press("Pin this slot")
    session.app.text_input(key="slot box").set_value("L0·(0,4)")
    session.press("Show")
    assert session.sentence("compared this").startswith("L0·(0,4)")
    assert session.sentence("compared pinned").startswith("L2·(1,5)")
    again = UserSession("slot", **session.url)
    assert again.sentence("compared pinned").startswith("L2·(1,5)")
    again.press("Open the pinned slot")
    assert again.url["slot"] == "13"
    again.press("Unpin this slot")
    assert "pins" not in again.url


def test_garbled_pins_are_left_out(path: Path) -> None:
    session = UserSession("slot", checkpoint=path, slot=1, pins="L2_13-L9_1-x-<b>-64")
    assert session.sentence("compared pinned").startswith("L2·(1,5)")


def test_the_trace_page_leads_here(path: Path) -> None:
    session = UserSession("trace", checkpoint=path, text="Lima is", site="L2")
    session.press("Open this slot")
    assert session.title == "Slot"
    assert session.url["site"] == "L2"
    assert session.sentence("slot headline").startswith("L2·H")


def test_the_usage_page_leads_here(path: Path, corpus: Path, most_read: int) -> None:
    session = UserSession("usage", checkpoint=path, corpus=corpus, column="text", slot=most_read)
    session.until(lambda: any(b.label == "Open this slot" for b in session.app.button))
    session.press("Open this slot")
    assert session.title == "Slot"
    assert session.url["slot"] == str(most_read)
    i, j = divmod(most_read, 8)
    assert f"({i},{j})" in session.sentence("slot headline")


# --- the file -----------------------------------------------------------------------------------


def exported(source: Opened, slot: int, usage: Usage | None) -> str:
    view = slot_page.look(source, SlotAddress("L0", slot), usage)
    asked = slot_passes.facts_pass(source, slot_passes.facts_of(source))
    study = None
    if usage is not None:
        from inspector.analyses.read_index import index_reads
        from inspector.ui import slot_cache

        index = index_reads(source.model, usage, cache=False)
        assert index is not None
        study = slot_cache.study(source, usage, index, 0, slot)
        end = time.monotonic() + _SECONDS
        while asked.result() is None:
            assert time.monotonic() < end
            time.sleep(0.05)
    return slot_export.page(view, study, asked)


def test_the_file_asks_nobody_and_escapes_all(path: Path, model: MemoryModel, usage: Usage) -> None:
    from inspector.analyses.fact_reads import fact_reads

    facts = fact_reads(model, FACTS, cache=False)
    assert facts is not None
    of_markup = facts.effects[-1]  # the fact whose subject and answer are markup
    slot = int(facts.slots[-1].ravel()[of_markup.argmax()])
    own = without_scripts(exported(opened(str(path), "cpu"), slot, usage))
    assert "&lt;b&gt;x&lt;/b&gt;" in own
    assert "<b>x</b>" not in own
    assert not re.search(r"(?:src|href|url)\s*[=(]", own)
    assert not re.search(r"<(?:img|link|iframe|base)\b", own)
    assert "http" not in own.replace("http-equiv", "").replace("![](http://x)", "")
    assert "default-src 'none'" in own
    assert "prefers-color-scheme: dark" in own


def without_scripts(text: str) -> str:
    """The file's own part: without plotly.js, which names many addresses and asks none."""
    return re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


def test_the_file_without_a_scan_has_no_figures(path: Path) -> None:
    text = exported(opened(str(path), "cpu"), 5, None)
    assert len(text) < 200_000
    assert "Its half-keys" in text
    assert text.count("<section>") == text.count("</section>")


def test_the_file_holds_the_numbers_of_the_page(path: Path, usage: Usage, most_read: int) -> None:
    text = exported(opened(str(path), "cpu"), most_read, usage)
    own = without_scripts(text)
    assert f"{int(table_reads(usage, 0)[most_read]):,} times" in own
    for title in ("What it says", "Where it fires", "What sets it off", "What it does"):
        assert f"<h2>{title}</h2>" in own
    contexts = usage.contexts[0]
    assert own.count("<code>") == np.count_nonzero(contexts.slot == most_read)
    for weight in contexts.weight[contexts.slot == most_read]:
        assert f"<td>{weight:.3f}</td>" in own
    assert 3e6 < len(text) < 6e6, "plotly.js is there once"
