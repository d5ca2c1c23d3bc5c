"""``inspector sweep`` from the command line: runs, goes on, times, and says what is wrong."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inspector import cli
from inspector.analyses.training_record import read_training_record
from tests.training.little_world import build_facts_once

SWEEP = """
half_keys = [8]
match_flops = []
match_parameters = []
blocks = [1]
seeds = 1
asked = 20

[training]
vocabulary = 500
limits = {capital = 14, currency = 14, continent = 14, domain = 14, calling_code = 14, country = 14, airport = 14}

[optimisation]
steps = 2
batch = 32

[backbone]
hidden_size = 32
intermediate_size = 32
num_hidden_layers = 2
num_attention_heads = 2
max_position_embeddings = 48
tie_word_embeddings = true

[memory]
memory_heads = 2
memory_knn = 4
memory_d_key = 16
"""  # noqa: E501


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    build_facts_once(monkeypatch)
    file = tmp_path / "sweep.toml"
    file.write_text(SWEEP)
    return file


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(cli.app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_sweep_is_made_goes_on_and_is_timed(config: Path, tmp_path: Path) -> None:
    results, work = tmp_path / "sweep.json", tmp_path / "work"
    printed = run("sweep", config, results, "--work", work, "--most", "1")
    assert "Not made yet: memory-8 seed 0." in printed
    assert json.loads(results.read_text())["times"] == {}
    printed = run("sweep", config, results, "--work", work, "--json", tmp_path / "all.json")
    assert "All runs are made." in printed
    written = json.loads(results.read_text())
    assert [run["model"] for run in written["runs"]] == ["dense", "memory-8"]
    assert set(written["times"]["microseconds_per_token"]) == {"dense", "memory-8"}
    assert json.loads((tmp_path / "all.json").read_text()) == written
    recall = f"{written['runs'][1]['seen']['recall']:.3f}"
    (line,) = [line for line in printed.splitlines() if line.startswith("memory-8")]
    assert line.split()[1:3] == ["0", recall]
    run("sweep", config, results, "--work", work, "--most", "0")
    again = json.loads(results.read_text())
    assert again["runs"] == written["runs"]
    assert again["times"] != written["times"]


def test_a_broken_sweep_is_one_sentence(
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config.write_text("half_keys = 3")
    monkeypatch.setattr(sys, "argv", ["inspector", "sweep", str(config), str(tmp_path / "s.json")])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("inspector: ")
    assert "Traceback" not in said


def test_train_records_how_the_memory_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_facts_once(monkeypatch)
    config = tmp_path / "run.toml"
    backbone = SWEEP.split("[backbone]")[1].split("[memory]")
    config.write_text(
        SWEEP.split("[training]")[1].split("[optimisation]", maxsplit=1)[0]
        + "[optimisation]\nsteps = 3\nbatch = 32\n[model]\nmemory_layers = [1]\n"
        + "memory_half_keys = 8"
        + backbone[0].rstrip()
        + backbone[1]
    )
    run("train", config, tmp_path / "watched", "--no-evaluate", "--device", "cpu", "--monitor", "2")
    assert read_training_record(tmp_path / "watched").steps[0] == 1
    run("train", config, tmp_path / "plain", "--no-evaluate", "--device", "cpu", "--monitor", "0")
    assert not (tmp_path / "plain" / "monitor").exists()
