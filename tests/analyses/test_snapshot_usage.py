"""Snapshots are measured as their scans count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inspector.analyses.snapshot_usage import measure_snapshots
from inspector.analyses.snapshots import find_snapshots
from inspector.analyses.usage_measures import measure_usage
from inspector.capture.load import load
from inspector.capture.scan import scan
from tests.analyses.planted_snapshots import plant_snapshots


@pytest.fixture
def snapshots(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "cache"))
    return plant_snapshots(tiny_checkpoint(), tmp_path / "runs")


def test_snapshots_are_measured_as_their_scans_count(snapshots: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("Lima is the capital of Peru\nOslo is cold\nA city by the sea\n")
    told: list[tuple[int, int, str]] = []
    found = measure_snapshots(
        find_snapshots(snapshots), corpus, device="cpu", report=lambda *now: told.append(now)
    )
    usage = scan(load(snapshots / "tiny", "cpu"), corpus, cache=False)
    for measures in measure_usage(usage):
        if measures.level == "head":
            continue
        rows = found[(found["table"] == measures.table) & (found["step"] == 1000)]
        mine = rows["site"].isna() if measures.site is None else rows["site"] == measures.site
        (row,) = rows[mine].to_dict("records")
        counted = measures.parts["slots", "counted"]
        assert (row["slots_read"], row["effective"]) == (counted.read, counted.effective)
        assert row["tokens"] == usage.tokens
    assert told[-1][1] == 3 * 20_000
    stopped = measure_snapshots(
        find_snapshots(snapshots), corpus, device="cpu", cancel=lambda: True
    )
    assert stopped.empty
