"""Every page on models of the user's own: what cannot be shown is said, and nothing breaks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inspector.capture.loaders import VARIABLE
from tests.conftest import SENTENCES
from tests.pages.user_session import UserSession

MODELS = """
from tests.capture.test_wrap import OwnModel
from tests.conftest import SENTENCES
from tests.families.tiny_native import tokenizer_of
from tests.families.tiny_wrapped import llama, peer, pkm

def summed():
    return llama((0, pkm()), (2, peer())), tokenizer_of(SENTENCES)

def normed():
    odd = (0, pkm(norm_output=True)), (2, pkm(concat_values_and_combine=True))
    return llama(*odd), tokenizer_of(SENTENCES)

def unknown():
    return OwnModel(), tokenizer_of(SENTENCES)
"""
TEXT = SENTENCES[0]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "page_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(VARIABLE, "1")
    yield tmp_path
    sys.modules.pop("page_models", None)


def traced(kind: str) -> UserSession:
    return UserSession(
        "trace", checkpoint=f"page_models:{kind}", device="cpu", text=TEXT, site="L0"
    )


def texts(session: UserSession) -> str:
    return "\n".join(str(text.value) for text in session.app.text)


def test_sums_of_reads_are_traced_with_their_effects() -> None:
    session = traced("summed")
    rows = session.data("reads L0")["rows"]
    assert len(rows) == 8
    assert "directly" in session.sentence("headline")


@pytest.mark.parametrize(
    ("kind", "said"),
    [("normed", "no sum over its reads"), ("unknown", "head of this model was not found")],
)
def test_reads_without_contributions_are_traced_all_the_same(kind: str, said: str) -> None:
    session = traced(kind)
    assert not session.app.error
    assert said in texts(session)
    assert session.data("reads L0")["rows"]
    assert "directly" not in session.sentence("headline")
    (picker,) = [c for c in session.app.segmented_control if c.label == "Memory layer"]
    assert "L0" in picker.options[0]
    assert "+" not in picker.options[0]


def test_logits_that_cannot_be_split_are_not(folder: Path) -> None:
    assert "could be told apart" in texts(traced("unknown"))


@pytest.mark.parametrize("page", ["checkpoint", "usage", "value_map", "slot", "facts", "lookup"])
@pytest.mark.parametrize("kind", ["normed", "unknown"])
def test_no_page_breaks(page: str, kind: str) -> None:
    checkpoint = f"page_models:{kind}"
    session = UserSession(page, checkpoint=checkpoint, device="cpu", text=TEXT, site="L0", slot=5)
    session.no_traceback()
    assert session.app.title or session.app.error
