"""Carrying out a sweep: run after run, each kept at once, so that it can stop and go on."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import filelock
import torch

from inspector.analyses.sweep_results import FinishedRun, SweepResults, read_sweep
from inspector.capture.cache import replacing
from inspector.capture.load import load
from inspector.errors import TrainingError
from inspector.memory.llama import MemoryLlamaForCausalLM
from inspector.training.data import TrainingData, make_data
from inspector.training.progress import Progress
from inspector.training.run_folder import read_record
from inspector.training.sweep_answers import measure_answers
from inspector.training.sweep_config import SweepConfig, SweepRun
from inspector.training.sweep_costs import ROUNDS, machine, measure_times, measure_token_costs
from inspector.training.trainer import build_model, train

_CLOCK: Final = "seconds.json"
_CLOCK_EVERY_S: Final = 10.0

Report = Callable[[SweepRun, Progress], None]


def sweep(
    config: SweepConfig,
    results: Path,
    work: Path,
    *,
    most: int | None = None,
    supersede: bool = False,
    report: Report | None = None,
    tell: Callable[[str], None] = lambda message: None,
) -> SweepResults:
    """Make the runs of ``config`` that ``results`` lacks, ``most`` of them, and return all.

    Each finished run is written to ``results`` at once. Checkpoints, also those of a run in
    progress, lie in ``work``: the same command goes on where it was stopped or killed. Runs of
    another configuration are refused, or with ``supersede`` kept in the file apart.

    Raises:
        TrainingError: ``results`` holds another sweep or something else, or cannot be written;
            another process works on it; a run came apart.
        ConfigError: a run cannot be made from ``config``.
    """
    folder = work / config.fingerprint
    with _alone(work, results):
        found = _keep(config, results, work, supersede=supersede)
        made = 0
        for run in config.runs():
            if (run.model.name, run.seed) not in found.missing:
                continue
            if most is not None and made >= most:
                break
            finished = _carry_out(run, config, folder, report, tell)
            found = _keep(config, results, work, finished)
            made += 1
        return found


def time_models(
    config: SweepConfig,
    results: Path,
    work: Path,
    tell: Callable[[str], None] = lambda message: None,
    rounds: int = ROUNDS,
) -> SweepResults:
    """Measure the time per token of every model side by side and write it to ``results``.

    The models are freshly initialised: how long a token takes hardly depends on the weights. It
    may run beside a sweep in ``work``.

    Raises:
        TrainingError: ``results`` holds another sweep or something else, or cannot be written.
    """
    tell("making the data")
    first = config.runs()[0].config
    tokenizer = make_data(first).tokenizer
    models: dict[str, MemoryLlamaForCausalLM] = {}
    for run in config.runs():
        if run.seed == 0:
            models[run.model.name] = build_model(run.config, tokenizer).eval()
    times = {"microseconds_per_token": measure_times(models, rounds, tell), **machine()}
    return _keep(config, results, work, times=times)


# --- one run ------------------------------------------------------------------------------------


def _carry_out(
    run: SweepRun,
    config: SweepConfig,
    folder: Path,
    report: Report | None,
    tell: Callable[[str], None],
) -> FinishedRun:
    """Train one run to its end, or find it there, and measure it."""
    name = run.config.name
    tell(f"{name}: data")
    data = make_data(run.config)
    out = folder / name
    clock = _Clock(out)

    def heard(now: Progress) -> None:
        clock.tick()
        if report is not None:
            report(run, now)

    tell(f"{name}: training")
    train(run.config, out, report=heard, data=data)
    clock.tick(force=True)
    tell(f"{name}: measuring")
    return _measured(run, config, out, data, clock.seconds)


def _measured(
    run: SweepRun,
    config: SweepConfig,
    out: Path,
    data: TrainingData,
    seconds: Mapping[str, float],
) -> FinishedRun:
    model = load(out, "cpu")
    assert isinstance(model.module, MemoryLlamaForCausalLM)
    costs = measure_token_costs(model.module)
    answers = measure_answers(model, data.world.facts, config.asked, config.asked_seed)
    hp = run.config.optimisation
    record = read_record(out) or {}
    return FinishedRun(
        model=run.model.name,
        kind=run.model.kind,
        half_keys=run.model.half_keys,
        seed=run.seed,
        config=config.fingerprint,
        seen=answers["all"]["seen"],
        heldout=answers["all"]["heldout"],
        relations={name: kinds for name, kinds in answers.items() if name != "all"},
        flops={
            "counted": costs.counted,
            "values": costs.values,
            "lookup": costs.lookup,
            "total": costs.flops,
            "head": costs.head,
        },
        parameters={"total": costs.parameters, "active": costs.active, "values": costs.table},
        steps=hp.steps,
        sentences=hp.steps * hp.batch,
        tokens=_tokens(data, hp.steps),
        seconds={name: round(value, 3) for name, value in seconds.items()},
        settings=run.config.to_dict(),
        made_with={
            **machine(),
            "facts": sum(record.get("facts", {}).values()),
            "sources": record.get("sources", []),
        },
    )


def _tokens(data: TrainingData, steps: int) -> int:
    """Tokens the model learned to predict from, the phrasings' among them, without padding."""
    padding = data.tokenizer.pad_token_id
    return sum(int((data.corpus.batch(step).targets != padding).sum()) for step in range(steps))


