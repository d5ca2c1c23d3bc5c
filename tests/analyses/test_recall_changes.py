"""Facts won and lost between two checkpoints, counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inspector.analyses import recall_changes
from inspector.analyses.facts import read_facts
from inspector.analyses.recall import Question, measure_recall
from inspector.analyses.recall_changes import RecallChanges, compare_recall
from inspector.capture.load import load
from inspector.errors import Cancelled


def test_the_frame_counts_by_relation_and_in_all() -> None:
    seen = np.array([[1, 1, 0, 0], [1, 0, 1, 0]], dtype=bool)
    heldout = np.array([[1, 0, 0, 0], [1, 0, 1, 0]], dtype=bool)
    has = np.array([True, False, True, False])
    frame = RecallChanges(("a", "a", "b", "b"), seen, heldout, has).to_frame()
    assert list(frame["relation"]) == ["a", "b", "all"]
    assert list(frame["n"]) == [2, 2, 4]
    assert list(frame["first"]) == [1, 0, 0.5]
    assert list(frame["second"]) == [0.5, 0.5, 0.5]
    assert list(frame["first_heldout"]) == [1, 0, 0.5]
    assert list(frame["second_heldout"]) == [1, 1, 1]
    assert list(frame["won"]) == [0, 1, 1]
    assert list(frame["lost"]) == [1, 0, 1]


def test_no_held_out_phrasing_is_no_recall_of_zero() -> None:
    none = np.zeros((2, 1), dtype=bool)
    frame = RecallChanges(("a",), none, none, np.array([False])).to_frame()
    assert frame["first_heldout"].isna().all()


def test_both_are_asked_the_same_questions(little_world: Path) -> None:
    model = load(little_world, device="cpu")
    facts = read_facts(little_world / "facts.jsonl")[:40]
    found = compare_recall(model, model, facts, seed=3)
    assert (found.seen[0] == found.seen[1]).all()
    assert (found.heldout[0] == found.heldout[1]).all()
    one = [fact for fact in facts if len(fact.prompts) == 1]
    asked = measure_recall(model, [Question(fact.prompts[0], fact.object) for fact in one]).correct
    at = [number for number, fact in enumerate(facts) if len(fact.prompts) == 1]
    assert found.seen[0, at].tolist() == asked.tolist()
    again = compare_recall(model, model, facts, seed=3)
    assert (again.seen == found.seen).all()


def test_it_tells_how_far_it_is_and_can_be_stopped(
    little_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(little_world, device="cpu")
    facts = read_facts(little_world / "facts.jsonl")[:20]
    whole = compare_recall(model, model, facts)
    monkeypatch.setattr(recall_changes, "_TOGETHER", 7)
    told: list[tuple[int, int]] = []
    parts = compare_recall(model, model, facts, report=lambda *step: told.append(step))
    assert (parts.seen == whole.seen).all()
    assert (parts.heldout == whole.heldout).all()
    total = 2 * (len(facts) + int(whole.has_heldout.sum()))
    assert [done for done, _ in told[:3]] == [7, 14, 20]
    assert told[-1] == (total, total)
    told.clear()
    with pytest.raises(Cancelled, match=f"stopped after 7 of {total} questions"):
        compare_recall(
            model,
            model,
            facts,
            report=lambda *step: told.append(step),
            cancel=lambda: len(told) == 1,
        )


def test_parts_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="not"):
        RecallChanges(("a",), np.zeros((2, 2), bool), np.zeros((2, 1), bool), np.zeros(1, bool))
