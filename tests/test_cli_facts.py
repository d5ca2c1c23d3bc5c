"""``inspector facts``: recall, where a fact lives, and the proof, without a browser."""

import json
from pathlib import Path

import pandas as pd
import pytest

import inspector
from inspector.analyses.fact_recall import recall_facts
from inspector.analyses.facts import read_facts, write_facts
from tests.analyses.planted_facts import FACTS, TWICE, planted_model, slot
from tests.test_cli import fail, run, succeed


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted") / "planted"
    planted_model(folder)
    write_facts(folder / "facts.jsonl", FACTS)
    return folder


def test_recall_of_each_relation_is_printed_and_written(little_world: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "rows.parquet", tmp_path / "facts.json"
    printed = succeed("facts", little_world, "--json", file, "--out", out)
    facts = read_facts(little_world / "facts.jsonl")
    expected = recall_facts(inspector.load(little_world, "cpu"), facts)
    assert json.loads(file.read_text()) == expected.to_json()
    pd.testing.assert_frame_equal(pd.read_parquet(out), expected.to_frame())
    rates = expected.by_relation()["currency"]
    line = next(line for line in printed.splitlines() if line.startswith("currency"))
    assert line.split()[:4] == [
        "currency",
        "14",
        f"{rates['recall']:.3f}",
        f"{rates['heldout_recall']:.3f}",
    ]


def test_where_a_fact_lives_is_a_table_and_a_sentence_each(planted: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "reads.csv", tmp_path / "fact.json"
    result = run("facts", planted, "--locate", "bob", "--json", file, "--out", out)
    assert result.exit_code == 0, result.output
    assert "L0·H0·(4,8)" in result.stdout
    assert "zero, mask" in result.stdout
    assert "its core set is 2 slots" in result.stderr
    assert result.stderr.count("Proven: with its 2 slots") == 2
    written = json.loads(file.read_text())
    assert {m["slot"] for m in written["core_sets"]["zero"]["members"]} == {
        slot("Bob", "home"),
        slot("home", "Bob"),
    }
    assert written["proofs"]["mask"]["proven"]
    assert set(pd.read_csv(out)["prompt"]) == set(TWICE.prompts)


def test_many_facts_are_proven(planted: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "proof.json", tmp_path / "summary.json"
    printed = succeed("facts", planted, "--prove", "6", "--json", file, "--out", out)
    assert "no core set" in printed
    summary = json.loads(file.read_text())["summary"]
    assert [row["kind"] for row in summary] == ["zero", "mask"]
    assert [row["no_core_set"] for row in summary] == [1, 1]
    assert len(json.loads(out.read_text())) == 12


CSV = "subject,relation,object,prompt\nAda,home,Rome,Ada home is\nBob,home,,Bob home is\n"


def test_a_table_of_ones_own_is_checked_row_by_row(
    planted: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = tmp_path / "mine.csv"
    table.write_text(CSV)
    said = fail(capsys, monkeypatch, "facts", planted, table)
    assert "row 3: found object = '', expected a text" in said
    result = run("facts", planted, table, "--keep-good", "--json", "-")
    assert json.loads(result.stdout)["relations"]["home"]["n"] == 1
    assert "left out: row 3" in result.stderr


def test_rows_without_a_prompt_are_asked_in_the_checkpoints_words(
    planted: Path, tmp_path: Path
) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("subject,relation,object\nEve,home,New York\n")
    result = run("facts", planted, table, "--json", "-")
    assert json.loads(result.stdout)["relations"]["home"]["begins"] == 1
    assert "in the checkpoint's own words" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--locate", "Zuleika"), "No fact is about 'Zuleika'"),
        (("--locate", "Ada"), "several facts about 'Ada'"),
        (("--locate", "Ada", "--prove", "3"), "choose one of the two"),
        (("--scope", "row"), "no scope 'row': choose table, site, head, read"),
        (("--out", "rows.txt"), "names no format that is written"),
        (("{}/none.csv",), "name a file of facts"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    planted: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    complaint: str,
) -> None:
    filled = [argument.replace("{}", str(planted)) for argument in arguments]
    said = fail(capsys, monkeypatch, "facts", planted, *filled)
    assert complaint in said
    assert said.count("\n") == 1
