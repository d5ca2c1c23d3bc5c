"""Snapshots of one training: found beside each other, in order."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from inspector.analyses.snapshots import find_snapshots
from inspector.errors import TrainingError
from tests.analyses.planted_snapshots import plant_snapshots


@pytest.fixture
def snapshots(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "cache"))
    return plant_snapshots(tiny_checkpoint(), tmp_path / "runs")


def test_snapshots_are_found_in_order(snapshots: Path) -> None:
    for path in (snapshots, snapshots / "tiny", snapshots / "tiny-step-10"):
        found = find_snapshots(path)
        assert [(each.step, each.run, each.recall) for each in found] == [
            (10, "tiny", 0.01),
            (200, "tiny", 0.2),
            (1000, "tiny", 1.0),
        ]
    with pytest.raises(TrainingError, match="holds no snapshots"):
        find_snapshots(snapshots / "lone")
    for number in (5, 40):  # as transformers' Trainer names them
        shutil.copytree(snapshots / "lone", snapshots / "hf" / f"checkpoint-{number}")
        (snapshots / "hf" / f"checkpoint-{number}" / "training.json").unlink()
    assert [each.step for each in find_snapshots(snapshots / "hf")] == [5, 40]


def test_what_is_written_beside_a_snapshot_may_be_anything(snapshots: Path) -> None:
    for text in ("[]", "no JSON", '{"overall": [1]}', '{"overall": {"recall_all": "high"}}'):
        (snapshots / "tiny" / "metrics.json").write_text(text)
        assert find_snapshots(snapshots)[-1].recall is None
    with pytest.raises(TrainingError, match="There is no folder"):
        find_snapshots(snapshots / "nowhere")
