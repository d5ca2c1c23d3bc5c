"""The command line on models that are not checkpoints of ours: loaders, and Doge's two routings."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

import inspector
from inspector import cli
from inspector.capture.loaders import VARIABLE
from inspector.errors import UnsafeCheckpoint
from tests.conftest import SENTENCES
from tests.families.tiny_doge import write_doge

MODELS = """
from tests.conftest import SENTENCES
from tests.families.tiny_native import tokenizer_of
from tests.families.tiny_wrapped import llama, pkm

def load():
    return llama((1, pkm())), tokenizer_of(SENTENCES)
"""
PROMPT = SENTENCES[0]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "cli_models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    yield tmp_path
    sys.modules.pop("cli_models", None)


def test_a_loader_of_your_own_is_traced_once_it_is_allowed(folder: Path) -> None:
    asked = ("trace", "cli_models:load", PROMPT, "--device", "cpu", "--json", folder / "t.json")
    with pytest.raises(UnsafeCheckpoint, match="inspector --allow-loader trace"):
        run(*asked)
    result = run("--allow-loader", *asked)
    assert result.exit_code == 0, result.output
    found = json.loads((folder / "t.json").read_text())
    assert list(found["sites"]) == ["L1"]
    with pytest.raises(UnsafeCheckpoint):  # allowed for that one command
        run(*asked)


def test_check_says_what_a_model_of_your_own_is(folder: Path) -> None:
    result = run("--allow-loader", "check", "cli_models:load", "--json", folder / "c.json")
    assert result.exit_code == 0, result.output
    found = json.loads((folder / "c.json").read_text())
    assert (found["family"], found["name"]) == ("wrapped", "cli_models:load")
    assert found["self_check"]["passed"]


def test_doge_is_traced_by_either_routing(folder: Path) -> None:
    path = write_doge(folder / "doge", SENTENCES)
    slots = {}
    for routing in ("token", "full"):
        out = folder / f"{routing}.json"
        result = run("trace", path, PROMPT, "--device", "cpu", "--routing", routing, "--json", out)
        assert result.exit_code == 0, result.output
        slots[routing] = json.loads(out.read_text())["sites"]["L0"]["slots"]
        expected = inspector.trace(inspector.load(path, "cpu", routing=routing), PROMPT)
        assert torch.equal(torch.tensor(slots[routing]), expected.reads["L0"].slots[0])
    assert slots["token"] != slots["full"]
