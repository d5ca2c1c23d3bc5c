"""The proof: before and after, controls, swaps and unrelated facts, in a model made by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inspector.analyses.ablations import ABLATIONS, Ablation
from inspector.analyses.facts import Fact, phrasings
from inspector.analyses.locate import locate
from inspector.analyses.proof import PARTS, Proof, in_same_words, prove
from inspector.errors import Cancelled, FactsError
from inspector.families.base import MemoryModel
from tests.analyses.planted_facts import (
    FACTS,
    SINGLE,
    SPREAD,
    TWICE,
    UNKNOWN,
    planted_model,
)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> MemoryModel:
    return planted_model(tmp_path_factory.mktemp("planted") / "planted")


@pytest.fixture(scope="module", params=ABLATIONS)
def proof(request: pytest.FixtureRequest, planted: MemoryModel) -> Proof:
    return prove(planted, FACTS, locate(planted, TWICE), request.param, draws=4)


def test_a_planted_fact_is_proven_in_the_phrasing_that_was_held_out(proof: Proof) -> None:
    assert proof.prompts == TWICE.heldout_prompts
    assert proof.fresh
    assert proof.before[0] > 0.99
    assert proof.ablated[0] < 0.01
    assert proof.lost.tolist() == [True]
    # the fact fires in two slots at the filler, and at the relation's word before it
    assert proof.controls.reads.tolist() == [4]
    assert proof.control_lost.shape == (4, 1)
    assert not proof.control_lost.any()
    assert (proof.unrelated, proof.unrelated_kept) == (4, 4)
    assert proof.proven
    assert proof.verdict().startswith("Proven: with its 2 slots")
    assert "in 0 of 4 draws; 4 of 4 unrelated facts" in proof.verdict()


def test_with_the_reads_of_another_subject_it_says_that_subjects_answer(proof: Proof) -> None:
    (swap,) = proof.swaps
    donors = {fact.subject: fact.object for fact in FACTS if fact.relation == "home"}
    assert swap.donor != TWICE.subject
    assert swap.answer == donors[swap.donor]
    assert swap.says_donor
    assert not swap.said_before


def test_a_proof_as_a_table_and_as_plain_values(proof: Proof) -> None:
    row = proof.to_frame().iloc[0]
    assert row["before"] == proof.before[0]
    assert row["control"] == pytest.approx(proof.control_probability.mean())
    low, high = proof.control_interval()
    assert low <= row["control"] <= high
    values = proof.to_json()
    assert values["verdict"] == proof.verdict()
    assert values["phrasings"][0]["lost"]
    assert values["unrelated_kept"] == 4


def test_what_was_found_and_proven_on_the_same_words_is_not_proven(planted: MemoryModel) -> None:
    fact = Fact("home", "Ada", "Rome", SINGLE.prompts[:1])
    found = prove(planted, FACTS, locate(planted, fact), draws=2)
    assert not found.fresh
    assert found.lost.all()
    assert not found.proven
    assert "that it was found on (there is no other)" in found.verdict()


@pytest.mark.parametrize("change", ["kept", "controls", "unrelated"])
def test_a_proof_falls_with_any_of_its_parts(planted: MemoryModel, change: str) -> None:
    proof = prove(planted, FACTS, locate(planted, TWICE), draws=4)
    assert proof.proven
    scores = replace(proof.controls.scores, kept=~proof.controls.scores.kept)
    changed = {
        "kept": replace(proof, lost=np.array([False])),
        "controls": replace(proof, controls=replace(proof.controls, scores=scores)),
        "unrelated": replace(proof, unrelated_kept=3),
    }[change]
    assert not changed.proven
    assert changed.verdict().startswith("Not proven")


@pytest.mark.parametrize(
    ("fact", "complaint"),
    [(UNKNOWN, "does not know this fact"), (SPREAD, "no core set for zero")],
)
def test_what_was_not_located_cannot_be_proven(
    planted: MemoryModel, fact: Fact, complaint: str
) -> None:
    with pytest.raises(FactsError, match=complaint):
        prove(planted, FACTS, locate(planted, fact))


def test_facts_of_no_use_as_donors_or_bystanders_leave_those_parts_empty(
    planted: MemoryModel,
) -> None:
    found = prove(planted, [TWICE], locate(planted, TWICE), draws=2)
    assert found.swaps == ()
    assert (found.unrelated, found.unrelated_kept) == (0, 0)


def test_it_tells_how_far_it_is_and_stops_before_any_part(planted: MemoryModel) -> None:
    told: list[tuple[int, int]] = []
    found = locate(planted, TWICE)
    whole = prove(planted, FACTS, found, draws=2, told=lambda *step: told.append(step))
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert whole.verdict() == prove(planted, FACTS, found, draws=2).verdict()
    for done, part in enumerate(PARTS):
        told.clear()

        def stop(after: int = done) -> bool:
            return len(told) == after

        with pytest.raises(Cancelled, match=f"'{TWICE.subject}' was stopped before its {part}"):
            prove(planted, FACTS, found, told=lambda *step: told.append(step), cancel=stop)
        assert told == [(step, 4) for step in range(done)]


def test_a_donor_is_asked_in_the_same_words() -> None:
    assert in_same_words(SINGLE, "Ada home is", TWICE) == "Bob home is"
    assert in_same_words(SINGLE, "Home of Ada:", TWICE) is None
    own = Fact("capital", "Peru", "Lima", phrasings("capital", "Peru"))
    other = Fact("capital", "Bahamas", "Nassau", phrasings("capital", "Bahamas"))
    assert in_same_words(own, own.prompts[0], other) == "The capital of the Bahamas is"


def test_phrasings_that_disagree_in_number_are_refused(
    planted: MemoryModel, tmp_path: Path
) -> None:
    kind: Ablation = "zero"
    proof = prove(planted, FACTS, locate(planted, TWICE), kind, draws=2)
    with pytest.raises(ValueError, match="disagree in number"):
        replace(proof, prompts=("a", "b"))
