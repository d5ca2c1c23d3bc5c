"""``inspector revive``: what it prints, what it writes, and when it writes nothing."""

import json
from pathlib import Path

import pytest

import inspector
from tests.analyses.planted_checkpoint import planted_texts, write_planted
from tests.families.test_native_edit import contents
from tests.test_cli import fail, run


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted(tmp_path_factory.mktemp("planted") / "planted")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    file = tmp_path / "corpus.txt"
    file.write_text("\n".join(planted_texts()))
    return file


def test_it_writes_a_checkpoint_and_says_what_it_did(
    checkpoint: Path,
    corpus: Path,
    tmp_path: Path,
) -> None:
    out, told = tmp_path / "out", tmp_path / "told.json"
    result = run("revive", checkpoint, out, corpus, "--json", told, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "chosen" in result.stdout
    assert "are revived. On" in result.stderr
    written = json.loads(told.read_text())
    assert written == json.loads((out / "revived.json").read_text())
    assert f"{written['revived']} of {written['dead']}" in result.stdout
    assert inspector.self_check(inspector.load(out, "cpu")).passed


def test_without_a_corpus_it_reads_the_facts_and_where_they_are_too_few_says_so(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = fail(capsys, monkeypatch, "revive", checkpoint, tmp_path / "out")
    assert "too few documents" in said
    assert list(tmp_path.iterdir()) == []


def test_with_too_little_evidence_nothing_is_written(
    checkpoint: Path,
    corpus: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(inspector.InspectorError, match=r"not seen yet.*Nothing was written\.$"):
        run("revive", checkpoint, tmp_path / "out", corpus, "--tokens", "20", "--device", "cpu")
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_overwritten(
    checkpoint: Path,
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = contents(checkpoint)
    said = fail(capsys, monkeypatch, "revive", checkpoint, tmp_path, corpus)
    assert "not an empty directory" in said
    assert "never written to" in fail(capsys, monkeypatch, "revive", checkpoint, checkpoint, corpus)
    assert contents(checkpoint) == before
    assert contents(tmp_path).keys() == {"corpus.txt"}
