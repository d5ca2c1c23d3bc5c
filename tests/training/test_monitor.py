"""The monitor's figures are a brute-force count; it costs nothing between, and survives a kill."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers.trainer_callback import CallbackHandler, TrainerControl, TrainerState

from inspector.analyses.training_record import (
    NORMS,
    QUANTILES,
    TrainingRecord,
    read_training_record,
    record_folder,
)
from inspector.analyses.usage_measures import spread
from inspector.errors import TrainingError
from inspector.memory.layer import MemoryShape, ProductKeyMemory
from inspector.memory.values import ValueTable
from inspector.training import monitor as monitors
from inspector.training import monitor_parts, trainer
from inspector.training.monitor import Monitor, half_key_counts
from inspector.training.monitor_callback import MonitorCallback
from inspector.training.monitor_counts import PrefixFilter, SiteCounts
from tests.training.little_world import build_facts_once, config_of

N, HEADS, KNN = 6, 2, 3
SHAPE = MemoryShape(d_model=8, heads=HEADS, knn=KNN, half_keys=N, d_key=8, d_value=8)
PAD = 0


class Plain(nn.Module):
    """A plain model with two memory layers on one table and one on another."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(20, 8)
        self.tables = nn.ModuleList([ValueTable(N * N, 8), ValueTable(N * N, 8)])
        owners = [self.tables[0], self.tables[0], self.tables[1]]
        self.blocks = nn.ModuleList([ProductKeyMemory(SHAPE, table) for table in owners])  # type: ignore[arg-type]
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        x: Tensor = self.embedding(input_ids)
        for block in self.blocks:
            x = x + block(x)
        return x


@pytest.fixture
def model() -> Plain:
    return Plain().train()


def batches(count: int, seed: int = 0) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield torch.randint(1, 20, (4, 5), generator=generator)


def train(model: Plain, monitor: Monitor, steps: int, start: int = 0) -> None:
    """Steps that call the model and change its weights."""
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for step, ids in enumerate(batches(steps), start=1):
        if step > start:
            model(ids).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            monitor.step(step)


def reads_of(model: Plain, ids: Tensor) -> list[Tensor]:
    """The slots that each site reads at each position, worked out by the layers themselves."""
    x, found = model.embedding(ids), []
    for block in model.blocks:
        found.append(block.top_slots(block.half_key_scores(x)).slots)
        x = x + block(x)
    return found


def test_a_record_is_what_brute_force_counts(model: Plain, tmp_path: Path) -> None:
    monitor = Monitor(model, tmp_path, every=4, window=2, budget=None)
    counted: dict[str, list[list[int]]] = {"L0": [], "L1": [], "L2": []}
    tokens = 0
    prefixes: set[tuple[int, ...]] = set()
    for step, ids in enumerate(batches(4), start=1):
        if step in (3, 4):  # the window before the record of step 4
            for row in range(4):
                for pos in range(5):
                    prefix = tuple(ids[row, : pos + 1].tolist())
                    if prefix not in prefixes:
                        prefixes.add(prefix)
                        tokens += 1
                        for name, slots in zip(counted, reads_of(model, ids), strict=True):
                            counted[name].append(slots[row, pos].flatten().tolist())
        model(ids)
        monitor.step(step)
    record = read_training_record(tmp_path)
    assert record.steps == (1, 4)
    assert record.tables == (0, 1)
    assert record.sites_of(0) == ("L0", "L1")
    for table, names in ((0, ("L0", "L1")), (1, ("L2",))):
        whole = np.zeros(N * N, dtype=np.int64)
        for name in names:
            amounts = np.bincount(np.ravel(counted[name]), minlength=N * N)
            whole += amounts
            check_row(record.of(table, name).iloc[-1], amounts, tokens)
        row = record.of(table).iloc[-1]
        check_row(row, whole, tokens)
        weight = model.tables[table].weight
        norms = weight.detach().norm(dim=-1).numpy()
        assert [row[name] for name in NORMS] == pytest.approx(np.percentile(norms, QUANTILES))
    assert math.isnan(record.of(0, "L0").iloc[-1]["norm_50"])


