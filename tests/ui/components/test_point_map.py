"""The point map's contract: places, colours, areas, and what travels when."""

from __future__ import annotations

import json

import numpy as np
import pytest

from inspector.ui.components import Colouring, MapLabel, MapPoints, Tips, point_map
from inspector.ui.components.point_map_data import (
    UNITS,
    Area,
    check_area,
    format_area,
    parse_area,
    points_inside,
)
from tests.ui.components.conftest import Browser

XY = np.array([[0, 0], [4, 0], [4, 2], [0, 2]], dtype=np.float32)
POINTS = MapPoints(np.array([3, 5, 8, 15]), XY)
CLUSTERS = Colouring(
    "cluster", "categories", np.array([1, 2, 0, 1], np.uint8), categories=("a", "b"), none="none"
)
READS = Colouring(
    "reads",
    "ramp",
    np.array([0, 1, 128, 255], np.uint8),
    values=np.array([0, 1, 30, 900], np.float32),
)
TRIANGLE: Area = ((0, 0), (100, 0), (0, 100))


def parts(browser: Browser) -> dict[str, str | None]:
    found: dict[str, str | None] = browser.data["map"]["parts"]
    return found


def header(browser: Browser, part: str) -> tuple[dict[str, object], bytes]:
    packed: bytes = browser.data[f"map/{part}"]
    length = int.from_bytes(packed[:4], "little")
    return json.loads(packed[4 : 4 + length]), packed[4 + length :]


def test_places_keep_their_shape_and_turn_upside_down() -> None:
    # 4 wide and 2 high: the full width of the units, and the middle half of the height.
    quarter, rest = round(0.25 * UNITS), round(0.75 * UNITS)
    assert POINTS.units.tolist() == [[0, rest], [UNITS, rest], [UNITS, quarter], [0, quarter]]


def test_one_place_for_all_is_the_middle() -> None:
    units = MapPoints(np.arange(3), np.full((3, 2), 7.0, np.float32)).units
    assert np.unique(units).tolist() == [round(0.5 * UNITS)]


def test_places_and_slots_are_packed_for_the_browser(browser: Browser) -> None:
    point_map(POINTS, CLUSTERS, key="map", half_keys=4)
    head, cells = header(browser, "points")
    assert head == {"map": "map", "part": "points", "digest": parts(browser)["points"], "count": 4}
    assert (len(browser.data["map/points"]) - len(cells)) % 4 == 0
    xy = np.frombuffer(cells, "<u2", 8).reshape(4, 2)
    assert xy.tolist() == POINTS.units.tolist()
    assert np.frombuffer(cells, "<u4", 4, offset=16).tolist() == [3, 5, 8, 15]


def test_values_lie_on_whole_words(browser: Browser) -> None:
    odd = MapPoints(POINTS.slots[:3], XY[:3])
    levels = np.array([1, 2, 3], np.uint8)
    values = np.array([0.5, 2, 30], np.float32)
    point_map(odd, Colouring("norm", "ramp", levels, values), key="map", half_keys=4)
    head, cells = header(browser, "colours")
    assert head["values"] is True
    assert list(cells[:3]) == [1, 2, 3]
    assert np.frombuffer(cells, "<f4", offset=4).tolist() == [0.5, 2, 30]


def test_only_what_changed_travels(browser: Browser) -> None:
    tips = Tips(np.array([[0, 1]] * 4), [" a", "b"])
    point_map(POINTS, CLUSTERS, key="map", half_keys=4, tips=tips)
    first = dict(parts(browser))
    assert first["lit"] is None
    lit = np.array([True, False, True, False])
    point_map(POINTS, READS, key="map", half_keys=4, tips=tips, lit=lit, selected_slot=5)
    second = parts(browser)
    assert [second[name] == first[name] for name in ("points", "tips", "colours", "lit")] == [
        True,
        True,
        False,
        False,
    ]
    assert header(browser, "lit")[1] == bytes([0b0101])


def test_tokens_of_tips_show_their_white_space(browser: Browser) -> None:
    tips = Tips(np.array([[0, 1], [1, -1], [1, 0], [0, -1]]), [" Paris", "\n"])
    point_map(POINTS, CLUSTERS, key="map", half_keys=4, tips=tips)
    head, cells = header(browser, "tips")
    assert (head["top"], head["vocabulary"]) == (2, ["·Paris", "⏎"])
    assert np.frombuffer(cells, "<i4").tolist() == [0, 1, 1, -1, 1, 0, 0, -1]


def test_a_click_selects_a_slot_and_another_map_forgets_it(browser: Browser) -> None:
    picked: list[int] = []
    point_map(POINTS, CLUSTERS, key="map", half_keys=4, on_select=picked.append)
    browser.click("map", 8)
    assert picked == [8]
    assert point_map(POINTS, CLUSTERS, key="map", half_keys=4) == 8
    moved = MapPoints(POINTS.slots, XY[::-1])
    assert point_map(moved, CLUSTERS, key="map", half_keys=4) is None


