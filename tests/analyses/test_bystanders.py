"""Unrelated facts: whom an ablation should leave alone."""

from pathlib import Path

import pytest

from inspector.analyses.ablations import SlotTarget
from inspector.analyses.bystanders import Bystanders, draw_bystanders, still_answered
from inspector.analyses.core_sets import CoreSet
from inspector.analyses.facts import Fact
from inspector.families.base import MemoryModel
from tests.analyses.planted_facts import (
    FACTS,
    PET,
    SINGLE,
    SPREAD,
    TWICE,
    TWO_TOKENS,
    planted_model,
    target,
)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> MemoryModel:
    return planted_model(tmp_path_factory.mktemp("planted") / "planted")


@pytest.fixture(scope="module")
def drawn(planted: MemoryModel) -> Bystanders:
    return draw_bystanders(planted, FACTS, ends=False)


def core(*members: SlotTarget) -> CoreSet:
    return CoreSet("zero", "table", members, 4, "answer")


def test_all_known_facts_are_drawn_and_no_others(drawn: Bystanders) -> None:
    assert set(drawn.facts) == {SINGLE, TWICE, SPREAD, TWO_TOKENS, PET}


def test_facts_with_the_same_subject_or_answer_are_related(drawn: Bystanders) -> None:
    rows = drawn.unrelated(SINGLE)
    assert {drawn.facts[row] for row in rows} == {TWICE, SPREAD, TWO_TOKENS}
    namesake = Fact("home", "Zoe", TWICE.object, ("Zoe home is",))
    assert TWICE not in {drawn.facts[row] for row in drawn.unrelated(namesake)}
    assert len(drawn.unrelated(SINGLE, wanted=2)) == 2


def test_those_whose_own_slots_go_lose_their_answer(
    planted: MemoryModel, drawn: Bystanders
) -> None:
    rows = list(range(len(drawn.facts)))
    assert still_answered(planted, drawn, rows, core(target("Ada", "home"))) == 4
    both = core(target("Ada", "home"), target("Eve", "home"), target("Cy", "home"))
    assert still_answered(planted, drawn, rows, both) == 3  # Cy's is spread
    assert still_answered(planted, drawn, [], both) == 0


def test_of_no_facts_none_are_drawn(planted: MemoryModel) -> None:
    assert draw_bystanders(planted, ()).facts == ()
    assert draw_bystanders(planted, FACTS, ends=True).facts == ()  # it never ends a text
    with pytest.raises(ValueError, match="another number"):
        Bystanders(FACTS, None, True)


def test_the_seed_decides_who_is_drawn(planted: MemoryModel, tmp_path: Path) -> None:
    few = [draw_bystanders(planted, FACTS, ends=False, wanted=2, seed=s).facts for s in range(6)]
    assert few[0] == draw_bystanders(planted, FACTS, ends=False, wanted=2, seed=0).facts
    assert len(set(few)) > 1
