"""A sweep goes on where it was killed, keeps every run, and mixes no configurations."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest

from inspector.analyses.facts import Fact
from inspector.analyses.recall import Question, measure_recall
from inspector.analyses.sweep_results import SweepResults, read_sweep
from inspector.capture.load import load
from inspector.errors import TrainingError
from inspector.training import sweep as sweeps
from inspector.training import trainer
from inspector.training.data import make_data
from inspector.training.run_folder import RunFolder
from inspector.training.sweep import sweep, time_models
from inspector.training.sweep_answers import measure_answers
from inspector.training.sweep_config import SweepConfig, SweepRun
from tests.training.little_world import LIMITS, build_facts_once

STEPS = 6
BACKBONE = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 48,
    "tie_word_embeddings": True,
}
MEMORY = {"memory_heads": 2, "memory_knn": 4, "memory_d_key": 16}
CONFIG = SweepConfig(
    half_keys=(8,),
    match_flops=(8,),
    match_parameters=(),
    blocks=(1,),
    seeds=2,
    asked=20,
    training={"vocabulary": 500, "limits": LIMITS},
    backbone=BACKBONE,
    memory=MEMORY,
    optimisation={"steps": STEPS, "batch": 32, "prompt_weight": 0.0},
)
EMPTY = SweepResults("x", {}, ()).to_json()
RUNS = [(run.model.name, run.seed) for run in CONFIG.runs()]


class Killed(BaseException):
    """What nothing catches, as a kill from outside."""


@pytest.fixture(autouse=True)
def shared_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    build_facts_once(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Results of a sweep that nothing disturbed."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        build_facts_once(patch)
        sweep(CONFIG, folder / "sweep.json", folder / "work")
        yield folder / "sweep.json"


def measured(results: Path) -> list[dict[str, Any]]:
    """Every run but for the time it took."""
    runs = [run.to_json() for run in read_sweep(results).runs]
    return [{name: value for name, value in run.items() if name != "seconds"} for run in runs]


def kill_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Kill the process within a step; the state is saved after every step."""
    real = trainer._train_step

    def dying(*arguments: Any) -> float:
        if arguments[4] == step:
            raise Killed
        return real(*arguments)

    patch.setattr(trainer, "_train_step", dying)
    patch.setattr(trainer, "_SAVE_EVERY_S", -1.0)


def test_every_run_is_made_in_order(whole: Path) -> None:
    found = read_sweep(whole)
    assert [(run.model, run.seed) for run in found.runs] == RUNS
    assert found.missing == ()
    assert found.config == CONFIG.fingerprint
    assert found.settings == CONFIG.to_dict()
    assert all(run.config == CONFIG.fingerprint for run in found.runs)


def test_the_record_of_a_run_says_what_it_was(whole: Path) -> None:
    for run, planned in zip(read_sweep(whole).runs, CONFIG.runs(), strict=True):
        data = make_data(planned.config)
        padding = data.tokenizer.pad_token_id
        batches = [data.corpus.batch(step) for step in range(STEPS)]
        assert run.settings == planned.config.to_dict()
        assert run.tokens == sum(int((batch.targets != padding).sum()) for batch in batches)
        assert (run.steps, run.sentences) == (STEPS, STEPS * 32)
        assert run.slots == (64 if run.kind == "memory" else 0)
        assert run.seconds["wall"] > 0
        assert run.made_with["facts"] == len(data.world.facts)
        assert run.flops["total"] == sum(
            run.flops[kind] for kind in ("counted", "values", "lookup")
        )


def test_answers_are_those_of_the_checkpoint(whole: Path) -> None:
    run = read_sweep(whole).runs[1]
    model = load(whole.parent / "work" / CONFIG.fingerprint / "memory-8-seed-0", "cpu")
    facts = make_data(CONFIG.runs()[1].config).world.facts
    found = measure_answers(model, facts, CONFIG.asked, CONFIG.asked_seed)
    assert (run.seen, run.heldout) == (found["all"]["seen"], found["all"]["heldout"])
    assert run.relations == {name: kinds for name, kinds in found.items() if name != "all"}
    assert run.seen.asked == 20


