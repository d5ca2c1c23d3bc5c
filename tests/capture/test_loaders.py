"""``module:function`` in the place of a path: called only where that was allowed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import inspector
from inspector.capture.loaders import VARIABLE, allow_loaders, forbid_loaders, is_loader
from inspector.errors import CheckpointError, CheckpointNotFound, UnsafeCheckpoint
from tests.families.conformance import random_ids

MODELS = """
from pathlib import Path
import inspector
from tests.conftest import SENTENCES
from tests.families.tiny_native import tokenizer_of
from tests.families.tiny_wrapped import llama, pkm

Path("ran").touch()

def load():
    return llama((1, pkm())), tokenizer_of(SENTENCES)

def load_named():
    model, tokenizer = load()
    return inspector.wrap(model, tokenizer, name="mine", positions=20)

def broken():
    return load()[3]

def number():
    return 3

text = "no function"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "users_models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    yield tmp_path
    sys.modules.pop("users_models", None)


def test_it_is_off_unless_it_was_allowed(folder: Path) -> None:
    with pytest.raises(UnsafeCheckpoint, match=f"{VARIABLE}=1"):
        inspector.load("users_models:load", "cpu")
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("value", ["0", "", "no"])
def test_only_1_allows_it(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(UnsafeCheckpoint):
        inspector.load("users_models:load", "cpu")


def test_it_can_be_allowed_by_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["app.py", "--allow-loader"])
    assert list(inspector.load("users_models:load", "cpu").sites) == ["L1"]


def test_it_can_be_allowed_for_a_while() -> None:
    token = allow_loaders()
    try:
        assert inspector.load("users_models:load", "cpu").sites
    finally:
        forbid_loaders(token)
    with pytest.raises(UnsafeCheckpoint):
        inspector.load("users_models:load", "cpu")


def test_the_model_is_the_one_the_function_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    path = list(sys.path)
    model = inspector.load("users_models:load", "cpu", dtype=torch.float64)
    assert (model.name, model.dtype) == ("users_models:load", torch.float64)
    assert inspector.self_check(model).passed
    assert inspector.trace(model, ids=random_ids(model)).reads["L1"].slots.shape == (2, 7, 2, 4)
    assert sys.path == path
    named = inspector.load("users_models:load_named", "cpu")
    assert (named.name, named.positions) == ("mine", 20)


@pytest.mark.parametrize(
    ("loader", "said"),
    [
        ("users_models:broken", "users_models:broken failed: IndexError"),
        ("users_models:number", "returned int; expected a pair"),
        ("users_models:text", "has no function text"),
        ("users_models:nothing", "has no function nothing"),
        ("no_such_models:load", "No module named 'no_such_models'.*PYTHONPATH"),
    ],
)
def test_what_is_wrong_with_it_is_said(
    monkeypatch: pytest.MonkeyPatch, loader: str, said: str
) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    with pytest.raises(CheckpointError, match=said):
        inspector.load(loader, "cpu")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("my_models:load", True),
        ("package.models:load", True),
        ("org/name", False),
        ("C:load", False),
        ("/tmp/a:b", False),
        ("a b:c", False),
        ("models:", False),
        ("models:load()", False),
        ("models:x.y", False),
    ],
)
def test_names_of_loaders(path: str, expected: bool) -> None:
    assert is_loader(path) is expected
    assert is_loader(Path(path)) is expected


def test_what_lies_there_comes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    (folder / "users_models:load").mkdir()
    with pytest.raises(CheckpointError, match="of no family"):
        inspector.load("users_models:load", "cpu")
    with pytest.raises(CheckpointNotFound):
        inspector.load("users/models:load", "cpu")
