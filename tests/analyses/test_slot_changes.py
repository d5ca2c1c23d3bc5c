"""Changes written into a copy of a checkpoint are found, slot by slot, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inspector.analyses.slot_changes import (
    SlotChanges,
    Specificity,
    slot_changes,
    specificity,
)
from inspector.analyses.slot_tfidf import SlotTfidf
from inspector.analyses.usage_measures import table_reads
from inspector.analyses.verdicts import Verdict, judge_usage
from inspector.capture.load import load
from inspector.capture.scan import scan
from inspector.errors import ComparisonError
from inspector.families.base import MemoryModel

TOUCHED = (3, 40)


@pytest.fixture(scope="module")
def before(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")


@pytest.fixture(scope="module")
def after(before: MemoryModel) -> MemoryModel:
    """Slot 3 is twice as long, slot 40 turned round, and one half-key of L2 moved."""
    model = load(before.path, device="cpu")
    with torch.no_grad():
        table = model.tables[0].weight
        table[3] *= 2
        table[40] *= -1
        half_keys = model.module.memory_layers[2].half_key_scores.half_keys
        half_keys[1, 0, 5] = 0
    return model


@pytest.fixture(scope="module")
def changes(before: MemoryModel, after: MemoryModel) -> SlotChanges:
    return slot_changes(before, after)


def test_drift_is_distance_over_norm(changes: SlotChanges) -> None:
    expected = np.zeros(64)
    expected[3], expected[40] = 1, 2
    np.testing.assert_allclose(changes.value_drift, expected, atol=1e-6)
    turned = np.ones(64)
    turned[40] = -1
    np.testing.assert_allclose(changes.value_cosine, turned, atol=1e-6)
    assert changes.touched is not None
    assert np.flatnonzero(changes.touched).tolist() == list(TOUCHED)


def test_keys_and_values_drift_apart(changes: SlotChanges) -> None:
    assert not changes.half_key_drift["L0"].any()
    moved = np.argwhere(changes.half_key_drift["L2"])
    assert moved.tolist() == [[1, 0, 5]]
    assert changes.half_key_drift["L2"][1, 0, 5] == pytest.approx(1)
    by_hand = np.zeros((8, 8))
    by_hand[5] = 1 / 4  # one of two sites, one of two heads
    np.testing.assert_allclose(changes.key_drift, by_hand.ravel(), atol=1e-6)


def test_the_most_changed_come_first(changes: SlotChanges) -> None:
    frame = changes.to_frame(3)
    assert list(frame["slot"])[:2] == [40, 3]
    assert list(frame["touched"]) == [True, True, False]
    assert not any(column.startswith(("reads", "verdict")) for column in frame)


def test_a_value_grown_from_zero_drifts_infinitely(before: MemoryModel) -> None:
    emptied = load(before.path, device="cpu")
    with torch.no_grad():
        emptied.tables[0].weight[7] = 0
    grown = slot_changes(emptied, before)
    assert grown.value_drift is not None
    assert grown.value_cosine is not None
    assert np.isposinf(grown.value_drift).nonzero()[0].tolist() == [7]
    assert np.isnan(grown.value_cosine).nonzero()[0].tolist() == [7]
    both = slot_changes(emptied, emptied)
    assert both.value_drift is not None
    assert not both.value_drift.any()


def test_usage_comes_from_both_scans(
    before: MemoryModel, after: MemoryModel, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("Lima is the capital of Peru\nOslo is cold\n" * 3)
    usages = tuple(scan(model, corpus, cache=False) for model in (before, after))
    found = slot_changes(before, after, usages=(usages[0], usages[1]))
    assert found.reads is not None
    assert found.verdicts is not None
    for row, usage in enumerate(usages):
        assert found.reads[row].tolist() == table_reads(usage, 0).tolist()
        judged = judge_usage(usage).values[0].verdicts
        assert found.verdicts[row].tolist() == judged.tolist()
    assert {"reads_before", "verdict_after"} <= set(found.to_frame().columns)


def test_died_and_revived_are_told_from_the_verdicts(changes: SlotChanges) -> None:
    verdicts = np.full((2, 64), int(Verdict.ALIVE))
    verdicts[0, 1] = verdicts[1, 2] = int(Verdict.DEAD)
    verdicts[1, 9] = int(Verdict.NOT_SEEN_YET)
    judged = replace(changes, verdicts=verdicts)
    assert np.flatnonzero(judged.revived).tolist() == [1]
    assert np.flatnonzero(judged.died).tolist() == [2]
    assert not changes.died.any()


def test_tables_that_do_not_compare_are_refused(
    before: MemoryModel, tiny_checkpoint: Callable[..., Path]
) -> None:
    other = load(tiny_checkpoint(memory_half_keys=6), device="cpu")
    with pytest.raises(ComparisonError, match="8 half-keys a set in one and 6"):
        slot_changes(before, other)
    with pytest.raises(ComparisonError, match="no such table"):
        slot_changes(before, before, table=3)


def test_parts_of_other_lengths_are_refused(changes: SlotChanges) -> None:
    with pytest.raises(ValueError, match="64 slots"):
        replace(changes, touched=np.zeros(3, dtype=bool))
    with pytest.raises(ValueError, match="two scans"):
        replace(changes, reads=np.zeros((2, 3)))


# --- whether the slots touched are those of a text ---------------------------------------------


def scored(score: np.ndarray) -> SlotTfidf:
    reads = (score > 0).astype(np.int64)
    return SlotTfidf(0, reads, np.zeros(64, np.int32), 10, score)


def test_touched_slots_that_the_text_alone_reads_are_specific(changes: SlotChanges) -> None:
    score = np.zeros(64)
    score[[3, 40]] = 0.5
    found = specificity(changes, scored(score))
    assert found == Specificity(touched=2, read=1.0, among_best=1.0, auc=1.0)


def test_touched_slots_that_are_no_different_are_not(changes: SlotChanges) -> None:
    score = np.linspace(1, 0.01, 64)
    score[[3, 40]] = score[[31, 32]]
    found = specificity(changes, scored(score))
    assert found.auc == pytest.approx(0.5, abs=0.03)
    assert found.among_best == 0


def test_slots_that_the_text_does_not_read_are_not_its_most_specific(changes: SlotChanges) -> None:
    score = np.zeros(64)
    score[60:] = 0.5
    touched = np.arange(64) < 10
    found = specificity(replace(changes, touched=touched), scored(score))
    assert (found.touched, found.read, found.among_best) == (10, 0.0, 0.0)


def test_nothing_touched_is_no_division_by_zero(before: MemoryModel) -> None:
    found = specificity(slot_changes(before, before), scored(np.ones(64)))
    assert found == Specificity(0, 0.0, 0.0, None)


def test_a_text_scanned_over_another_table_is_refused(changes: SlotChanges) -> None:
    tfidf = SlotTfidf(0, np.ones(4, np.int64), np.ones(4, np.int32), 1, np.ones(4))
    with pytest.raises(ComparisonError, match="over 4 slots"):
        specificity(changes, tfidf)


def test_a_checkpoint_beside_itself_has_not_changed(before: MemoryModel) -> None:
    unchanged = slot_changes(before, load(before.path, device="cpu"))
    assert unchanged.touched is not None
    assert not unchanged.touched.any()