def test_answers_asked_of_every_fact_are_plain_recall(whole: Path) -> None:
    model = load(whole.parent / "work" / CONFIG.fingerprint / "memory-8-seed-0", "cpu")
    world = make_data(CONFIG.runs()[1].config).world.facts
    facts = [dataclasses.replace(fact, prompts=fact.prompts[:1]) for fact in world]
    found = measure_answers(model, facts, len(facts) + 5, 0)
    plain = measure_recall(model, [Question(fact.prompts[0], fact.object) for fact in facts])
    assert found["all"]["seen"].asked == len(facts)
    assert found["all"]["seen"].recall == pytest.approx(plain.rate, abs=1e-6)
    assert found["all"]["seen"].nll == pytest.approx(plain.answer_loss.mean(), abs=1e-4)
    held = [fact for fact in facts if fact.heldout_prompts]
    out = measure_recall(model, [Question(f.heldout_prompts[0], f.object) for f in held])
    assert found["all"]["heldout"].nll == pytest.approx(out.answer_loss.mean(), abs=1e-4)
    rows = [row for row, fact in enumerate(facts) if fact.relation == "airport"]
    assert found["airport"]["seen"].nll == pytest.approx(
        float(np.mean(plain.answer_loss[rows])), abs=1e-4
    )


def test_the_same_facts_are_asked_whatever_their_order(whole: Path) -> None:
    model = load(whole.parent / "work" / CONFIG.fingerprint / "dense-seed-0", "cpu")
    facts: tuple[Fact, ...] = make_data(CONFIG.runs()[0].config).world.facts
    assert measure_answers(model, facts, 9, 3) == measure_answers(model, facts[::-1], 9, 3)


@pytest.mark.parametrize("killed_at", [0, 4])
def test_killed_within_a_run_it_goes_on_to_the_same_results(
    whole: Path, tmp_path: Path, killed_at: int
) -> None:
    results, work = tmp_path / "sweep.json", tmp_path / "work"
    sweep(CONFIG, results, work, most=1)
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, killed_at)
        with pytest.raises(Killed):
            sweep(CONFIG, results, work)
    assert [(run.model, run.seed) for run in read_sweep(results).runs] == RUNS[:1]
    state = work / CONFIG.fingerprint / "memory-8-seed-0" / "training_state.pt"
    assert state.exists() == (killed_at > 0)
    sweep(CONFIG, results, work)
    assert measured(results) == measured(whole)


def test_killed_between_training_and_writing_it_measures_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, work = tmp_path / "sweep.json", tmp_path / "work"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeps, "measure_answers", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            sweep(CONFIG, results, work, most=1)
    assert read_sweep(results).runs == ()
    clock = work / CONFIG.fingerprint / "dense-seed-0" / "seconds.json"
    assert set(json.loads(clock.read_text())) == {"wall", "cpu"}
    clock.write_text(json.dumps({"wall": 60.0, "cpu": 50.0}))  # as if it had been a longer one
    monkeypatch.setattr(trainer, "_train_step", lambda *_: pytest.fail("it was trained already"))
    sweep(CONFIG, results, work, most=1)
    assert measured(results) == measured(whole)[:1]
    seconds = read_sweep(results).runs[0].seconds
    assert seconds["wall"] >= 60.0
    assert seconds["cpu"] >= 50.0


