"""The command line: what it prints, the JSON it writes, and how it says what is wrong."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

import inspector
from inspector import cli
from inspector.cli import output, tables
from inspector.training import trainer
from tests.training.little_world import build_facts_once

PROMPT = "The capital of France is"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, list(map(str, arguments)), catch_exceptions=False)


def succeed(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def fail(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str | Path
) -> str:
    """What ``inspector ARGUMENTS`` says on stderr when it leaves with 2."""
    monkeypatch.setattr(sys, "argv", ["inspector", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err


@pytest.fixture
def copy(little_world: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(little_world, tmp_path / "little-world"))


def test_trace_prints_tokens_predictions_and_reads(little_world: Path) -> None:
    printed = succeed("trace", little_world, PROMPT, "--top", "2", "--device", "cpu")
    found = inspector.trace(inspector.load(little_world, "cpu"), PROMPT)
    first_lines = [line for line in printed.splitlines() if line[0].isdigit()]
    assert [line.split()[1] for line in first_lines] == list(map(tables.visible_text, found.tokens))
    text, chance = found.top[0][-1][0]
    assert f"{tables.visible_text(text)} {chance:.0%}" in printed
    for name in ("L0", "L1"):
        reads = found.reads[name]
        head, rank = divmod(int(reads.weights[0, -1].argmax()), 4)
        address = found.sites[name].address(int(reads.slots[0, -1, head, rank]), head)
        assert f"{address} {float(reads.weights[0, -1, head, rank]):.3f}" in printed
    assert printed.count("L1·H") == 2 * len(found.tokens)


def test_trace_writes_json_under_the_names_of_the_records(
    little_world: Path, tmp_path: Path
) -> None:
    file = tmp_path / "trace.json"
    succeed("trace", little_world, PROMPT, "--json", file, "--top", "3")
    written = json.loads(file.read_text())
    found = inspector.trace(inspector.load(little_world, "cpu"), PROMPT)
    assert written["tokens"] == list(found.tokens)
    assert list(written["sites"]) == ["L0", "L1"]
    assert written["sites"]["L1"]["slots"] == found.reads["L1"].slots[0].tolist()
    for part in ("scores", "weights"):
        torch.testing.assert_close(
            torch.tensor(written["sites"]["L1"][part]), getattr(found.reads["L1"], part)[0]
        )
    best = found.probabilities()[0].topk(3).values
    assert torch.tensor(
        [[guess["probability"] for guess in position] for position in written["predictions"]]
    ) == pytest.approx(best)
    assert written["predictions"][-1][0]["token"] == found.top[0][-1][0][0]


def test_json_alone_goes_to_standard_output(little_world: Path) -> None:
    assert json.loads(succeed("trace", little_world, PROMPT, "--json", "-"))["tokens"][0] == "<s>"


def test_token_text_is_never_markup_and_nothing_in_it_is_hidden(little_world: Path) -> None:
    printed = succeed("trace", little_world, "[red]a\t\x1b[31m [/] \u202e", "--top", "1")
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    shown = "".join(line.split()[1] for line in printed.splitlines()[2:])
    assert shown.startswith("[red]a⇥�[31m·[/]·")


def test_check_prints_the_load_report_and_the_self_check(
    little_world: Path, tmp_path: Path
) -> None:
    printed = succeed("check", little_world, "--json", tmp_path / "check.json")
    assert "2 heads × 4 reads, n = 8, 64 slots" in printed
    assert "passed" in printed
    written = json.loads((tmp_path / "check.json").read_text())
    assert written["fingerprint"] == inspector.load(little_world, "cpu").fingerprint
    assert written["self_check"]["passed"] is True
    assert written["sites"]["L0"]["half_keys"] == 8


def test_a_failed_self_check_exits_with_2(
    little_world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = inspector.SelfCheck({"L0": 1.0, "L1": 0.0}, 0.0, 0.0, 1e-5)
    monkeypatch.setattr("inspector.capture.load.self_check", lambda model: failed)
    monkeypatch.setattr(sys, "argv", ["inspector", "check", str(little_world)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert "FAILED" in said.out
    assert "traces can't be trusted" in said.err


def test_decode_prints_promoted_and_suppressed_tokens(little_world: Path, tmp_path: Path) -> None:
    arguments = ("--slots", "9,63", "--site", "L1", "--top", "3", "--json", tmp_path / "d.json")
    printed = succeed("decode", little_world, *arguments)
    found = inspector.decode(inspector.load(little_world, "cpu"), [9, 63], "L1", "raw", top=3)
    written = json.loads((tmp_path / "d.json").read_text())
    assert (written["site"], written["gate"]) == ("L1", "raw")
    for row, slot in enumerate(written["slots"]):
        for kind, ids in (("promoted", found.promoted), ("suppressed", found.suppressed)):
            texts = found.texts(ids[row])
            assert [token["token"] for token in slot[kind]] == texts
            assert " ".join(map(tables.visible_text, texts)) in printed
    assert [slot["address"] for slot in written["slots"]] == ["L1·(1,1)", "L1·(7,7)"]


def test_evaluate_writes_beside_the_checkpoint_what_static_decoding_needs(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decode = ("decode", copy, "--slots", "9", "--gate", "static")
    assert "`inspector evaluate` makes it" in fail(capsys, monkeypatch, *decode)
    assert "recall in a seen phrasing" in succeed("evaluate", copy)
    assert {"metrics.json", "README.md", "mean_gates.safetensors"} <= {
        file.name for file in copy.iterdir()
    }
    assert "L0·(1,1)" in succeed(*decode)


CONFIG = """
vocabulary = 400
[limits]
capital = 9
currency = 9
continent = 9
domain = 9
calling_code = 9
country = 9
airport = 9
[optimisation]
steps = 3
batch = 16
[model]
hidden_size = 16
intermediate_size = 16
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 64
memory_layers = [0]
memory_heads = 1
memory_knn = 2
memory_half_keys = 4
memory_d_key = 8
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    build_facts_once(monkeypatch)
    path = tmp_path / "mini.toml"
    path.write_text(CONFIG)
    return path


