"""Measures of usage, against values worked out by hand on small tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.analyses.usage_measures import (
    comparison_frame,
    half_key_reads,
    lorenz,
    measure_usage,
    rank_frequency,
    spread,
    table_reads,
)
from inspector.capture.usage import TableUsage, Usage
from tests.analyses.planted_usage import counted_site, site_info, usage_of


def two_sites() -> Usage:
    """Two sites on one table of 2 x 2 slots; the first has two heads."""
    first = counted_site(
        site_info(1, heads=2),
        np.array([[6, 2, 0, 0], [0, 0, 8, 0]]),
        weights=np.array([[1.0, 3.0, 0.0, 0.0], [0.0, 0.0, 4.0, 0.0]]),
    )
    second = counted_site(site_info(3), np.array([[2, 2, 2, 2]]))
    documents = np.array([2, 2, 2, 1], dtype=np.int32)
    return usage_of([first, second], TableUsage(0, documents, np.zeros((0, 2), dtype=np.int64)))


# --- one distribution ---------------------------------------------------------------------------


def test_measures_of_a_small_distribution() -> None:
    found = spread(np.array([4, 0, 2, 2]))  # shares 1/2, 0, 1/4, 1/4
    assert (found.items, found.read, found.usage) == (4, 3, 0.75)
    assert found.unevenness == pytest.approx(0.5 * math.log(2))  # entropy is 1.5 log 2
    assert found.unevenness_share == pytest.approx(0.25)
    assert found.effective == pytest.approx(2**1.5)
    # sorted 0, 1/4, 1/4, 1/2; cumulated 0, 1/4, 1/2, 1; mean 7/16
    assert found.gini == pytest.approx(1 + 1 / 4 - 2 * 7 / 16)
    assert (found.top50, found.top90, found.top99) == (1, 3, 3)


def test_uniform_use_is_even() -> None:
    found = spread(np.full(200, 3))
    assert (found.usage, found.unevenness, found.gini) == (1, pytest.approx(0), pytest.approx(0))
    assert found.effective == pytest.approx(200)
    assert (found.top50, found.top90, found.top99) == (100, 180, 198)


def test_one_slot_that_takes_all() -> None:
    found = spread(np.array([0, 0, 7, 0, 0]))
    assert (found.usage, found.effective) == (0.2, 1)
    assert found.unevenness == pytest.approx(math.log(5))
    assert found.unevenness_share == pytest.approx(1)
    assert found.gini == pytest.approx(1 - 1 / 5)
    assert (found.top50, found.top90, found.top99) == (1, 1, 1)


def test_a_single_slot_is_even() -> None:
    found = spread(np.array([5]))
    assert (found.unevenness, found.unevenness_share, found.gini) == (0, 0, 0)


def test_where_nothing_was_read_there_is_no_spread() -> None:
    found = spread(np.zeros(4))
    assert (found.items, found.read, found.usage, found.top99) == (4, 0, 0, 0)
    assert all(map(math.isnan, (found.unevenness, found.unevenness_share, found.effective)))
    assert math.isnan(found.gini)


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=50).filter(any), st.floats(1e-3, 1e3))
def test_only_shares_matter(counts: list[int], factor: float) -> None:
    whole, scaled = spread(np.array(counts)), spread(np.array(counts) * factor)
    assert (whole.read, whole.top50, whole.top90) == (scaled.read, scaled.top50, scaled.top90)
    assert whole.gini == pytest.approx(scaled.gini, abs=1e-9)
    assert whole.unevenness == pytest.approx(scaled.unevenness, abs=1e-9)
    assert 0 <= whole.gini <= 1 - 1 / len(counts) + 1e-12
    assert 1 <= whole.effective <= whole.read + 1e-9


# --- a scan -------------------------------------------------------------------------------------


def test_reads_of_half_keys_are_rows_and_columns_of_the_slots() -> None:
    slots = np.arange(9) ** 2  # 0 1 4 / 9 16 25 / 36 49 64
    expected = [[5, 50, 149], [45, 66, 93]]
    assert half_key_reads(slots, 3).tolist() == expected
    assert half_key_reads(np.stack([slots, slots]), 3).tolist() == [expected, expected]


def test_reads_of_a_table_are_those_of_all_its_sites() -> None:
    assert table_reads(two_sites(), 0).tolist() == [8, 4, 10, 2]


def test_every_table_site_and_head_is_measured() -> None:
    found = measure_usage(two_sites())
    places = [(m.level, m.site, m.head) for m in found]
    assert places == [
        ("table", None, None),
        ("site", "L1", None),
        ("head", "L1", 0),
        ("head", "L1", 1),
        ("site", "L3", None),
        ("head", "L3", 0),
    ]
    table, site, head = found[0].parts, found[1].parts, found[2].parts
    assert table["slots", "counted"] == spread(np.array([8, 4, 10, 2]))
    assert table["slots", "weighted"] == spread(np.array([3.0, 5.0, 6.0, 2.0]))
    assert site["slots", "counted"] == spread(np.array([6, 2, 8, 0]))
    assert head["slots", "weighted"] == spread(np.array([1.0, 3.0, 0.0, 0.0]))


def test_half_keys_of_different_heads_are_different_half_keys() -> None:
    found = measure_usage(two_sites())
    table, site, head = found[0].parts, found[1].parts, found[2].parts
    assert head["half-keys of set 1", "counted"] == spread(np.array([8, 0]))
    assert head["half-keys of set 2", "counted"] == spread(np.array([6, 2]))
    assert site["half-keys of set 1", "counted"] == spread(np.array([8, 0, 0, 8]))
    assert site["half-keys of set 2", "weighted"] == spread(np.array([1.0, 3.0, 4.0, 0.0]))
    assert table["half-keys of set 1", "counted"] == spread(np.array([8, 0, 0, 8, 4, 4]))


def test_the_comparison_has_a_row_for_each_place_set_and_kind() -> None:
    frame = comparison_frame(two_sites())
    assert len(frame) == 6 * 3 * 2
    row = frame[(frame["site"] == "L1") & (frame["head"] == 1)].iloc[0]
    assert (row["level"], row["of"], row["by"]) == ("head", "slots", "counted")
    assert (row["usage"], row["gini"], row["top99"]) == (0.25, 0.75, 1)
    assert frame["head"].isna().sum() == 3 * 6


# --- curves -------------------------------------------------------------------------------------


def test_the_rank_frequency_curve_falls_through_the_shares() -> None:
    curve = rank_frequency(np.array([1, 0, 6, 3]))
    assert curve.rank.tolist() == [1, 2, 3, 4]
    assert curve.share.tolist() == [0.6, 0.3, 0.1, 0]


def test_the_lorenz_curve_gathers_the_least_read_first() -> None:
    curve = lorenz(np.array([1, 0, 6, 3]))
    assert curve.slots.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert curve.reads.tolist() == pytest.approx([0, 0, 0.1, 0.4, 1])


def test_long_curves_are_thinned_to_points_that_lie_on_them() -> None:
    counts = np.random.default_rng(0).integers(0, 1000, 10_000)
    curve = rank_frequency(counts, points=50)
    assert len(curve.rank) <= 50
    assert (curve.rank[0], curve.rank[-1]) == (1, 10_000)
    np.testing.assert_allclose(curve.share, np.sort(counts)[::-1][curve.rank - 1] / counts.sum())
    gathered = lorenz(counts, points=50)
    assert (len(gathered.slots), gathered.reads[0], gathered.reads[-1]) == (51, 0, 1)


def test_curves_of_nothing_lie_at_zero() -> None:
    assert rank_frequency(np.zeros(3)).share.tolist() == [0, 0, 0]
    assert lorenz(np.zeros(3)).reads.tolist() == [0, 0, 0, 0]