def test_killed_while_it_writes_the_file_stays_whole(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, work = tmp_path / "sweep.json", tmp_path / "work"
    sweep(CONFIG, results, work, most=1)
    before = results.read_bytes()
    real = Path.write_text

    def half(file: Path, text: str, *arguments: Any, **options: Any) -> int:
        if file.name.startswith("sweep.json"):
            real(file, text[: len(text) // 2], *arguments, **options)
            raise Killed
        return real(file, text, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", half)
        with pytest.raises(Killed):
            sweep(CONFIG, results, work, most=1)
    assert results.read_bytes() == before
    sweep(CONFIG, results, work)
    assert measured(results) == measured(whole)


def test_time_of_all_sessions_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, work = tmp_path / "sweep.json", tmp_path / "work"
    run = CONFIG.runs()[0]
    folder = work / CONFIG.fingerprint / run.config.name
    RunFolder(folder, run.config).claim()
    (folder / "seconds.json").write_text('{"wall": 1000.0, "cpu": 500.0}')
    found = sweep(CONFIG, results, work, most=1)
    assert 1000 < found.runs[0].seconds["wall"] < 1100
    assert 500 < found.runs[0].seconds["cpu"] < 600


def test_another_configuration_is_refused_or_kept_apart(whole: Path, tmp_path: Path) -> None:
    results, work = tmp_path / "sweep.json", tmp_path / "work"
    results.write_bytes(whole.read_bytes())
    other = dataclasses.replace(CONFIG, optimisation={**CONFIG.optimisation, "steps": 2})
    with pytest.raises(TrainingError, match="runs of another configuration"):
        sweep(other, results, work)
    assert results.read_bytes() == whole.read_bytes()
    found = sweep(other, results, work, most=1, supersede=True)
    assert len(found.superseded) == len(RUNS)
    assert [run["config"] for run in found.superseded] == [CONFIG.fingerprint] * len(RUNS)
    assert [run.steps for run in found.runs] == [2]
    assert sweep(other, results, work, most=1).superseded == found.superseded


def test_more_seeds_keep_what_is_done(whole: Path, tmp_path: Path) -> None:
    results = tmp_path / "sweep.json"
    results.write_bytes(whole.read_bytes())
    more = dataclasses.replace(CONFIG, seeds=3)
    found = sweep(more, results, tmp_path / "work", most=0)
    assert found.runs == read_sweep(whole).runs
    assert found.missing == (("dense", 2), ("memory-8", 2), ("dense-flops-8", 2))


def test_two_sweeps_do_not_share_a_folder(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with (
        filelock.FileLock(work / "lock"),
        pytest.raises(TrainingError, match="Another sweep works in"),
    ):
        sweep(CONFIG, tmp_path / "sweep.json", work)


def test_times_are_added_beside_runs(whole: Path, tmp_path: Path) -> None:
    results = tmp_path / "sweep.json"
    results.write_bytes(whole.read_bytes())
    found = time_models(CONFIG, results, tmp_path / "work", rounds=2)
    assert found.runs == read_sweep(whole).runs
    times = read_sweep(results).times["microseconds_per_token"]
    assert list(times) == ["dense", "memory-8", "dense-flops-8"]


def test_progress_names_the_run(tmp_path: Path) -> None:
    heard: list[tuple[SweepRun, int]] = []
    sweep(
        CONFIG,
        tmp_path / "sweep.json",
        tmp_path / "work",
        most=1,
        report=lambda run, now: heard.append((run, now.step)),
    )
    assert heard[-1] == (CONFIG.runs()[0], STEPS)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "it is not JSON"),
        ("[]", "is no sweep of format 1"),
        ('{"format": 2}', "is no sweep of format 1"),
        ('{"format": 1, "config": "x"}', "is a broken sweep"),
        (json.dumps({**EMPTY, "runs": [{}]}), "is a broken sweep"),
    ],
)
def test_a_file_of_something_else_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "sweep.json"
    file.write_text(text)
    with pytest.raises(TrainingError, match=complaint):
        sweep(CONFIG, file, tmp_path / "work")
    with pytest.raises(TrainingError, match="cannot be read"):
        read_sweep(tmp_path / "none.json")


def test_results_refuse_runs_of_two_configurations(whole: Path) -> None:
    found = read_sweep(whole)
    with pytest.raises(ValueError, match="runs of the configurations"):
        SweepResults("another", found.settings, found.planned, found.runs)
    with pytest.raises(ValueError, match="appear twice"):
        dataclasses.replace(found, runs=(found.runs[0], found.runs[0]))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"flops": {}}, "flops lacks total"),
        ({"made_with": {}}, "made_with lacks facts"),
        ({"steps": 0}, "a run of 0 steps"),
        ({"kind": "sparse"}, "kind 'sparse'"),
    ],
)
def test_a_run_that_lacks_something_is_refused(
    whole: Path, change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(read_sweep(whole).runs[0], **change)


def test_the_file_is_plain_json_that_reads_back(whole: Path) -> None:
    found = read_sweep(whole)
    assert json.loads(whole.read_text()) == json.loads(json.dumps(found.to_json()))
    frame = found.to_frame()
    assert list(frame["model"]) == [model for model, _ in RUNS]
    assert frame["recall"].tolist() == [run.seen.recall for run in found.runs]
