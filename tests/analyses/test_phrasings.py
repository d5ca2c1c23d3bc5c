"""Which phrasings a fact is located on, and which are kept for its proof."""

from pathlib import Path

import pytest

from inspector.analyses.facts import Fact
from inspector.analyses.phrasings import AskedFact, ask_fact, says
from inspector.families.base import MemoryModel
from tests.analyses.planted_facts import SINGLE, TWO_TOKENS, UNKNOWN, planted_model


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> MemoryModel:
    return planted_model(tmp_path_factory.mktemp("planted") / "planted")


def uses(asked: AskedFact) -> list[str]:
    return [phrasing.use for phrasing in asked.phrasings]


def without_heldout(fact: Fact, prompts: int) -> Fact:
    return Fact(fact.relation, fact.subject, fact.object, fact.prompts[:prompts])


def test_held_out_phrasings_are_kept_for_the_proof(planted: MemoryModel) -> None:
    asked = ask_fact(planted, SINGLE)
    assert uses(asked) == ["locate", "locate", "prove"]
    assert asked.prompts("prove") == SINGLE.heldout_prompts
    assert asked.known
    assert asked.fresh
    assert [p.rank for p in asked.phrasings] == [1, 1, 1]
    assert all(p.probability > 0.99 for p in asked.phrasings)


def test_without_any_one_of_the_others_is_set_aside_by_the_seed(planted: MemoryModel) -> None:
    fact = without_heldout(SINGLE, 2)
    drawn = {tuple(uses(ask_fact(planted, fact, seed))) for seed in range(12)}
    assert drawn == {("locate", "prove"), ("prove", "locate")}
    assert ask_fact(planted, fact, 3) == ask_fact(planted, fact, 3)


def test_a_single_phrasing_serves_both_and_is_not_fresh(planted: MemoryModel) -> None:
    asked = ask_fact(planted, without_heldout(SINGLE, 1))
    assert uses(asked) == ["both"]
    assert not asked.fresh
    assert asked.prompts("locate") == asked.prompts("prove")


def test_phrasings_that_are_not_answered_are_used_for_neither(planted: MemoryModel) -> None:
    prompts = (SINGLE.prompts[0], "Dan home is", SINGLE.prompts[1])
    fact = Fact("home", "Ada", "Rome", prompts, ("Dan home has", "Ada home called"))
    assert uses(ask_fact(planted, fact)) == ["locate", "none", "locate", "none", "prove"]
    unknown = ask_fact(planted, UNKNOWN)
    assert uses(unknown) == ["none"] * 3
    assert not unknown.known


def test_the_end_of_text_counts_only_if_the_model_writes_it(
    planted: MemoryModel, little_world: Path
) -> None:
    from inspector.analyses.facts import read_facts
    from inspector.capture.load import load

    assert not ask_fact(planted, SINGLE).ends  # it has nowhere to get an end from
    model = load(little_world, "cpu")
    facts = read_facts(little_world / "facts.jsonl")[:30]
    assert any(asked.ends and asked.known for asked in (ask_fact(model, fact) for fact in facts))


def test_what_the_model_says_is_its_greedy_continuation(planted: MemoryModel) -> None:
    assert says(planted, TWO_TOKENS.prompts[0], tokens=2) == TWO_TOKENS.object
