"""What is drawn when not all slots have a place on the map."""

from __future__ import annotations

import numpy as np
import pytest

from inspector.analyses.map_sample import draw_slots, even_places


def reads_of(*counts: tuple[int, int]) -> np.ndarray:
    """So many slots with so many reads each, shuffled."""
    reads = np.concatenate([np.full(slots, times) for slots, times in counts])
    return np.random.default_rng(3).permutation(reads)


def test_all_are_taken_if_there_is_room() -> None:
    sample = draw_slots(np.arange(9), reads_of((5, 0), (4, 2)), 9, seed=1)
    assert sample.slots.tolist() == list(range(9))
    assert (sample.sampled, sample.total) == ("", 9)


def test_read_slots_come_first() -> None:
    reads = reads_of((700, 0), (300, 5))
    sample = draw_slots(np.arange(1000), reads, 400, seed=0)
    assert len(sample.slots) == len(set(sample.slots)) == 400
    assert np.isin(np.flatnonzero(reads), sample.slots).all()
    assert (np.diff(sample.slots) > 0).all()
    assert sample.sampled == (
        "400 of 1,000 slots, all 300 read ones first, the rest drawn at random (seed 0)"
    )


def test_strata_share_the_places_evenly() -> None:
    """500 slots read once, 60 some 20 times, 5 some 3,000 times: 5, 60, and the rest of 100."""
    reads = reads_of((400, 0), (500, 1), (60, 20), (5, 3000))
    sample = draw_slots(np.arange(965), reads, 100, seed=0)
    drawn = dict(zip(*np.unique(reads[sample.slots], return_counts=True), strict=True))
    assert drawn == {1: 48, 20: 47, 3000: 5}
    assert sample.sampled == (
        "100 of 965 slots, read ones only, as many from each decade of reads, "
        "drawn at random (seed 0)"
    )


@pytest.mark.parametrize(
    ("sizes", "points", "places"),
    [
        ([10, 10, 10], 9, [3, 3, 3]),
        ([1, 10, 10], 9, [1, 4, 4]),
        ([5, 0, 100], 50, [5, 0, 45]),
        ([4, 4], 5, [3, 2]),
        ([2, 3], 5, [2, 3]),
    ],
)
def test_places(sizes: list[int], points: int, places: list[int]) -> None:
    found = even_places(sizes, points)
    assert sorted(found) == sorted(places)
    assert sum(found) == points
    assert all(place <= size for place, size in zip(found, sizes, strict=True))


def test_without_a_scan_all_have_the_same_chance() -> None:
    drawn = [draw_slots(np.arange(100), None, 50, seed=seed) for seed in range(400)]
    times = np.bincount(np.concatenate([sample.slots for sample in drawn]), minlength=100)
    assert times.sum() == 400 * 50
    # Binomial of 400 draws at 1/2: a standard deviation of 10; 100 slots stay within five.
    assert (np.abs(times - 200) < 50).all()
    assert drawn[0].sampled == "50 of 100 slots, drawn at random (seed 0)"


def test_the_seed_decides() -> None:
    reads = reads_of((500, 0), (500, 1))
    one, again, other = (draw_slots(np.arange(1000), reads, 300, s).slots for s in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_as_a_frame() -> None:
    assert draw_slots(np.arange(3), None, 9, 0).to_frame()["slot"].tolist() == [0, 1, 2]
