"""``inspector decode``: whole tables, a file of them, and slots for a word."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import inspector
from inspector import cli
from inspector.analyses.decoded_table import decode_table
from inspector.analyses.token_search import matching_tokens, slots_for_tokens
from inspector.families.base import MemoryModel


def run(*arguments: str | Path) -> tuple[str, str]:
    """What ``inspector decode ARGUMENTS`` prints, and what it says on stderr."""
    result = CliRunner().invoke(cli.app, ["decode", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str | Path
) -> str:
    monkeypatch.setattr(sys, "argv", ["inspector", "decode", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def scanned(little_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The little world with its mean gates."""
    from inspector.analyses.gates import FILE, measure_mean_gates, write_mean_gates
    from inspector.capture.trace import encode

    copy = Path(shutil.copytree(little_world, tmp_path_factory.mktemp("scanned") / "little-world"))
    model = inspector.load(copy, "cpu")
    batches = [encode(model, text) for text in ("The capital of France is", "People pay in Japan")]
    write_mean_gates(copy / FILE, measure_mean_gates(model, batches, "two texts"))
    return copy


@pytest.fixture(scope="module")
def model(scanned: Path) -> MemoryModel:
    return inspector.load(scanned, "cpu")


def test_all_tables_at_all_sites_are_counted(
    scanned: Path, model: MemoryModel, tmp_path: Path
) -> None:
    printed, _ = run(scanned, "--json", tmp_path / "d.json", "--device", "cpu")
    found = json.loads((tmp_path / "d.json").read_text())
    named = [(each["site"], each["gate"]) for each in found["decodings"]]
    assert named == [("L0", "raw"), ("L0", "static"), ("L1", "static")]
    assert found["missing"] == []
    for row in found["decodings"]:
        expected = decode_table(model, row["site"], row["gate"])
        assert row["slots"] == 64
        assert row["passing"] == int(expected.passes.sum())
        assert row["significant"] == int(expected.significant.sum())
        assert row["fallback"] == int(expected.fallback.sum())
        line = next(
            line
            for line in printed.splitlines()
            if line.split()[:2] == ["all" if row["gate"] == "raw" else row["site"], row["gate"]]
        )
        assert line.split()[3:5] == ["64", str(row["passing"])]


def test_rows_are_written_where_they_are_wanted(
    scanned: Path, model: MemoryModel, tmp_path: Path
) -> None:
    _, said = run(scanned, "--site", "L1", "--out", tmp_path / "d.parquet", "--top", "4")
    assert f"Wrote 128 rows to {tmp_path / 'd.parquet'}." in said
    rows = pd.read_parquet(tmp_path / "d.parquet")
    assert rows.groupby(["site", "gate"]).size().to_dict() == {
        ("L1", "raw"): 64,
        ("L1", "static"): 64,
    }
    expected = decode_table(model, "L1", "static", top=4).to_frame()
    static = rows[rows["gate"] == "static"].reset_index()
    assert [list(row) for row in static["promoted"]] == expected["promoted"].tolist()


def test_what_is_missing_is_said(little_world: Path, tmp_path: Path) -> None:
    _, said = run(little_world, "--json", tmp_path / "d.json")
    found = json.loads((tmp_path / "d.json").read_text())
    assert [(each["site"], each["gate"]) for each in found["decodings"]] == [("L0", "raw")]
    assert [problem[:40] for problem in found["missing"]] == [
        "little-world has no scan of its own that"
    ] * 2
    assert "`inspector evaluate` makes it" in said


@pytest.mark.parametrize("how", ["word", "prefix", "regex"])
def test_a_word_finds_its_slots(
    scanned: Path, model: MemoryModel, tmp_path: Path, how: str
) -> None:
    flags = () if how == "word" else (f"--{how}",)
    said = decode_table(model, "L0", "raw").to_frame()["promoted"].explode()
    word = next(text.strip() for text in said if text.strip().isalpha())
    printed, _ = run(
        scanned, "--find", word, *flags, "--gate", "raw", "--json", tmp_path / "f.json"
    )
    found = json.loads((tmp_path / "f.json").read_text())["found"]
    tokens = matching_tokens(model, word, how)  # type: ignore[arg-type]
    expected = slots_for_tokens(decode_table(model, "L0", "raw"), tokens)
    assert found["tokens"] == [model.token_text(token) for token in tokens.tolist()]
    assert [row["slot"] for row in found["slots"]] == expected.slots.tolist()
    assert [row["logit"] for row in found["slots"]] == pytest.approx(expected.logit.tolist())
    first = found["slots"][0]
    assert printed.splitlines()[1].split()[:2] == [str(first["slot"]), first["address"]]


def test_a_word_of_several_tokens_is_told(scanned: Path) -> None:
    _, said = run(scanned, "--find", "Zanzibarlike", "--gate", "raw")
    assert "tokens" in said
    assert "other words may begin with" in said


def test_control_characters_of_tokens_do_not_reach_the_terminal(scanned: Path) -> None:
    printed, _ = run(scanned, "--find", r"[\x00-\x1f]", "--regex", "--gate", "raw")
    assert not any(ord(letter) < 32 and letter != "\n" for letter in printed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--gate", "average"), "choose raw or static"),
        (("--find", "(", "--regex"), "is no regular expression"),
        (("--find", " "), "The search is empty"),
        (("--find", "a", "--regex", "--prefix"), "Choose one of"),
        (("--prefix",), "give a word to find"),
        (("--slots", "1", "--find", "a"), "--slots prints some slots"),
        (("--slots", "1,x"), "Slots are numbers"),
        (("--site", "L9"), "no site L9"),
        (("--out", "/nowhere/at/all.parquet", "--gate", "raw"), "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    scanned: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    said = refused(capsys, monkeypatch, scanned, *arguments)
    assert message in said
    assert "Traceback" not in said


def test_nothing_to_decode_is_an_error(
    little_world: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refused(capsys, monkeypatch, little_world, "--gate", "static")
    assert "no scan of its own" in said
    assert "Nothing of little-world could be decoded." in said
