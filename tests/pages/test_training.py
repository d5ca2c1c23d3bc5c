"""The training page: a sweep in any state of completion, a record, snapshots, and wrong paths."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from inspector.analyses.sweep_reading import headline
from inspector.analyses.sweep_results import SweepResults
from inspector.memory.layer import MemoryShape, ProductKeyMemory
from inspector.memory.values import ValueTable
from inspector.training.monitor import Monitor
from tests.analyses.planted_snapshots import plant_snapshots
from tests.analyses.planted_sweep import planted
from tests.pages.user_session import UserSession

FULL = {
    "dense": (0.60, 0.61, 0.62),
    "memory-32": (0.70, 0.71, 0.72),
    "memory-64": (0.8,),
    "dense-flops-64": (0.65, 0.66),
    "dense-params-32": (0.64,),
}
_SECONDS = 60


def put(folder: Path, results: SweepResults) -> None:
    (folder / "sweep.json").write_text(json.dumps(results.to_json()))


def text(session: UserSession) -> str:
    return "\n".join([*session.markdown(), *session.errors])


# --- the sweep ----------------------------------------------------------------------------------


def test_a_sweep_is_shown_with_its_reading_and_numbers(sample_folder: Path) -> None:
    results = planted(FULL)
    put(sample_folder, results)
    session = UserSession("training")
    assert session.title == "Training"
    assert session.sentence("sweep headline") == headline(results)
    shown = text(session)
    assert "recall is better with 32\u00a0×\u00a032 (+10.0\u00a0points)" in shown
    assert "not measured here" in shown
    table = session.table("parameters")
    assert table["runs"].tolist() == [3, 3, 1, 2, 1]
    assert table["seen_recall"].tolist() == pytest.approx([61, 71, 80, 65.5, 64])
    assert "10 of 10 runs" in shown
    assert "Every planned run is finished." in shown


def test_held_out_phrasings_are_one_click_and_a_link(sample_folder: Path) -> None:
    results = planted(FULL)
    put(sample_folder, results)
    session = UserSession("training", checkpoint="none")
    session.choose("sweep phrasing", "heldout")
    assert session.url["phrasing"] == "heldout"
    linked = UserSession("training", checkpoint="none", phrasing="heldout")
    for each in (session, linked):
        assert each.sentence("sweep headline") == headline(results, "heldout")
        assert "heldout_recall" in each.table("parameters").columns
    odd = UserSession("training", checkpoint="none", phrasing="sung")
    assert odd.sentence("sweep headline") == headline(results)


def test_a_sweep_that_goes_on_says_what_is_missing(sample_folder: Path) -> None:
    planned = [("dense", 0), ("memory-32", 0), ("memory-64", 0)]
    put(sample_folder, planted({"dense": (0.5,)}, planned))
    session = UserSession("training")
    assert "too few seeds yet" in session.sentence("sweep headline")
    assert "Not made yet: memory-32 seed 0, memory-64 seed 0." in text(session)
    put(sample_folder, planted({}, planned))
    session.run()
    assert session.sentence("sweep headline").startswith("No run of this sweep is finished")


def test_no_sweep_and_a_broken_one_are_sentences(sample_folder: Path) -> None:
    session = UserSession("training")
    assert "No sweep lies beside the sample checkpoints" in text(session)
    (sample_folder / "sweep.json").write_text("{")
    session.run()
    assert "it is not JSON" in text(session)


# --- watching -----------------------------------------------------------------------------------


class Model(nn.Module):
    """Two memory layers, each with a table of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        shape = MemoryShape(d_model=8, heads=2, knn=2, half_keys=4, d_key=8, d_value=8)
        self.embedding = nn.Embedding(9, 8)
        self.tables = nn.ModuleList([ValueTable(16, 8), ValueTable(16, 8)])
        self.blocks = nn.ModuleList([ProductKeyMemory(shape, table) for table in self.tables])  # type: ignore[arg-type]
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = self.embedding(ids)
        for block in self.blocks:
            x = x + block(x)
        return x


@pytest.fixture
def run(tmp_path: Path) -> Iterator[tuple[Path, Callable[[int], None]]]:
    """A run's folder, and a call that trains one step further with a record of it."""
    folder = tmp_path / "my run"
    model = Model().train()
    monitor = Monitor(model, folder / "monitor", every=1, window=1, budget=None)

    def advance(step: int) -> None:
        model(torch.randint(9, (3, 4)))
        monitor.step(step)

    for step in (1, 2, 3):
        advance(step)
    yield folder, advance
    monitor.close()


def test_a_record_is_followed_while_it_grows(run: tuple[Path, Callable[[int], None]]) -> None:
    folder, advance = run
    session = UserSession("training", checkpoint="none", view="watch", run=folder)
    assert session.sentence("record headline").startswith("Growing: after step 3 the last 1 steps")
    assert len(session.table("norm_50")) == 3 * 4  # steps x (2 tables + 2 sites)
    advance(4)
    session.run()
    assert "after step 4" in session.sentence("record headline")
    session.choose("run table", 1)
    assert session.shows("record headline")


def test_an_old_record_has_ended(run: tuple[Path, Callable[[int], None]]) -> None:
    folder, _ = run
    before = time.time() - 3600
    for part in (folder / "monitor").iterdir():
        os.utime(part, (before, before))
    session = UserSession("training", checkpoint="none", view="watch", run=folder / "monitor")
    assert session.sentence("record headline").startswith("No longer growing: after step 3")


def test_a_path_is_typed_and_remembered(run: tuple[Path, Callable[[int], None]]) -> None:
    folder, _ = run
    session = UserSession("training", checkpoint="none", view="watch")
    session.app.text_input(key="run path").set_value(f" {folder} ")
    session.run()
    assert session.url["run"] == str(folder)
    assert session.shows("record headline")


@pytest.mark.parametrize(
    ("named", "complaint"),
    [
        ("nowhere", "does not exist; expected the folder of a run"),
        ("empty", "holds no record of a training"),
        ("x" * 300, "does not exist"),
        ("notes.txt", "is no part of a record"),
        ("torn", "is no part of a record"),
    ],
)
def test_wrong_paths_are_sentences(tmp_path: Path, named: str, complaint: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("[click](https://example.org)")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "part-1-1.parquet").write_bytes(b"PAR1")
    session = UserSession("training", checkpoint="none", view="watch", run=tmp_path / named)
    assert complaint in text(session)


def test_snapshots_show_recall_and_once_scanned_usage(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    snapshots = plant_snapshots(tiny_checkpoint(), tmp_path / "runs")
    session = UserSession("training", checkpoint="none", view="watch", run=snapshots)
    assert session.sentence("snapshots headline") == (
        "3 snapshots of tiny: recall of all facts goes from 1.0% at step 10 to 100.0% at step "
        "1,000."
    )
    assert session.table("checkpoint")["step"].tolist() == [10, 200, 1000]
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("Lima is the capital of Peru\nOslo is cold\nA city by the sea\n")
    session.app.text_input(key="run corpus").set_value(str(corpus))
    session.run()
    session.press("Scan the snapshots")
    end = time.monotonic() + _SECONDS
    while not session.shows("snapshots usage"):
        assert time.monotonic() < end, "the scans did not end"
        time.sleep(0.1)
        session.run()
    assert session.sentence("snapshots usage").startswith("From step 10 to 1,000 the slots read")
