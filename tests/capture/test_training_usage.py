"""What training counted: counts, and no more than they tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inspector.capture.load import load
from inspector.capture.training_usage import FILE, read_training_usage
from inspector.errors import CheckpointError, CheckpointNotFound, InspectorError
from inspector.families.base import MemoryModel
from tests.families.tiny_re133 import OPTIONS, random_state, reads_in_training, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", OPTIONS, random_state(OPTIONS, 0))


@pytest.fixture
def model(run: Path) -> MemoryModel:
    return load(run, device="cpu")


def test_counts_are_those_of_the_file(model: MemoryModel) -> None:
    found = read_training_usage(model)
    expected = reads_in_training(64)
    assert found.sites == ("L0", "L2")
    assert found.reads == expected.sum()
    assert found.usage == (expected > 0).mean() < 1
    frame = found.to_frame()
    assert dict(zip(frame["slot"], frame["reads"], strict=True)) == {
        slot: reads for slot, reads in enumerate(expected) if reads
    }
    assert frame["reads"].is_monotonic_decreasing
    assert (frame["i"] * 8 + frame["j"] == frame["slot"]).all()
    assert found.to_json()["slots_read"] == (expected > 0).sum()


def test_it_says_what_it_cannot_tell(model: MemoryModel) -> None:
    unknown = " ".join(read_training_usage(model).unknown)
    for word in ("head", "weighted", "dead", "whole of training"):
        assert word in unknown


def test_the_model_itself_opens_by_its_file(run: Path) -> None:
    assert read_training_usage(load(run / "model.pt", device="cpu")).reads > 0


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        (np.arange(63), "63 slots, but run has 64"),
        (np.arange(64.0), "no counts"),
        (-np.arange(64), "no counts"),
        (np.ones((8, 8), int), "no counts"),
        (np.array([{}] * 64), "cannot be read"),
    ],
)
def test_other_counts_are_refused(
    run: Path, model: MemoryModel, counts: np.ndarray, told: str
) -> None:
    np.save(run / FILE, counts, allow_pickle=True)
    with pytest.raises(CheckpointError, match=told):
        read_training_usage(model)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"noise" * 50, b"\x93NUMPY\x01\x00v\x00{"])
def test_broken_files_are_refused(run: Path, model: MemoryModel, content: bytes) -> None:
    (run / FILE).write_bytes(content)
    with pytest.raises(InspectorError, match="cannot be read"):
        read_training_usage(model)


def test_a_file_that_isnt_there_is_told(run: Path, model: MemoryModel) -> None:
    (run / FILE).unlink()
    with pytest.raises(CheckpointNotFound, match="wrote no counts"):
        read_training_usage(model)


def test_several_tables_cannot_be_told_apart(tmp_path: Path) -> None:
    options = {**OPTIONS, "mem_share_values": False}
    path = write_run(tmp_path / "several", options, random_state(options, 0))
    with pytest.raises(CheckpointError, match="2 value tables"):
        read_training_usage(load(path, device="cpu"))
