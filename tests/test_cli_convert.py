"""``inspector convert``, and how the command line refuses what may not be opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inspector.capture.load import load
from inspector.cli import app
from inspector.errors import CheckpointError, UnsafeCheckpoint
from tests.families.tiny_re133 import (
    OPTIONS,
    random_state,
    reads_in_training,
    write_packed,
    write_run,
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", OPTIONS, random_state(OPTIONS, 0))


def test_it_writes_a_native_checkpoint(run: Path, tmp_path: Path) -> None:
    out, told = tmp_path / "native", tmp_path / "told.json"
    done = CliRunner().invoke(app, ["convert", str(run), str(out), "--json", str(told)])
    assert done.exit_code == 0, done.output
    assert "the same bit for bit" in done.output
    payload = json.loads(told.read_text())
    assert payload["family"] == "re133"
    assert payload["error"] == 0
    assert load(out, device="cpu").provenance.family == "native"


def test_four_bits_say_how_far_they_are(tmp_path: Path) -> None:
    path = write_packed(tmp_path / "packed", OPTIONS, random_state(OPTIONS, 0))
    done = CliRunner().invoke(app, ["convert", str(path), str(tmp_path / "native")])
    assert done.exit_code == 0, done.output
    assert "bit for bit" in done.output or "(rounding)" in done.output


def test_what_is_there_is_refused_before_anything_is_opened(run: Path) -> None:
    done = CliRunner().invoke(app, ["convert", "/no/checkpoint", str(run)])
    assert isinstance(done.exception, CheckpointError)
    assert "not an empty directory" in str(done.exception)


def test_roots_hold_for_the_command_line(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSPECTOR_ROOTS", str(tmp_path / "elsewhere"))
    for command in (["convert", str(run), str(tmp_path / "native")], ["check", str(run)]):
        done = CliRunner().invoke(app, command)
        assert isinstance(done.exception, UnsafeCheckpoint)
    assert not (tmp_path / "native").exists()


def test_reads_in_training_are_shown_as_what_they_are(run: Path, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    done = CliRunner().invoke(app, ["training-reads", str(run), "--json", str(told), "--top", "2"])
    assert done.exit_code == 0, done.output
    counts = reads_in_training(64)
    assert f"{counts.max():,}" in done.output
    assert "Not known: which memory layer" in done.output
    payload = json.loads(told.read_text())
    assert payload["reads"] == counts.sum()
    assert payload["sites"] == ["L0", "L2"]
    assert len(payload["unknown"]) == 4
