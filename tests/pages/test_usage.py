"""The usage page: scans start from it, are found again, and are shown as they were counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inspector.analyses import dead_keys
from inspector.analyses.causes import diagnose
from inspector.analyses.token_search import slots_for_text
from inspector.analyses.usage_measures import table_reads
from inspector.capture.load import load
from inspector.capture.scan import scan
from inspector.capture.usage import Usage
from inspector.families.base import MemoryModel
from inspector.ui.usage_view import shades
from tests.pages.user_session import UserSession

Written = Callable[..., Path]


@pytest.fixture(scope="module")
def path(tiny_checkpoint: Written) -> Path:
    return tiny_checkpoint()


@pytest.fixture(scope="module")
def model(path: Path) -> MemoryModel:
    return load(path, device="cpu")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    file = tmp_path / "corpus.txt"
    file.write_text("Lima is the capital of Peru\nOslo is cold\nA city by the sea\n" * 4)
    return file


def scanned(path: Path, corpus: Path) -> UserSession:
    session = UserSession("usage", checkpoint=path, corpus=corpus, column="text")
    session.until(lambda: session.shows("usage headline"))
    return session


@pytest.fixture
def usage(model: MemoryModel, corpus: Path) -> Usage:
    return scan(model, corpus, cache=False)


def test_nothing_is_scanned_before_it_is_asked_for(path: Path) -> None:
    session = UserSession("usage", checkpoint=path)
    assert session.title == "Usage"
    assert not session.shows("usage headline")
    assert any("Nothing scanned yet" in caption.value for caption in session.app.caption)


def test_a_scan_is_shown_as_it_was_counted(
    path: Path, corpus: Path, model: MemoryModel, usage: Usage
) -> None:
    session = scanned(path, corpus)
    verdicts = diagnose(usage, model).verdicts
    assert session.sentence("usage headline") == dead_keys.headline(usage, verdicts, 0)
    grid = session.data("usage grid")
    reads = table_reads(usage, 0).reshape(grid["n"], grid["n"])
    assert grid["totals"]["rows"] == reads.sum(1).tolist()
    assert grid["totals"]["columns"] == reads.sum(0).tolist()


def test_a_click_selects_a_key_and_puts_it_into_the_url(
    path: Path, corpus: Path, usage: Usage
) -> None:
    session = scanned(path, corpus)
    slot = int(table_reads(usage, 0).argmax())
    session.pick("usage grid", slot)
    assert session.url["slot"] == str(slot)
    (text,) = [t.value for t in session.app.text if t.value.startswith(f"slot {slot} = ")]
    for name, site in usage.sites.items():
        for head, count in enumerate(site.reads[:, slot].tolist()):
            assert (f"{name}·H{head}: {count:,}" in text) == (count > 0)


def test_a_text_is_held_against_the_corpus(
    path: Path, corpus: Path, model: MemoryModel, usage: Usage
) -> None:
    session = scanned(path, corpus)
    session.app.text_input(key="specific box").set_value("Oslo is the capital")
    session.press("Find")
    assert session.url["text"] == "Oslo is the capital"
    wanted = slots_for_text(model, "Oslo is the capital", usage).to_frame()
    listed = session.table("background_documents")
    for column in ("slot", "reads", "background_documents", "score"):
        assert listed[column].tolist() == wanted[column].tolist()[: len(listed)]
    assert listed["promotes"].map(len).gt(0).all()
    rare = (wanted["background_documents"] * 100 <= usage.documents).sum()
    assert session.sentence("specific said").startswith(
        f"This text reads {len(wanted):,} slots, of which {rare:,} are read"
    )


def test_an_empty_text_is_told_in_words(path: Path, corpus: Path) -> None:
    session = UserSession("usage", checkpoint=path, corpus=corpus, column="text", text=" ")
    session.until(lambda: session.shows("usage headline"))
    assert any("The text is empty" in text for text in session.errors)


def test_another_session_finds_the_same_scan(path: Path, corpus: Path) -> None:
    first = scanned(path, corpus)
    second = UserSession("usage", checkpoint=path, corpus=corpus, column="text")
    assert second.shows("usage headline")  # at once: it was there
    assert second.sentence("usage headline") == first.sentence("usage headline")


def test_a_corpus_that_is_not_there_is_told_in_words(path: Path, tmp_path: Path) -> None:
    session = UserSession("usage", checkpoint=path, corpus=tmp_path / "no.txt", column="text")
    session.until(lambda: bool(session.app.error))
    assert "The scan stopped." in session.errors
    assert any("no.txt" in error for error in session.errors)


def test_a_checkpoint_without_memory_has_nothing_to_scan(tiny_checkpoint: Written) -> None:
    session = UserSession("usage", checkpoint=tiny_checkpoint(memory_layers=[]))
    assert any("no memory layers" in info.value for info in session.app.info)


def test_what_was_never_read_alone_is_left_unshaded() -> None:
    shaded = shades(np.array([[0, 1], [10, 100_000]]))
    assert shaded[0, 0] == 0
    assert shaded.ravel()[1:].min() > 0
    assert list(np.argsort(shaded.ravel())) == [0, 1, 2, 3]
    assert shaded.max() == 255
