"""Measures as levels: nothing known is told apart from little, and no few values drown the rest."""

from __future__ import annotations

import numpy as np

from inspector.ui.map_colours import (
    category_colouring,
    label_colouring,
    linear_colouring,
    log_colouring,
)


def test_counts_are_on_a_log_scale_and_zero_is_none() -> None:
    colouring = log_colouring("reads", np.array([0, 1, 31, 1023]), none="never read")
    # log(1 + count) is 1, 5 and 10 in powers of two: 31 lies 4/9 of the way up.
    assert colouring.levels.tolist() == [0, 1, 1 + round(254 * 4 / 9), 255]
    assert [text for _, text in colouring.ticks] == ["1", "44", "1,023"]
    assert colouring.values is not None
    assert colouring.values.tolist() == [0, 1, 31, 1023]


def test_counts_that_are_all_zero_have_no_level() -> None:
    assert log_colouring("reads", np.zeros(3, np.int64), none="x").levels.tolist() == [0, 0, 0]


def test_outliers_do_not_take_the_ramp_and_are_said_to_be_beyond_it() -> None:
    values = np.concatenate([np.linspace(1, 2, 999), [1000.0]])
    colouring = linear_colouring("norm", values)
    assert colouring.levels[499] in range(120, 136)
    assert colouring.levels[-1] == 255
    assert colouring.ticks[-1][1].startswith("≥")


def test_what_is_not_known_is_none() -> None:
    shares = np.array([0.0, 0.5, 1.0, np.nan])
    colouring = linear_colouring("share", shares, none="?", bounds=(0.0, 1.0), percent=True)
    assert colouring.levels.tolist() == [1, 128, 255, 0]
    assert [text for _, text in colouring.ticks] == ["0%", "50%", "100%"]


def test_labels_are_numbered_by_how_frequent_they_are() -> None:
    labels = np.array(["rare", "dead", "dead", None, ""], dtype=object)
    colouring = label_colouring("verdict", labels, none="unknown")
    assert colouring.categories == ("dead", "rare")
    assert colouring.levels.tolist() == [2, 1, 1, 0, 0]


def test_more_categories_than_levels_share_the_last() -> None:
    codes = np.array([-1, 0, 252, 253, 299])
    colouring = category_colouring("cluster", codes, [str(code) for code in range(300)])
    assert len(colouring.categories) == 254
    assert colouring.categories[-1] == "others"
    assert colouring.levels.tolist() == [0, 1, 253, 254, 254]


def test_counts_that_are_all_alike_have_their_own_tick() -> None:
    ticks = log_colouring("reads", np.array([0, 5, 5]), none="never read").ticks
    assert [text for _, text in ticks] == ["5"]
