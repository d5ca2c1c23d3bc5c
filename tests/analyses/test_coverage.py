"""Coverage of a table, what uniform use would cover, and how much would ever be read."""

from __future__ import annotations

import numpy as np
import pytest

from inspector.analyses.coverage import estimate_richness, measure_coverage, unread_share
from inspector.capture.usage import TableUsage, Usage
from tests.analyses.planted_usage import counted_site, site_info, usage_of


def scan(found: np.ndarray, curve: list[list[int]], **fields: int) -> Usage:
    """Four slots, read by a site of two heads and one of one head."""
    first = counted_site(site_info(1, heads=2), np.array([[3, 1, 0, 0], [4, 0, 0, 0]]))
    second = counted_site(site_info(3), np.array([[2, 2, 0, 0]]))
    table = TableUsage(0, found, np.array(curve, dtype=np.int64).reshape(-1, 2))
    return usage_of([first, second], table, **fields)


def found_in(*tallies: int, slots: int) -> np.ndarray:
    """Slots by documents: ``tallies[d]`` of them were read in d + 1 documents, the rest in none."""
    found = np.repeat(np.arange(1, len(tallies) + 1), tallies)
    return np.pad(found, (0, slots - len(found)))


# --- the curve ----------------------------------------------------------------------------------


def test_uniform_use_reads_what_chance_would() -> None:
    documents = np.array([2, 2, 0, 0], dtype=np.int32)
    usage = scan(documents, [[2, 1], [4, 2]], tokens=4, distinct_contexts=4)
    coverage = measure_coverage(usage, 0)
    # Three heads with one read each a token: a slot is missed with (3/4)^3 a token.
    assert coverage.uniform == pytest.approx([4 * (1 - 0.75**6), 4 * (1 - 0.75**12)])
    assert coverage.slots_read.tolist() == [1, 2]
    assert coverage.to_frame().columns.tolist() == ["tokens", "slots_read", "uniform"]
    assert coverage.to_frame()["tokens"].tolist() == [2, 4]


def test_uniform_use_agrees_with_random_lookups() -> None:
    knn, tokens = 3, 10
    site = counted_site(site_info(half_keys=4, knn=knn), np.zeros((1, 16), dtype=np.int64))
    table = TableUsage(0, np.zeros(16, dtype=np.int32), np.zeros((0, 2), dtype=np.int64))
    usage = usage_of([site], table, tokens=tokens, distinct_contexts=tokens)
    random = np.random.default_rng(0)
    reads = random.random((4000, tokens, 16)).argsort(-1)[..., :knn].reshape(4000, -1)
    unread = [16 - len(set(run)) for run in reads.tolist()]
    assert np.mean(unread) / 16 == pytest.approx(unread_share(usage, 0, np.array(tokens)), rel=0.02)


def test_repeated_contexts_read_nothing_new() -> None:
    documents = np.zeros(4, dtype=np.int32)
    fresh = scan(documents, [], tokens=10, distinct_contexts=10)
    repeated = scan(documents, [], tokens=40, distinct_contexts=10)
    assert unread_share(fresh, 0, np.array(10)) == unread_share(repeated, 0, np.array(40))


def test_a_scan_of_nothing_has_an_empty_curve() -> None:
    coverage = measure_coverage(
        scan(np.zeros(4, dtype=np.int32), [], tokens=0, distinct_contexts=0, documents=0), 0
    )
    assert (len(coverage.tokens), coverage.richness) == (0, None)


# --- how much would ever be read ----------------------------------------------------------------


def test_chao2_by_hand() -> None:
    richness = estimate_richness(found_in(6, 3, 1, slots=100), 4)
    assert richness is not None
    assert (richness.seen, richness.once, richness.twice) == (10, 6, 3)
    assert richness.estimate == pytest.approx(10 + 3 / 4 * 36 / 6)
    assert 10 < richness.low < richness.estimate < richness.high


def test_without_slots_in_two_documents_it_is_bias_corrected() -> None:
    richness = estimate_richness(found_in(4, 0, 2, slots=100), 5)
    assert richness is not None
    assert richness.estimate == pytest.approx(6 + 4 / 5 * 4 * 3 / 2)


def test_it_is_never_more_than_the_table_holds() -> None:
    richness = estimate_richness(found_in(10, 1, slots=20), 50)
    assert richness is not None
    assert (richness.estimate, richness.high) == (20, 20)


def test_when_every_slot_was_found_often_nothing_is_missing() -> None:
    richness = estimate_richness(np.array([5, 7, 9, 0]), 10)
    assert richness is not None
    assert (richness.low, richness.estimate, richness.high) == (3, 3, 3)


@pytest.mark.parametrize("documents", [0, 1])
def test_one_document_says_nothing_of_others(documents: int) -> None:
    assert estimate_richness(np.array([1, 1, 0]), documents) is None


def test_the_same_seed_gives_the_same_interval() -> None:
    found = found_in(40, 20, 10, slots=200)
    assert estimate_richness(found, 30, seed=3) == estimate_richness(found, 30, seed=3)


@pytest.mark.parametrize(("documents", "mean"), [(20, 1.0), (100, 1.5), (1000, 3.0)])
def test_the_interval_holds_the_truth_where_slots_are_alike(documents: int, mean: float) -> None:
    random = np.random.default_rng(documents)
    held = 0
    for run in range(100):
        found = np.zeros(2000, dtype=np.int64)
        found[:600] = random.binomial(documents, mean / documents, 600)
        richness = estimate_richness(found, documents, seed=run)
        assert richness is not None
        held += richness.low <= 600 <= richness.high
    assert held >= 90


def test_where_slots_differ_it_is_a_lower_bound() -> None:
    random = np.random.default_rng(0)
    estimates = []
    for run in range(50):
        chance = np.minimum(random.gamma(0.5, 0.03, 600), 1)
        richness = estimate_richness(np.pad(random.binomial(100, chance), (0, 400)), 100, run)
        assert richness is not None
        estimates.append(richness.estimate)
    assert max(estimates) < 600
