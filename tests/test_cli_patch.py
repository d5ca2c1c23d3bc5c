"""``inspector patch``: make, show, apply; and when nothing is written."""

import json
from pathlib import Path

import pytest

import inspector
from inspector.analyses.facts import Fact, read_facts
from inspector.analyses.recall import Question, measure_recall
from tests.families.test_native_edit import contents
from tests.test_cli import fail, run


@pytest.fixture(scope="module")
def fact(little_world: Path) -> Fact:
    return next(f for f in read_facts(little_world / "facts.jsonl") if f.relation == "continent")


@pytest.fixture(scope="module")
def patch(little_world: Path, fact: Fact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A patch with which the fact's continent is another one."""
    out = tmp_path_factory.mktemp("patch") / "x.patch.safetensors"
    answer = "Asia" if fact.object != "Asia" else "Europe"
    about = f"continent of {fact.subject}"
    options = ("--answer", answer, "--why", "a test", "--device", "cpu")
    result = run("patch", "make", little_world, out, "--fact", about, *options)
    assert result.exit_code == 0, result.output
    assert "efficacy" in result.stdout
    assert f"Written to {out}" in result.stderr
    return out


def test_show_tells_what_a_patch_is_for(patch: Path, fact: Fact) -> None:
    result = run("patch", "show", patch, "--json", "-")
    told = json.loads(result.stdout)
    assert told["what"].startswith(f"The continent of {fact.subject} is ")
    assert told["why"] == "a test"
    assert told["figures"]["after"]["efficacy"] == 1.0
    assert f"{len(told['slots']['0'])} slots" in run("patch", "show", patch).stdout


def test_apply_writes_a_checkpoint_that_says_so(
    little_world: Path, patch: Path, fact: Fact, tmp_path: Path
) -> None:
    before, out = contents(little_world), tmp_path / "out"
    result = run("patch", "apply", little_world, patch, out)
    assert result.exit_code == 0, result.output
    assert "values changed" in result.stderr
    told = json.loads(run("patch", "show", patch, "--json", "-").stdout)
    made = inspector.load(out, "cpu")
    questions = [Question(prompt, told["figures"]["answer"]) for prompt in fact.prompts]
    assert measure_recall(made, questions).correct.all()
    assert inspector.self_check(made).passed
    assert contents(little_world) == before


def test_what_is_wrong_is_one_sentence(
    little_world: Path,
    patch: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def said(*arguments: object) -> str:
        return fail(capsys, monkeypatch, "patch", *arguments)

    out = tmp_path / "out"
    apply_to = ("apply", little_world)
    assert "at least one patch" in said(*apply_to, out)
    assert "There is no patch at" in said(*apply_to, tmp_path / "missing", out)
    assert "never written to" in said(*apply_to, patch, little_world / "below")
    make = ("make", little_world)
    assert "is there already" in said(*make, patch, "--fact", "continent of Peru")
    assert "relations are: " in said(*make, out, "--fact", "Peru")
    assert "No fact tells the capital of 'Nowhere'" in said(
        *make, out, "--fact", "capital of Nowhere"
    )
    assert list(tmp_path.iterdir()) == []
