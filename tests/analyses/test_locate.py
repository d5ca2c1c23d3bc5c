"""Locating a fact: what the report holds, and what it says of facts that cannot be located."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import inspector
from inspector.analyses.locate import FactReport, find_fact, locate
from inspector.errors import FactsError
from inspector.families.base import MemoryModel
from tests.analyses.planted_facts import (
    FACTS,
    SINGLE,
    SPREAD,
    TWICE,
    TWO_TOKENS,
    UNKNOWN,
    planted_model,
    slot,
)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> MemoryModel:
    return planted_model(tmp_path_factory.mktemp("planted") / "planted")


@pytest.fixture(scope="module")
def report(planted: MemoryModel) -> FactReport:
    return locate(planted, TWICE)


def test_the_reads_of_a_core_set_are_marked_and_no_others(report: FactReport) -> None:
    frame = report.to_frame()
    planted_in = frame["slot"].isin([slot("Bob", "home"), slot("home", "Bob")])
    for kind in ("zero", "mask"):
        assert (frame[f"in_{kind}_core"] == planted_in).all()
    assert set(frame.loc[planted_in, "head"]) == {0, 1}


def test_a_read_is_named_by_prompt_token_and_address(report: FactReport) -> None:
    frame = report.to_frame()
    strongest = frame.iloc[0]
    info = report.sites["L0"]
    assert strongest["prompt"] in TWICE.prompts
    assert strongest["token"] in ("is", "has")
    assert strongest["address"] == info.address(int(strongest["slot"]), int(strongest["head"]))
    assert set(frame["prompt"]) == set(TWICE.prompts)  # the held-out one is kept for the proof
    assert (frame["direct"] > 10).sum() == 4  # two slots in two phrasings


def test_a_report_as_plain_values(report: FactReport) -> None:
    values = report.to_json()
    assert values["known"]
    assert [phrasing["use"] for phrasing in values["phrasings"]] == ["locate", "locate", "prove"]
    assert {m["slot"] for m in values["core_sets"]["mask"]["members"]} == {
        slot("Bob", "home"),
        slot("home", "Bob"),
    }
    assert values["summary"] == report.summary()
    assert "2 slots" in report.summary()


def test_a_fact_that_the_model_does_not_know_is_said_so(planted: MemoryModel) -> None:
    found = locate(planted, UNKNOWN)
    assert not found.cores
    assert "does not know this fact" in found.summary()
    assert found.instead in found.summary()
    assert found.instead.startswith("Dan")
    assert len(found.to_frame()) > 0  # its reads' effects are still there to see


def test_a_fact_without_a_core_set_is_said_so(planted: MemoryModel) -> None:
    assert "no core set for zero" in locate(planted, SPREAD).summary()


def test_an_answer_of_several_tokens_is_read_through_to_its_end(planted: MemoryModel) -> None:
    frame = locate(planted, TWO_TOKENS).to_frame()
    answering = frame[frame["answering"]]
    assert set(answering["token"]) == {"is", "has", "New"}
    assert answering.groupby("phrasing")["pos"].nunique().tolist() == [2, 2]


def test_a_model_without_memory_has_no_reads(tiny_checkpoint: Callable[..., Path]) -> None:
    dense = inspector.load(tiny_checkpoint(memory_layers=[]), "cpu")
    found = locate(dense, SINGLE)
    assert len(found.effects) == 0
    assert not found.cores
    assert found.to_frame().empty


def test_a_known_fact_of_a_model_without_memory_lives_elsewhere(report: FactReport) -> None:
    assert "has no memory layers" in replace(report, cores={}).summary()


def test_locate_is_a_public_name() -> None:
    assert inspector.locate is locate
    assert inspector.FactReport is FactReport


def test_a_fact_is_found_by_its_subject_in_any_case() -> None:
    assert find_fact(FACTS, " bob ") is TWICE
    assert find_fact(FACTS, "ADA", "home") is SINGLE


@pytest.mark.parametrize(
    ("subject", "relation", "complaint"),
    [
        ("Ada", None, "several facts about 'Ada'; name a relation: home, pet"),
        ("Bob", "pet", "no pet of 'Bob'; its relations are: home"),
        ("Bobb", None, "No fact is about 'Bobb'.*Did you mean 'Bob'"),
        ("Zuleika", None, "No fact is about 'Zuleika'"),
    ],
)
def test_an_unknown_subject_is_told_what_there_is(
    subject: str, relation: str | None, complaint: str
) -> None:
    with pytest.raises(FactsError, match=complaint):
        find_fact(FACTS, subject, relation)
