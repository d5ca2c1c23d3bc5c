"""The bar that editing is held to, on the sample; and how its edits are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inspector.analyses.counterfactual_bar import counterfactual_bar, draw_counterfactuals
from inspector.analyses.facts import Fact, read_facts
from inspector.capture.load import load
from inspector.capture.scan import scan
from inspector.errors import FactsError

SAMPLE = Path(__file__).parents[2] / "sample_checkpoints" / "world-facts"


@pytest.mark.slow
def test_the_sample_keeps_to_the_bar() -> None:
    """Of 100 edits ``counterfactual_bar`` with its defaults tells; here are the first few."""
    model, facts = load(SAMPLE, "cpu"), read_facts(SAMPLE / "facts.jsonl")
    told: list[int] = []
    found = counterfactual_bar(
        model,
        facts,
        3,
        background=scan(model, SAMPLE, 20_000),
        report=lambda number, _edit: told.append(number),
    )
    assert told == list(range(3))
    assert found.efficacy >= 0.98
    assert found.generality >= 0.6  # one of three may fall short, where of a hundred fifteen may
    assert found.locality >= 0.97
    assert max(len(edit.slots) for edit in found.edits) <= 64
    assert all(edit.reached for edit in found.edits)
    assert found.to_json()["seconds_median"] == pytest.approx(np.median(found.seconds))
    frame = found.to_frame()
    assert frame.efficacy.mean() == found.efficacy
    assert frame.locality.mean() == pytest.approx(found.locality)


def facts_of(*triples: tuple[str, str, str]) -> list[Fact]:
    return [Fact(r, s, o, (f"{r} {s} is",), (f"{s} {r}",)) for r, s, o in triples]


def test_new_answers_are_other_objects_of_the_relation() -> None:
    facts = facts_of(*(("capital", f"s{i}", f"o{i % 3}") for i in range(30)))
    facts += facts_of(("continent", "a", "Asia"), ("continent", "b", "Asia"))
    facts.append(Fact("capital", "untested", "o1", ("x is",)))
    goals = draw_counterfactuals(facts, 50, 1)
    assert len(goals) == 30  # of continents there is only one, and one fact has nothing held out
    assert {goal.fact.relation for goal in goals} == {"capital"}
    assert all(goal.answer != goal.fact.object for goal in goals)
    assert {goal.answer for goal in goals} == {"o0", "o1", "o2"}
    assert goals == draw_counterfactuals(facts, 50, 1)
    assert goals[:5] != draw_counterfactuals(facts, 5, 2)


def test_without_held_out_phrasings_there_is_nothing_to_measure() -> None:
    with pytest.raises(FactsError, match="there is nothing to measure"):
        draw_counterfactuals([Fact("capital", "a", "b", ("x is",))], 5, 0)
