"""The table's contract: which columns show, what is sent, what is refused."""

from __future__ import annotations

import pytest

from inspector.ui.components import ReadRow, read_table
from tests.ui.components.conftest import Browser

STRONG = ReadRow(
    address="L4·H2·(431,77)",
    site="L4",
    head=2,
    slot=55245,
    weight=0.5,
    promoted=((" Paris", 2.5), ("\n", 1.0)),
)
WEAK = ReadRow(address="L4·H0·(1,2)", site="L4", head=0, slot=130)


def test_only_columns_with_values_show(browser: Browser) -> None:
    read_table([WEAK, STRONG], key="rows", selected=None)
    names = [column["name"] for column in browser.data["rows"]["columns"]]
    assert names == ["address", "head", "weight", "promoted"]


def test_a_zero_is_a_value(browser: Browser) -> None:
    row = ReadRow(address="L4·(1,2)", site="L4", head=None, slot=130, effect=0.0)
    read_table([row], key="rows", selected=None)
    names = [column["name"] for column in browser.data["rows"]["columns"]]
    assert names == ["address", "effect"]


def test_rows_are_sent_with_visible_tokens_and_their_place(browser: Browser) -> None:
    read_table([STRONG], key="rows", selected=None)
    sent = browser.data["rows"]["rows"][0]
    assert sent["promoted"] == [("·Paris", 2.5), ("⏎", 1.0)]
    assert sent["place"] == "L4·H2·(431,77)\nslot 55,245 of L4, head 2"
    assert sent["score"] is None


def test_a_page_may_say_what_a_column_means(browser: Browser) -> None:
    read_table([STRONG], key="rows", selected=None, helps={"weight": "Softmax over 32 keys."})
    helps = {column["name"]: column["help"] for column in browser.data["rows"]["columns"]}
    assert helps["weight"] == "Softmax over 32 keys."
    assert helps["head"] == "The head that read."


def test_a_click_selects_until_the_rows_change(browser: Browser) -> None:
    assert read_table([STRONG, WEAK], key="rows", selected=None) is None
    browser.click("rows", 1)
    assert read_table([STRONG, WEAK], key="rows", selected=None) == 1
    assert read_table([WEAK, STRONG], key="rows", selected=None) is None


def test_an_index_out_of_range_selects_nothing(browser: Browser) -> None:
    assert read_table([STRONG], key="rows", selected=1) is None


def test_no_rows_are_an_empty_table(browser: Browser) -> None:
    assert read_table([], key="rows", selected=None) is None
    assert browser.data["rows"]["rows"] == []


def test_what_breaks_the_contract_is_named(browser: Browser) -> None:
    with pytest.raises(ValueError, match="up to 1,000 rows, but was given 1,001"):
        read_table([WEAK] * 1001, key="rows", selected=None)
    bad = ReadRow(address="L4·H0·(1,2)", site="L4", head=0, slot=130, score=float("inf"))
    with pytest.raises(ValueError, match=r"The figures of L4·H0·\(1,2\) hold inf"):
        read_table([bad], key="rows", selected=None)