def test_train_makes_a_checkpoint_and_measures_it(config: Path, tmp_path: Path) -> None:
    result = run("train", config, tmp_path / "mini", "--device", "cpu", "--threads", "1")
    assert result.exit_code == 0
    assert "training: 100% · 3 of 3 steps · loss " in result.stderr
    assert "recall in a seen phrasing" in result.stdout
    assert (tmp_path / "mini" / "metrics.json").exists()
    assert "inspector train mini.toml mini" in (tmp_path / "mini" / "README.md").read_text()


def test_train_can_leave_it_unmeasured(config: Path, tmp_path: Path) -> None:
    assert succeed("train", config, tmp_path / "mini", "--device", "cpu", "--no-evaluate") == ""
    assert not (tmp_path / "mini" / "metrics.json").exists()


def test_a_stopped_training_says_how_to_go_on(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: Any) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_train_step", stopped)
        result = run("train", config, tmp_path / "mini", "--device", "cpu")
    assert result.exit_code == 130
    assert "The same command goes on from here." in result.stderr
    succeed("train", config, tmp_path / "mini", "--device", "cpu", "--no-evaluate")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("trace", "{}/nowhere", PROMPT), "There is nothing at"),
        (("trace", "{}", " "), "The prompt is empty"),
        (("trace", "{}", "word " * 60), "has 48 positions"),
        (("trace", "{}", "\udcff"), "The prompt is not valid UTF-8"),
        (("trace", "{}", PROMPT, "--device", "abacus"), "The device 'abacus' cannot be used"),
        (("trace", "{}", PROMPT, "--json", "{}"), "cannot be written: Is a directory"),
        (("decode", "{}", "--slots", "1,x"), "Slots are numbers such as 1,2,3; found '1,x'"),
        (("decode", "{}", "--slots", "64"), "Slots of L0 are 0 to 63"),
        (("decode", "{}", "--slots", "1", "--site", "L7"), "There is no site L7"),
        (("decode", "{}", "--slots", "1", "--gate", "open"), "There is no gate 'open'"),
        (("facts", "{}", "--facts", "{}/none.jsonl"), "name a file of facts"),
        (("train", "{}/none.toml", "{}/out"), "cannot be read: No such file"),
    ],
)
def test_what_is_wrong_is_one_sentence_on_stderr(
    little_world: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    complaint: str,
) -> None:
    filled = [argument.replace("{}", str(little_world)) for argument in arguments]
    said = fail(capsys, monkeypatch, *filled)
    assert said.startswith("inspector: ")
    assert complaint in said


def test_in_a_pipe_progress_is_a_line_now_and_then_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(output.time, "monotonic", lambda: clock[0])
    with output.progress("scanning") as report:
        for clock[0], done, total in (
            *((20.0, 10, None), (40.0, 20, None), (50.0, 25, 3990), (72.0, 36, 4000)),
            *((75.0, 4000, 4000), (76.0, 1, 4000), (106.0, 31, 4000)),
        ):
            report(done, total, "" if done == 4000 else f"{done} tokens")
    assert capsys.readouterr().err.splitlines() == [
        "scanning: 20 tokens",
        "scanning: 1% · 36 tokens · 2:12:08 left",
        "scanning: 100% · 4,000 of 4,000 · 0:00:00 left",
        "scanning: 1% · 31 tokens · 1:06:09 left",
    ]


@pytest.mark.parametrize(
    ("token", "shown"),
    [(" a", "·a"), ("\n", "⏎"), ("\u200b", "�"), ("\xa0", "␣"), ("", "∅"), ("é😀", "é😀")],
)
def test_every_character_of_a_token_is_seen(token: str, shown: str) -> None:
    assert tables.visible_text(token) == shown


def test_help_comes_at_once_and_names_every_command() -> None:
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "inspector", "--help"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert time.monotonic() - start < 10
    for command in ("trace", "check", "decode", "facts", "evaluate", "train"):
        assert f"{command} " in done.stdout
    modules = (line.rpartition("|")[2].strip() for line in done.stderr.splitlines())
    imported = {module.partition(".")[0] for module in modules}
    assert not imported & {"torch", "transformers", "pandas", "numpy"}


def test_python_m_inspector_leaves_with_2_and_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inspector", "decode", tmp_path, "--slots", "one"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "inspector: Slots are numbers such as 1,2,3; found 'one'.\n"
