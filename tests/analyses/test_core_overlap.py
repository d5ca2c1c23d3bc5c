"""How core sets agree, worked out by hand."""

import numpy as np
import pytest

from inspector.analyses.ablations import SlotTarget
from inspector.analyses.core_overlap import Overlap, about, fact_overlap, overlap, phrasing_overlap
from inspector.analyses.core_sets import CoreSet
from inspector.analyses.facts import Fact
from inspector.analyses.locate import locate
from inspector.families.base import MemoryModel
from tests.analyses.planted_facts import SPREAD, TWICE, UNKNOWN, planted_model, target

A, B, C = (SlotTarget(0, slot) for slot in (1, 2, 3))


def core(*members: SlotTarget) -> CoreSet:
    return CoreSet("zero", "table", members, 9, "answer", why="" if members else "none")


def test_overlap_is_members_in_common_over_members_of_either() -> None:
    found = overlap({"x": (A, B), "y": (B, C), "z": (), "w": ()})
    assert found.sizes.tolist() == [2, 2, 0, 0]
    assert found.shared[0].tolist() == [2, 1, 0, 0]
    np.testing.assert_allclose(found.jaccard[0], [1, 1 / 3, 0, 0])
    assert np.isnan(found.jaccard[2, 3])
    assert found.to_frame().loc["x", "y"] == pytest.approx(1 / 3)
    slots = found.slots()
    assert slots["slot"].tolist() == [2, 1, 3]
    assert slots["sets"].tolist() == [2, 1, 1]
    assert slots["where"][0] == ("x", "y")
    assert found.to_json()["jaccard"][2][3] is None


def test_no_sets_have_no_overlap() -> None:
    assert overlap({}).to_frame().empty
    assert overlap({"x": ()}).slots().empty


def test_parts_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="2 labels"):
        Overlap(("x", "y"), np.zeros(2), np.zeros((1, 1)), (), np.zeros((0, 2), dtype=bool))


def fact(relation: str, subject: str) -> Fact:
    return Fact(relation, subject, "o", (f"{subject} {relation}",))


def test_a_slot_is_about_what_its_other_facts_have_in_common() -> None:
    d = SlotTarget(0, 4)
    others = [
        (fact("capital", "Peru"), core(A, B)),
        (fact("capital", "Chad"), core(A)),
        (fact("currency", "Peru"), core(A)),  # neither the relation nor the subject
        (fact("currency", "Mali"), core(B, C)),
        (fact("domain", "Mali"), core()),  # has none, and so says nothing
    ]
    found = about(fact("capital", "Mali"), core(A, B, C, d), others)
    assert found["about"].tolist() == ["relation", "both", "subject", "this fact"]
    assert found["same_relation"].tolist() == [2, 1, 0, 0]
    assert found["same_subject"].tolist() == [0, 1, 1, 0]
    assert set(found["relation_facts"]) == {2}
    assert set(found["subject_facts"]) == {1}
    assert about(fact("capital", "Mali"), core(A), [])["about"].tolist() == ["not known"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> MemoryModel:
    return planted_model(tmp_path_factory.mktemp("planted") / "planted")


def test_single_phrasings_of_a_planted_fact_name_the_same_slots(planted: MemoryModel) -> None:
    found = phrasing_overlap(planted, locate(planted, TWICE))
    assert found.labels == (*TWICE.prompts, *TWICE.heldout_prompts)
    assert (found.jaccard == 1).all()
    assert set(found.members) == {target("Bob", "home"), target("home", "Bob")}


def test_each_phrasing_of_a_spread_fact_has_a_slot_of_its_own(planted: MemoryModel) -> None:
    found = phrasing_overlap(planted, locate(planted, SPREAD))
    common = target("Cy", "home")
    assert found.sizes.tolist() == [2, 2, 2]
    assert (found.shared - np.diag(found.sizes)).max() == 1
    assert found.slots().iloc[0]["slot"] == common.slot
    assert phrasing_overlap(planted, locate(planted, UNKNOWN)).labels == ()


def test_facts_without_a_core_set_have_an_empty_one() -> None:
    assert fact_overlap({"x": core(A), "y": core()}).sizes.tolist() == [1, 0]
