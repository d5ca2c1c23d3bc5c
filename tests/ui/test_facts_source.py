"""Facts of one view are told apart from those of another by what they say."""

from __future__ import annotations

from dataclasses import replace

from inspector.analyses.facts import Fact
from inspector.ui.facts_source import FactSet

OWN = (
    Fact("capital", "Peru", "Lima", ("Peru has its capital in",)),
    Fact("capital", "Norway", "Oslo", ("Norway has its capital in",)),
)


def test_as_many_other_facts_are_other_facts() -> None:
    mine = Fact("capital", "Atlantis", "Poseidonis", ("The capital of Atlantis is",))
    first = FactSet((mine,), OWN, mine=True)
    second = FactSet((replace(mine, object="Atlas"),), OWN, mine=True)
    assert len(first.known) == len(second.known) == 3
    assert first.identity != second.identity
    assert first.asked != second.asked
    assert first.identity == FactSet((replace(mine),), OWN, mine=True).identity


def test_the_checkpoints_own_facts_count_too() -> None:
    other = (OWN[0], replace(OWN[1], prompts=("Norges hovedstad er",)))
    mine = (Fact("capital", "Atlantis", "Atlas", ("The capital of Atlantis is",)),)
    assert FactSet(mine, OWN, mine=True).identity != FactSet(mine, other, mine=True).identity
