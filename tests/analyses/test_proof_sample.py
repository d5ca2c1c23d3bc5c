"""The proof over many facts: what is counted, and the claims about the shipped sample."""

from collections import Counter
from pathlib import Path

import pytest

from inspector.analyses.facts import Fact, read_facts
from inspector.analyses.proof_sample import ProofSample, draw_facts, prove_many
from inspector.capture.load import load
from inspector.errors import Cancelled
from inspector.families.base import MemoryModel
from tests.analyses.planted_facts import FACTS, SPREAD, UNKNOWN, planted_model

SAMPLE = Path(__file__).parents[2] / "sample_checkpoints" / "world-facts"


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> MemoryModel:
    return planted_model(tmp_path_factory.mktemp("planted") / "planted")


@pytest.fixture(scope="module")
def found(planted: MemoryModel) -> ProofSample:
    only_asked_once = Fact("pet", "Ada", "cat", ("Ada pet is",))
    return prove_many(planted, (*FACTS[:-1], only_asked_once), 10)


def test_every_fact_has_an_outcome_for_both_ablations(found: ProofSample) -> None:
    outcomes = {
        (row["subject"], row["relation"], row["kind"]): row["outcome"]
        for row in found.to_frame().to_dict("records")
    }
    assert len(outcomes) == 12
    for kind in ("zero", "mask"):
        assert outcomes[SPREAD.subject, "home", kind] == "no core set"
        assert outcomes[UNKNOWN.subject, "home", kind] == "unknown"
        assert outcomes["Ada", "pet", kind] == "no phrasing left"
        assert outcomes["Ada", "home", kind] == outcomes["Bob", "home", kind] == "proven"
        # its other token's slot is as strong, is drawn as a control, and loses the answer as well
        assert outcomes["Eve", "home", kind] == "not proven"


def test_the_summary_counts_facts_without_a_core_set(found: ProofSample) -> None:
    for row in found.summary().to_dict("records"):
        assert (row["facts"], row["proven"], row["not_proven"]) == (6, 2, 1)
        assert (row["no_core_set"], row["unknown"], row["no_phrasing_left"]) == (1, 1, 1)
        assert row["lost"] == 1
        assert row["lost_of_all"] == 3 / 4
        assert 0.4 < row["lost_low"] < 1
        assert row["slots"] == 1
        assert 0 < row["control_lost"] < 1
        assert row["unrelated_kept"] == 1
    values = found.to_json()
    assert values["complete"]
    assert values["rows"][0]["lost"] in (None, 1.0)


def test_facts_are_drawn_as_equally_over_the_relations_as_can_be() -> None:
    facts = [Fact(f"r{n % 3}", f"s{n}", "o", (f"s{n}",)) for n in range(30)]
    facts += [Fact("rare", "x", "o", ("x",))]
    drawn = draw_facts(facts, 13)
    assert Counter(fact.relation for fact in drawn) == {"r0": 4, "r1": 4, "r2": 4, "rare": 1}
    assert drawn == draw_facts(facts, 13)
    assert drawn != draw_facts(facts, 13, seed=1)
    assert len(draw_facts(facts, 100)) == 31


def test_it_can_be_stopped_and_keeps_what_it_has(planted: MemoryModel) -> None:
    told: list[tuple[int, int]] = []
    found = prove_many(
        planted,
        FACTS,
        kinds=("zero",),
        report=lambda done, total: told.append((done, total)),
        cancel=lambda: len(told) == 2,
    )
    assert not found.complete
    assert (found.facts, len(found.to_frame())) == (2, 2)
    assert told == [(1, 6), (2, 6)]
    with pytest.raises(Cancelled):
        prove_many(planted, FACTS, cancel=lambda: True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_shipped_sample_keeps_its_facts_in_small_sets_of_slots() -> None:
    """With a margin for the small number: over 200 facts the bars are 0.8, 32, 0.2 and 0.97."""
    model = load(SAMPLE, "cpu")
    found = prove_many(model, read_facts(SAMPLE / "facts.jsonl"), 21, kinds=("zero",), seed=5)
    for row in found.summary().to_dict("records"):
        assert row["proven"] + row["not_proven"] >= 8
        assert row["lost"] >= 0.65
        assert row["slots"] <= 32
        assert row["control_lost"] <= 0.2
        assert row["unrelated_kept"] >= 0.97
        assert row["swapped"] >= 0.85
