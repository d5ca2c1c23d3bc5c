"""Planted truth: on enough evidence all verdicts and causes are right, on less none is made up."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest

from inspector.analyses.causes import Diagnosis, diagnose
from inspector.analyses.half_key_causes import NO_CAUSE, Cause
from inspector.analyses.verdicts import Judged, Verdict, judge_usage
from inspector.families.base import Provenance
from tests.analyses.planted_usage import Planted, Truth

ENOUGH, TOO_FEW = 60_000, 200


def planted_causes(truth: Truth, judged: Judged) -> Mapping[int, Cause]:
    """What was planted among the items judged together."""
    if judged.site is None or judged.head is None:
        return truth.values
    if judged.half is None:
        return truth.addresses[judged.site, judged.head]
    return truth.half_keys.get((judged.site, judged.head, judged.half), {})


def found_causes(diagnosis: Diagnosis, judged: Judged) -> dict[int, Cause]:
    codes = diagnosis.causes(judged)
    return {item: Cause(codes[item]) for item in np.flatnonzero(codes != NO_CAUSE).tolist()}


@pytest.mark.parametrize(("seed", "repeats"), [(0, 1), (1, 1), (2, 3)])
def test_with_enough_evidence_verdicts_and_causes_are_all_right(seed: int, repeats: int) -> None:
    planted = Planted(seed)
    diagnosis = diagnose(planted.scan(ENOUGH, repeats), planted.model)
    for judged in diagnosis.verdicts:
        expected = planted_causes(planted.truth, judged)
        assert found_causes(diagnosis, judged) == expected
        assert set(judged.chosen(Verdict.DEAD).tolist()) == set(expected)
        assert judged.count(Verdict.NOT_SEEN_YET) == 0
        if judged.level != "half-key":
            assert set(judged.chosen(Verdict.RARE).tolist()) == planted.truth.rare


def test_all_kinds_of_cause_are_planted() -> None:
    truth = Planted().truth
    half_keys = {cause for dead in truth.half_keys.values() for cause in dead.values()}
    assert half_keys == {Cause.NORM, Cause.DIRECTION, Cause.OUT_OF_REACH}
    assert set(truth.values.values()) == {Cause.UNTRAINED, Cause.BEATEN}


@pytest.mark.parametrize("contexts", [0, TOO_FEW])
def test_what_is_not_dead_has_no_cause(contexts: int) -> None:
    planted = Planted()
    diagnosis = diagnose(planted.scan(contexts), planted.model)
    assert all(found_causes(diagnosis, judged) == {} for judged in diagnosis.verdicts)


def test_a_dead_value_that_was_trained_has_the_cause_of_most_of_its_addresses() -> None:
    planted = Planted()
    usage = planted.scan(20_000)
    sites = dict(usage.sites)
    slots = [3 * 16 + j for j in range(16)]  # those of half-key 3 of set 1
    for name, site in sites.items():
        hits, counts = site.half_hits.copy(), site.contexts.copy()
        counts[:, slots] = 0
        hits[: 2 if name == "L1" else 1, 0, 3] = 0  # lost at both heads of L1, and one of L3
        sites[name] = dataclasses.replace(site, half_hits=hits, contexts=counts)
    diagnosis = diagnose(dataclasses.replace(usage, sites=sites), planted.model)
    found = found_causes(diagnosis, diagnosis.verdicts.values[0])
    # The norm is the cause at one head, reach at two; but (3,1) has another half-key of far norm,
    # and (3,5) one that points away, so that four causes have one vote each.
    expected = dict.fromkeys(slots, Cause.OUT_OF_REACH)
    expected[slots[1]] = expected[slots[5]] = Cause.NORM
    assert {slot: found[slot] for slot in slots} == expected


def test_what_it_rests_on_is_said() -> None:
    planted = Planted()
    usage = planted.scan(5000)
    known = diagnose(usage, planted.model).notes
    assert len(known) == 1
    assert known[0].startswith("Where a document reads a slot, it reads it 1.0 times on average")
    assert "of 2" in known[0]
    foreign = dataclasses.replace(planted.model, provenance=Provenance("peer", "planted", 0))
    one = dataclasses.replace(usage, documents=1)
    (note,) = diagnose(one, foreign).notes
    assert note.startswith("Too few documents")
    assert "cannot be told" in note


def test_verdicts_at_hand_are_used() -> None:
    planted = Planted()
    usage = planted.scan(TOO_FEW)
    verdicts = judge_usage(usage)
    assert diagnose(usage, planted.model, verdicts).verdicts is verdicts
