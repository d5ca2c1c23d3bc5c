"""The key grid's contract: slots, weights, the background's bytes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from inspector.ui.components import GridRead, key_grid
from inspector.ui.components.key_grid import Background
from tests.ui.components.conftest import Browser

READS = [GridRead(5, 0.75, 1, "L4·H1·(1,1)"), GridRead(14, 0.25, 0, "L4·H0·(3,2)")]


def test_reads_and_the_legend_are_sent(browser: Browser) -> None:
    assert key_grid(READS, key="grid", n=4) is None
    sent = browser.data["grid"]
    assert sent["reads"][0] == {"slot": 5, "weight": 0.75, "group": 1, "label": "L4·H1·(1,1)"}
    assert sent["groups"] == [{"group": 0, "name": "H0"}, {"group": 1, "name": "H1"}]
    assert sent["background"] is None


def test_the_legend_may_name_groups_that_did_not_read(browser: Browser) -> None:
    key_grid(READS, key="grid", n=4, group_names={1: "L4", 2: "L8"})
    names = [entry["name"] for entry in browser.data["grid"]["groups"]]
    assert names == ["H0", "L4", "L8"]


def test_a_click_selects_a_slot_and_another_n_forgets_it(browser: Browser) -> None:
    key_grid(READS, key="grid", n=4, selected_slot=5)
    browser.click("grid", 15)
    assert key_grid(READS, key="grid", n=4, selected_slot=5) == 15
    assert key_grid(READS, key="grid", n=8, selected_slot=5) == 5


def test_a_selected_slot_outside_the_grid_selects_nothing(browser: Browser) -> None:
    assert key_grid(READS, key="grid", n=4, selected_slot=16) is None


def test_the_background_travels_apart_from_the_reads(browser: Browser) -> None:
    usage = np.arange(16, dtype=np.uint8).reshape(4, 4)
    key_grid(READS, key="grid", n=4, background=usage)
    packed = browser.data["grid/background"]
    length = int.from_bytes(packed[:4], "little")
    header = json.loads(packed[4 : 4 + length])
    assert header == {"grid": "grid", "digest": browser.data["grid"]["background"]}
    assert packed[4 + length :] == bytes(range(16))


def test_an_array_and_its_bytes_are_the_same_background(browser: Browser) -> None:
    usage = np.arange(32, dtype=np.uint8).reshape(4, 8)[:, ::2]
    key_grid(READS, key="array", n=4, background=usage)
    key_grid(READS, key="bytes", n=4, background=bytes(range(0, 32, 2)))
    assert browser.data["array"]["background"] == browser.data["bytes"]["background"]


@pytest.mark.parametrize(
    ("reads", "n", "background", "message"),
    [
        ([GridRead(16, 1.0, 0, "")], 4, None, "from 0 to 15, but a read has 16"),
        ([GridRead(-1, 1.0, 0, "")], 4, None, "but a read has -1"),
        ([GridRead(3, float("nan"), 0, "")], 4, None, "weight of slot 3 is nan"),
        ([], 0, None, "but n is 0"),
        ([], 5000, None, "but n is 5,000"),
        ([], 4, bytes(15), "holds 16 bytes, one a slot, but has 15"),
        ([], 4, np.zeros((4, 4)), "holds uint8, but was given float64"),
        ([], 4, np.zeros((2, 8), np.uint8), r"shape \(4, 4\) or \(16,\), not \(2, 8\)"),
    ],
)
def test_what_breaks_the_contract_is_named(
    browser: Browser, reads: list[GridRead], n: int, background: Background | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        key_grid(reads, key="grid", n=n, background=background)
