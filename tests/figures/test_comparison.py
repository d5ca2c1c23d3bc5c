"""Pictures of a comparison show its numbers, and say where they are a sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inspector.analyses.slot_changes import SlotChanges
from inspector.figures.comparison import drift_figure, usage_change_figure


def changes(slots: int, drift: np.ndarray, reads: np.ndarray | None = None) -> SlotChanges:
    cosine = np.ones(slots, np.float32)
    return SlotChanges(0, drift, cosine, drift > 0, {}, np.zeros(slots), reads, None, slots)


def test_values_that_did_not_move_are_counted_and_not_binned() -> None:
    drift = np.array([0, 0.1, 0.1, 1.0, np.inf])
    (line,) = drift_figure(changes(5, drift)).data
    assert sum(line.y) == 3
    assert line.name == "values: 3 moved, 2 did not"


def test_every_slot_that_was_read_is_a_point() -> None:
    reads = np.array([[0, 3, 5], [0, 0, 9]])
    points, diagonal = usage_change_figure(changes(3, np.zeros(3), reads)).data
    assert points.customdata.tolist() == [[1, 3, 0], [2, 5, 9]]
    assert list(diagonal.x) == [1, 10]


def test_many_slots_are_sampled_and_it_says_so() -> None:
    reads = np.ones((2, 30_000), dtype=np.int64)
    many = changes(30_000, np.zeros(30_000), reads)
    figure = usage_change_figure(many)
    assert len(figure.data[0].x) == 20_000
    assert figure.layout.title.text == "20,000 of 30,000 slots, drawn at random"
    again = usage_change_figure(many)
    assert (figure.data[0].customdata == again.data[0].customdata).all()


def test_without_scans_there_is_no_picture_of_usage() -> None:
    with pytest.raises(ValueError, match="two scans"):
        usage_change_figure(replace(changes(2, np.zeros(2)), reads=None))