def check_row(row: Any, amounts: np.ndarray, tokens: int) -> None:
    shares = amounts[amounts > 0] / amounts.sum()
    entropy = -(shares * np.log(shares)).sum()
    assert row["tokens"] == tokens
    assert row["steps"] == 2
    assert row["reads"] == amounts.sum()
    assert row["slots_read"] == (amounts > 0).sum()
    assert row["usage"] == pytest.approx((amounts > 0).sum() / len(amounts))
    assert row["unevenness"] == pytest.approx(math.log(len(amounts)) - entropy)
    assert row["effective"] == pytest.approx(math.exp(entropy))
    assert row["gini"] == pytest.approx(spread(amounts).gini)


def test_weighted_measures_and_half_keys_are_counted_from_the_reads(model: Plain) -> None:
    counts = SiteCounts("L0", N)
    ids = next(batches(1))
    block = model.blocks[0]
    with torch.no_grad():
        reads = block.top_slots(block.half_key_scores(model.embedding(ids)))
    counts.add(reads, None)
    weights, halves = np.zeros(N * N), np.zeros((HEADS, 2, N), dtype=np.int64)
    for row, pos, head, rank in np.ndindex(*reads.slots.shape):
        slot = int(reads.slots[row, pos, head, rank])
        weights[slot] += abs(float(reads.coefficients[row, pos, head, rank]))
        halves[head, 0, slot // N] += 1
        halves[head, 1, slot % N] += 1
    assert counts.weights == pytest.approx(weights)
    assert (counts.half_key_reads == halves).all()
    assert counts.tokens == ids.numel()
    found = half_key_counts(counts, KNN)
    assert found["half_keys"] == HEADS * 2 * N
    assert found["half_keys_unread"] == (halves == 0).sum()
    counts.clear()
    assert (counts.tokens, counts.reads.sum(), counts.half_key_reads.sum()) == (0, 0, 0)


def test_half_keys_are_dead_on_evidence_alone() -> None:
    """One half-key of six is never read: after 10 tokens that says little, after 1,000 enough."""
    for tokens, dead in ((10, 0), (1000, 2 * HEADS)):
        counts = SiteCounts("L0", N)
        rng = np.random.default_rng(0)
        first = rng.integers(0, N - 1, (tokens, HEADS, KNN))
        second = rng.integers(0, N - 1, (tokens, HEADS, KNN))
        slots = torch.from_numpy(first * N + second)
        counts.add(SimpleNamespace(slots=slots, coefficients=torch.ones(slots.shape)), None)  # type: ignore[arg-type]
        found = half_key_counts(counts, KNN)
        assert found["half_keys_unread"] == 2 * HEADS
        assert found["half_keys_dead"] == dead


def test_prefixes_are_counted_once_and_padding_never() -> None:
    keep = PrefixFilter(PAD)
    first = keep(torch.tensor([[1, 2, 3], [1, 2, 4], [2, 1, PAD]]))
    assert first.tolist() == [[True, True, True], [False, False, True], [True, True, False]]
    again = keep(torch.tensor([[1, 2, 3], [1, 5, 3]]))
    assert again.tolist() == [[False, False, False], [False, True, True]]
    masked = PrefixFilter(None)(torch.tensor([[1, 2], [3, 0]]), torch.tensor([[1, 1], [1, 0]]))
    assert masked.tolist() == [[True, True], [True, False]]
    keep.clear()
    assert keep(torch.tensor([[1, 2, 3]])).all()


def test_hooks_do_nothing_outside_the_windows(
    model: Plain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    now = [0]
    real = SiteCounts.add

    def add(counts: SiteCounts, *arguments: Any) -> None:
        seen.append(now[0])
        real(counts, *arguments)

    monkeypatch.setattr(SiteCounts, "add", add)
    monitor = Monitor(model, tmp_path, every=5, window=2, budget=None)
    for step, ids in enumerate(batches(12), start=1):
        now[0] = step
        model(ids)
        model(ids) if step == 4 else None  # two micro-batches: both belong to the step
        model.eval()(ids)  # an evaluation in between is no training
        model.train()
        monitor.step(step)
    assert seen == [1] * 3 + [4] * 6 + [5] * 3 + [9] * 3 + [10] * 3
    assert read_training_record(tmp_path).steps == (1, 5, 10)
    monitor.close()
    model(ids)
    assert len(seen) == 18


def test_a_lookup_run_again_going_back_is_counted_once(model: Plain, tmp_path: Path) -> None:
    monitor = Monitor(model, tmp_path, every=4, window=1, budget=None)
    ids = next(batches(1))
    model(ids)
    model.blocks[0](model.embedding(ids))  # as checkpointed activations do
    monitor.step(1)
    row = read_training_record(tmp_path).of(0, "L0").iloc[0]
    assert row["reads"] == row["tokens"] * HEADS * KNN


def test_training_is_the_same_with_and_without(tmp_path: Path) -> None:
    weights = []
    for watched in (False, True):
        model = Plain().train()
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        monitor = Monitor(model, tmp_path, every=2, window=2) if watched else None
        for step, ids in enumerate(batches(5), start=1):
            model(ids).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            if monitor is not None:
                monitor.step(step)
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def test_too_dear_records_are_left_out(
    model: Plain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(monitors.time, "perf_counter", lambda: now[0])
    real = Monitor._record

    def slow(monitor: Monitor, step: int) -> None:
        real(monitor, step)
        now[0] += 1.0
        monitor._spent += 1.0

    monkeypatch.setattr(Monitor, "_record", slow)
    monitor = Monitor(model, tmp_path, every=10, window=1, budget=0.02)
    for step, ids in enumerate(batches(100), start=1):
        model(ids)
        now[0] += 1.0
        monitor.step(step)
    steps = read_training_record(tmp_path).steps
    assert steps[:2] == (1, 60)  # a second in fifty, no more
    assert monitor.share <= 0.04


def test_a_run_goes_on_after_a_kill_without_gap_or_repetition(
    model: Plain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor_parts, "_MOST_PARTS", 3)
    train(model, Monitor(model, tmp_path, every=2, window=1, budget=None), 14)
    assert len(list(tmp_path.glob("*.parquet"))) < 5
    assert read_training_record(tmp_path).steps == (1, 2, 4, 6, 8, 10, 12, 14)
    again = Plain().train()
    monitor = Monitor(again, tmp_path, every=2, window=1, budget=None)
    monitor.begin(5)  # killed at 14, the state was saved after 5
    assert read_training_record(tmp_path).steps == (1, 2, 4)
    train(again, monitor, 10, start=5)
    record = read_training_record(tmp_path)
    assert record.steps == (1, 2, 4, 6, 8, 10)
    assert len(record.of(0)) == 6


def test_a_run_begun_anew_forgets_the_one_before(model: Plain, tmp_path: Path) -> None:
    train(model, Monitor(model, tmp_path, every=2, window=1, budget=None), 6)
    again = Monitor(Plain().train(), tmp_path, every=2, window=1, budget=None)
    assert read_training_record(tmp_path).steps == (1, 2, 4, 6)  # nothing was asked for yet
    again.begin(0)
    assert record_folder(tmp_path) is None


def test_killed_while_it_joins_parts_nothing_is_twice(
    model: Plain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = Monitor(model, tmp_path, every=2, window=1, budget=None)
    train(model, monitor, 8)
    before = read_training_record(tmp_path).frame
    monkeypatch.setattr(monitor_parts, "_MOST_PARTS", 1)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        monitor._parts._join(monitor._parts._parts())
    assert len(list(tmp_path.glob("part-*.parquet"))) > 5
    assert read_training_record(tmp_path).frame.equals(before)


def test_a_record_reads_while_it_grows(model: Plain, tmp_path: Path) -> None:
    monitor = Monitor(model, tmp_path, every=2, window=2, budget=None)
    for step, ids in enumerate(batches(6), start=1):
        model(ids)
        monitor.step(step)
        assert read_training_record(tmp_path).steps[-1] in (step, step - 1)
    (tmp_path / "part-000000008-000000008.parquet.77.part").write_bytes(b"half")
    assert read_training_record(tmp_path).steps == (1, 2, 4, 6)


def test_a_model_without_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="Linear has no memory layer to watch"):
        Monitor(nn.Linear(2, 2), tmp_path)
    with pytest.raises(TrainingError, match="window of 9 steps"):
        Monitor(Plain(), tmp_path, every=4, window=9)


def test_a_module_that_is_never_called_is_named(model: Plain, tmp_path: Path) -> None:
    monitor = Monitor(model, tmp_path)
    model.blocks[0](torch.zeros(1, 1, 8))
    with pytest.raises(TrainingError, match="saw no forward pass"):
        monitor.step(1)


def test_without_ids_every_position_counts(tmp_path: Path) -> None:
    block = nn.Sequential(ProductKeyMemory(SHAPE, ValueTable(N * N, 8)))
    for parameter in (*block.parameters(), block[0].table.weight):
        nn.init.normal_(parameter)
    monitor = Monitor(block.train(), tmp_path)
    block(torch.ones(2, 3, 8))
    monitor.step(1)
    record = read_training_record(tmp_path)
    assert record.of(0).iloc[0]["tokens"] == 6
    assert record.sites_of(0) == ("L0",)


def test_tensorboard_gets_the_same_numbers_where_it_is_installed(
    model: Plain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: dict[tuple[str, int], float] = {}

    class SummaryWriter:
        def __init__(self, log_dir: str) -> None:
            assert log_dir == str(tmp_path / "tensorboard")

        def add_scalar(self, tag: str, value: float, step: int) -> None:
            written[tag, step] = value

        def flush(self) -> None: ...
        def close(self) -> None: ...

    fake = ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    monkeypatch.setattr("inspector.training.monitor_board.find_spec", lambda name: name)
    monitor = Monitor(model, tmp_path, every=2, window=1, budget=None)
    train(model, monitor, 2)
    monitor.close()
    record = read_training_record(tmp_path)
    assert written["memory/table0/usage", 2] == record.of(0).iloc[-1]["usage"]
    assert written["memory/table1/L2/effective", 2] == record.of(1, "L2").iloc[-1]["effective"]
    assert written["memory/table0/norm_50", 1] == record.of(0).iloc[0]["norm_50"]
    assert ("memory/table0/L0/norm_50", 1) not in written  # a site has no values of its own


def test_the_callback_records_as_transformers_trainer_calls_it(
    model: Plain, tmp_path: Path
) -> None:
    """Driven by the Trainer's own handler, event by event, through an interrupted run."""
    arguments = SimpleNamespace(output_dir=str(tmp_path), logging_steps=1, logging_strategy="no")
    for start, end in ((0, 4), (2, 6)):  # killed after 4, its last checkpoint was of step 2
        callback = MonitorCallback(every=2, window=1, budget=None)
        handler = CallbackHandler([callback], model, None, None, None)
        state, control = TrainerState(global_step=start), TrainerControl()
        handler.on_train_begin(arguments, state, control)
        for step, ids in enumerate(batches(end), start=1):
            if step > start:
                handler.on_step_begin(arguments, state, control)
                model(input_ids=ids, attention_mask=torch.ones_like(ids))
                state.global_step = step
                handler.on_step_end(arguments, state, control)
        handler.on_train_end(arguments, state, control)
    assert callback.monitor is None
    record = read_training_record(tmp_path)
    assert record.path == tmp_path
    assert record.steps == (1, 2, 4, 6)
    assert not any(module._forward_hooks for module in model.modules())


def test_transformers_trainer_runs_it(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    from transformers import Trainer, TrainingArguments

    from inspector.memory.llama import MemoryLlamaConfig, MemoryLlamaForCausalLM
    from tests.training.little_world import MODEL

    model = MemoryLlamaForCausalLM(MemoryLlamaConfig(vocab_size=50, **MODEL))
    rows = [{"input_ids": ids, "labels": ids} for ids in torch.randint(1, 50, (16, 7))]
    arguments = TrainingArguments(
        str(tmp_path), max_steps=4, per_device_train_batch_size=4, report_to=[], use_cpu=True
    )
    watcher = MonitorCallback(every=2, window=1, budget=None)
    Trainer(model, arguments, train_dataset=rows, callbacks=[watcher]).train()
    assert read_training_record(tmp_path).steps == (1, 2, 4)


def test_inspectors_own_training_writes_it_and_trains_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_facts_once(monkeypatch)
    plain = trainer.train(config_of(6), tmp_path / "plain")
    watched = trainer.train(config_of(6), tmp_path / "watched", monitor_every=2)
    for file in plain.glob("*.safetensors"):
        assert file.read_bytes() == (watched / file.name).read_bytes()
    assert record_folder(plain) is None
    record: TrainingRecord = read_training_record(watched)
    assert record.steps[0] == 1
    assert record.sites_of(0) == ("L0", "L1")
    assert record.about["every"] == 2
    dense = trainer.train(
        config_of(2, model={"memory_layers": []}), tmp_path / "dense", monitor_every=2
    )
    assert record_folder(dense) is None


@pytest.mark.parametrize("content", [b"no parquet", b""])
def test_what_is_no_record_is_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(TrainingError, match="holds no record of a training"):
        read_training_record(tmp_path)
    (tmp_path / "part-1-1.parquet").write_bytes(content)
    with pytest.raises(TrainingError, match="is no part of a record"):
        read_training_record(tmp_path)
