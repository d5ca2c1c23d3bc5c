"""``inspector scan``: its table, its JSON, its progress, and stopping it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import inspector
from inspector import cli
from inspector.analyses.token_search import slots_for_text
from inspector.capture import scan as scan_module
from inspector.capture import scan_recorder
from inspector.capture.scan import ScanProgress
from inspector.cli import output
from inspector.errors import EmptyPrompt
from tests.conftest import SENTENCES


@pytest.fixture
def checkpoint(tiny_checkpoint: Callable[..., Path]) -> Path:
    return tiny_checkpoint(memory_tables=[0, 1])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    file = tmp_path / "corpus.jsonl"
    file.write_text("".join(json.dumps({"body": text}) + "\n" for text in SENTENCES))
    return file


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "cache"))


def run(*arguments: str | Path) -> Result:
    options = (*map(str, arguments), "--device", "cpu")
    return CliRunner().invoke(cli.app, ["scan", *options], catch_exceptions=False)


def test_json_has_the_counts_of_the_scan(checkpoint: Path, corpus: Path, tmp_path: Path) -> None:
    file = tmp_path / "usage.json"
    result = run(checkpoint, corpus, "--column", "body", "--tokens", "100", "--json", file)
    assert result.exit_code == 0
    found = json.loads(file.read_text())
    for table in found["tables"].values():
        assert set(table["verdicts"]) == {"dead", "not_seen_yet", "rare", "alive"}
        assert sum(table["verdicts"].values()) == table["slots"]
    usage = inspector.scan(inspector.load(checkpoint, "cpu"), SENTENCES, 100, cache=False)
    assert found["tokens"] == 100
    assert found["contexts"] == usage.distinct_contexts
    assert found["reads"] == usage.reads == 1600
    assert found["documents"] == usage.documents
    assert (found["complete"], found["notes"]) == (False, [])
    assert found["fingerprint"] == usage.fingerprint
    assert found["corpus"] == str(corpus)
    for table, site in (("0", "L0"), ("1", "L2")):
        read = (usage.sites[site].reads.sum(0) > 0).sum()
        assert found["tables"][table]["usage"] == read / 64
        assert found["tables"][table]["reads"] == 800
        assert found["tables"][table]["slots_read"] == read
        assert found["tables"][table]["unevenness"] > 0
        assert list(found["tables"][table]["sites"]) == [site]
        assert found["tables"][table]["sites"][site]["usage"] == read / 64


def test_a_table_is_printed(checkpoint: Path, corpus: Path) -> None:
    lines = run(checkpoint, corpus, "--column", "body").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["table", "L0", "table", "L2"]
    assert f"{len(SENTENCES)} documents" in lines[-1]


def test_json_alone_on_standard_output(checkpoint: Path, corpus: Path) -> None:
    result = run(checkpoint, corpus, "--column", "body", "--json", "-")
    assert json.loads(result.stdout)["complete"]


def test_what_cannot_be_read_ends_with_2(
    checkpoint: Path,
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["inspector", "scan", str(checkpoint), str(corpus)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "row 1" in said.err
    assert "body" in said.err


def test_ctrl_c_keeps_what_was_counted(
    checkpoint: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_sites, calls = scan_module.run_sites, iter(range(2))

    def interrupted(*arguments: Any) -> None:
        run_sites(*arguments)
        if next(calls, None) is None:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(scan_recorder, "_CHUNK_READS", 640)  # of 40 tokens
    monkeypatch.setattr(scan_module, "run_sites", interrupted)
    result = run(checkpoint, corpus, "--column", "body", "--json", "-")
    found = json.loads(result.stdout)
    assert 0 < found["tokens"] < 200
    assert not found["complete"]
    assert "Stopped after" in result.stderr


def test_a_text_lists_the_slots_that_it_reads(
    checkpoint: Path, corpus: Path, tmp_path: Path
) -> None:
    file = tmp_path / "usage.json"
    options = ("--column", "body", "--text", "Oslo is cold")
    result = run(checkpoint, corpus, *options, "--json", file)
    model = inspector.load(checkpoint, "cpu")
    usage = inspector.scan(model, SENTENCES, cache=False)
    found = json.loads(file.read_text())["specific"]
    n = next(iter(model.sites.values())).info.half_keys
    assert set(found) == {"0", "1"}
    for number, rows in found.items():
        wanted = slots_for_text(model, "Oslo is cold", usage, int(number)).to_frame()
        assert [row["slot"] for row in rows] == wanted["slot"].tolist()
        assert [row["score"] for row in rows] == pytest.approx(wanted["score"].tolist())
        assert all(row["slot"] == row["key"][0] * n + row["key"][1] for row in rows)
        assert f"The text reads {len(rows):,} slots of table {number}" in result.stdout
    with pytest.raises(EmptyPrompt):
        run(checkpoint, corpus, "--column", "body", "--text", " ")


def test_a_second_ctrl_c_interrupts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with output.stop_once() as stopped:
        assert not stopped()
        signal.raise_signal(signal.SIGINT)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (ScanProgress(1500, None, 250.4), "1,500 tokens · 250 tokens/s"),
        (ScanProgress(1500, 2000, 250.0), "1,500 of 2,000 tokens · 250 tokens/s"),
    ],
)
def test_progress_in_words(progress: ScanProgress, text: str) -> None:
    assert progress.in_words == text