def test_a_slot_that_is_not_on_the_map_is_not_selected_on_it(browser: Browser) -> None:
    assert point_map(POINTS, CLUSTERS, key="map", half_keys=4, selected_slot=4) is None
    assert point_map(POINTS, CLUSTERS, key="map", half_keys=4, selected_slot=15) == 15


def test_the_page_is_told_of_an_area_and_the_browser_that_it_was_heeded(browser: Browser) -> None:
    drawn: list[Area] = []
    point_map(POINTS, CLUSTERS, key="map", half_keys=4, on_area=drawn.append)
    assert browser.data["map"]["area_nonce"] == 0
    browser.draw("map", [list(corner) for corner in TRIANGLE])
    assert drawn == [TRIANGLE]
    point_map(POINTS, CLUSTERS, key="map", half_keys=4, area=TRIANGLE)
    assert browser.data["map"]["area"] == [[0, 0], [100, 0], [0, 100]]
    assert browser.data["map"]["area_nonce"] == browser.nonce


def test_an_area_of_another_map_or_none_at_all_is_not_taken(browser: Browser) -> None:
    drawn: list[Area] = []
    point_map(POINTS, CLUSTERS, key="map", half_keys=4, on_area=drawn.append)
    browser.draw("map", [[0, 0], [9, 0], [0, 9]], subject="other")
    assert drawn == []
    for broken in ("text", [[0, 0], [1, 1]], [[0, 0], [1, "x"], [2, 2]], None):
        browser.draw("map", broken)
    assert drawn == [(), (), (), ()]


def test_an_area_holds_what_lies_inside() -> None:
    units = np.array([[10, 10], [49, 50], [60, 60], [-1, 5], [99, 0]])
    assert points_inside(units, TRIANGLE).tolist() == [True, True, False, False, True]
    # A square with a notch: (50, 20) is in the notch, (50, 80) below it.
    notched: Area = ((0, 0), (50, 50), (100, 0), (100, 100), (0, 100))
    inside = points_inside(np.array([[50, 20], [50, 80], [10, 50], [90, 50]]), notched)
    assert inside.tolist() == [False, True, True, True]


def test_a_convex_area_is_where_all_edges_are_on_one_side() -> None:
    area: Area = ((100, 0), (200, 90), (170, 210), (40, 220), (0, 80))
    draw = np.random.default_rng(0)
    units = draw.integers(-20, 240, (2000, 2))
    sides = [
        (bx - ax) * (units[:, 1] - ay) - (by - ay) * (units[:, 0] - ax)
        for (ax, ay), (bx, by) in zip(area, area[1:] + area[:1], strict=True)
    ]
    off_edge = np.all([side != 0 for side in sides], axis=0)
    expected = np.all([side > 0 for side in sides], axis=0)
    assert 500 < expected.sum() < 1500
    assert (points_inside(units, area) == expected)[off_edge].all()


def test_an_area_survives_the_url() -> None:
    assert parse_area(format_area(TRIANGLE)) == TRIANGLE
    assert format_area(()) is None
    for text in (None, "", "1,2", "1,2 3,4", "a,b c,d e,f", "1,2 3,4 5", "1,2 3,4 5,999999"):
        assert parse_area(text) == ()
    assert check_area([[0, 0]] * 501) == ()


def test_labels_travel_as_text(browser: Browser) -> None:
    label = MapLabel(1, 2, "<b>x</b>", 7)
    point_map(POINTS, CLUSTERS, key="map", half_keys=4, labels=[label])
    sent = browser.data["map"]["labels"]
    assert sent == [{"x": 1, "y": 2, "text": "<b>x</b>", "points": 7}]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MapPoints(np.arange(3), XY), r"3 slots have places of shape \(4, 2\)"),
        (lambda: MapPoints(np.arange(1), np.array([[0, np.nan]])), "is no number"),
        (lambda: Colouring("x", "ramp", np.zeros(4)), "Levels are uint8, but .* float64"),
        (
            lambda: Colouring("x", "categories", np.array([3], np.uint8), categories=("a",)),
            "Level 3 has no name among 1",
        ),
        (
            lambda: Colouring("x", "categories", np.zeros(1, np.uint8), categories=("a",) * 255),
            "255 categories are more than 254",
        ),
    ],
)
def test_what_breaks_the_contract_is_named(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_parts_of_other_lengths_are_refused(browser: Browser) -> None:
    short = Colouring("x", "ramp", np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="4 points have 3 colours"):
        point_map(POINTS, short, key="map", half_keys=4)
    with pytest.raises(ValueError, match="4 points have 2 lit"):
        point_map(POINTS, CLUSTERS, key="map", half_keys=4, lit=np.ones(2, bool))
    with pytest.raises(ValueError, match="4 points have 1 tips"):
        point_map(POINTS, CLUSTERS, key="map", half_keys=4, tips=Tips(np.zeros((1, 2)), ["a"]))
