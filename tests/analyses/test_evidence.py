"""Chances and bounds of counts, the correction for many tests, and how reads clump."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inspector.analyses.evidence import (
    chance_of_at_most,
    largest_mean,
    measure_clump,
    most_hits_within,
)
from inspector.capture.usage import TableUsage, Usage
from tests.analyses.planted_usage import counted_site, site_info, usage_of


def test_the_chance_of_few_reads_is_a_sum_of_poisson_terms() -> None:
    hits = np.arange(12)
    terms = [math.exp(-4.2) * 4.2**k / math.factorial(k) for k in hits]
    np.testing.assert_allclose(chance_of_at_most(hits, 4.2), np.cumsum(terms), rtol=1e-12)


def test_the_chance_stays_exact_for_large_counts() -> None:
    chance = chance_of_at_most(np.array([0, 9_000, 10_000]), 10_000)
    assert chance[0] == 0
    assert chance[1] < 1e-22
    assert chance[2] == pytest.approx(0.5027, abs=1e-4)


def test_reads_that_come_together_count_as_one_event() -> None:
    # 15 reads expected in clumps of 5 are 3 events; 1 to 5 reads are at least one of them.
    chance = chance_of_at_most(np.array([0, 1, 5, 6]), 15, clump=5)
    none, one, two = (math.exp(-3) * 3**k / math.factorial(k) for k in range(3))
    assert chance == pytest.approx([none, none + one, none + one, none + one + two])


def test_no_read_bounds_the_mean_by_three() -> None:
    bounds = largest_mean(np.array([0, 1, 100]))
    assert bounds[:2] == pytest.approx([-math.log(0.05), 4.7439], abs=1e-4)
    np.testing.assert_allclose(chance_of_at_most(np.array([100]), bounds[2]), [0.05], rtol=1e-6)
    assert largest_mean(np.array([0]), clump=4)[0] == pytest.approx(-4 * math.log(0.05))


def test_the_correction_for_many_tests_is_benjamini_hochberg() -> None:
    random = np.random.default_rng(0)
    for expected in (2.0, 8.0, 20.0):
        hits = random.poisson(expected * random.choice([0.05, 0.3, 2.0], 300))
        chances = chance_of_at_most(hits, expected)
        order = np.argsort(chances, kind="stable")
        passing = np.flatnonzero(chances[order] <= 0.05 * np.arange(1, 301) / 300)
        by_definition = set(order[: passing[-1] + 1].tolist()) if len(passing) else set()
        cut = most_hits_within(hits, expected, 1.0, 0.05)
        assert set(np.flatnonzero(hits <= cut).tolist()) == by_definition


def test_too_little_evidence_passes_for_nobody() -> None:
    assert most_hits_within(np.zeros(5, dtype=np.int64), 2.9, 1.0, 0.05) == -1
    assert most_hits_within(np.zeros(5, dtype=np.int64), 3.0, 1.0, 0.05) == 0


# --- clumps -------------------------------------------------------------------------------------


def scan(reads: np.ndarray, documents: np.ndarray, of: int) -> Usage:
    site = counted_site(site_info(half_keys=int(len(reads) ** 0.5)), reads[None])
    table = TableUsage(0, documents.astype(np.int32), np.zeros((0, 2), dtype=np.int64))
    return usage_of([site], table, documents=of)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_independent_reads_do_not_clump(rate: float) -> None:
    in_documents = np.random.default_rng(0).poisson(rate, (100, 2500))
    usage = scan(in_documents.sum(0), (in_documents > 0).sum(0), 100)
    assert measure_clump(usage, 0) == pytest.approx(1, abs=0.03)


def test_reads_of_a_document_that_come_together_are_measured() -> None:
    random = np.random.default_rng(0)
    in_documents = random.binomial(1, 0.1, (200, 400)) * random.geometric(0.25, (200, 400))
    usage = scan(in_documents.sum(0), (in_documents > 0).sum(0), 200)
    independent = 0.1 / -math.log(0.9)  # a document holds at most one clump here
    assert measure_clump(usage, 0) == pytest.approx(4 * independent, rel=0.03)


def test_a_document_seen_twice_clumps_no_more_than_once() -> None:
    reads, documents = np.array([6, 0, 9, 3]), np.array([2, 0, 3, 1])
    once, twice = scan(reads, documents, 10), scan(2 * reads, 2 * documents, 20)
    assert measure_clump(once, 0) == pytest.approx(measure_clump(twice, 0))


def test_clumps_cannot_be_measured_where_all_documents_read_all_slots() -> None:
    assert measure_clump(scan(np.array([5, 5, 5, 0]), np.array([1, 1, 1, 0]), 1), 0) is None
    assert measure_clump(scan(np.zeros(4, dtype=np.int64), np.zeros(4), 0), 0) is None