class _Clock:
    """Seconds spent on one run over all its sessions, kept beside its state."""

    def __init__(self, out: Path) -> None:
        self._file = out / _CLOCK
        self._before = {"wall": 0.0, "cpu": 0.0}
        self._start = time.monotonic(), time.process_time()
        self._written = self._start[0]
        if self._file.exists():
            self._before = json.loads(self._file.read_text(encoding="utf-8"))

    @property
    def seconds(self) -> dict[str, float]:
        """Wall and processor seconds until the last tick."""
        wall, cpu = self._start
        now = time.monotonic() - wall, time.process_time() - cpu
        return {"wall": self._before["wall"] + now[0], "cpu": self._before["cpu"] + now[1]}

    def tick(self, *, force: bool = False) -> None:
        """Write the time down, now and then; a killed session loses what came after."""
        now = time.monotonic()
        if force or now - self._written > _CLOCK_EVERY_S:
            self._written = now
            with replacing(self._file) as part:
                part.write_text(json.dumps(self.seconds), encoding="utf-8")


# --- the file -----------------------------------------------------------------------------------


def _keep(
    config: SweepConfig,
    results: Path,
    work: Path,
    *finished: FinishedRun,
    times: Mapping[str, Any] | None = None,
    supersede: bool = False,
) -> SweepResults:
    """Add to what ``results`` holds by now, and return all of it."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(work / "writing", timeout=60)
        with lock:
            found = _opened(config, results, supersede)
            found = dataclasses.replace(
                found, runs=(*found.runs, *finished), times=found.times if times is None else times
            )
            _write(results, found)
    except filelock.Timeout:
        raise TrainingError(f"Another process keeps {results} from being written.") from None
    except OSError as error:
        raise TrainingError(f"{work} cannot be written to: {error.strerror}.") from None
    return found


def _opened(config: SweepConfig, results: Path, supersede: bool) -> SweepResults:
    """What ``results`` holds of this configuration, with the plan as it is now."""
    fresh = SweepResults(
        config=config.fingerprint,
        settings=config.to_dict(),
        planned=tuple((run.model.name, run.seed) for run in config.runs()),
    )
    if not results.exists():
        return fresh
    found = read_sweep(results)
    if found.config == config.fingerprint:
        return dataclasses.replace(found, settings=fresh.settings, planned=fresh.planned)
    if not supersede:
        raise TrainingError(
            f"{results} holds runs of another configuration ({found.config}, this one is "
            f"{config.fingerprint}); name another file, or have them kept apart with --supersede."
        )
    old = (*found.superseded, *_plain(found))
    return dataclasses.replace(fresh, superseded=old)


def _plain(found: SweepResults) -> Iterator[Mapping[str, Any]]:
    return (run.to_json() for run in found.runs)


def _write(results: Path, found: SweepResults) -> None:
    text = json.dumps(found.to_json(), indent=1, ensure_ascii=False) + "\n"
    try:
        results.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{results} cannot be written: {error.strerror}.") from None
    with replacing(results) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def _alone(work: Path, results: Path) -> Iterator[None]:
    """Two processes would make the same run, and write over each other's results."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(work / "lock", timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise TrainingError(f"Another sweep works in {work}, perhaps on {results}.") from None
    except OSError as error:
        raise TrainingError(f"{work} cannot be written to: {error.strerror}.") from None
    try:
        yield
    finally:
        lock.release()


def set_threads(threads: int) -> None:
    """Processor threads of every run; one keeps times comparable on a busy machine."""
    torch.set_num_threads(threads)
