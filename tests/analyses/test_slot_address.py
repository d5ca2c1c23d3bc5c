"""Addresses of slots as people type them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inspector.analyses.slot_address import SlotAddress, parse_address
from inspector.capture.load import load
from inspector.errors import SlotError
from inspector.families.base import MemoryModel


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")  # L0 and L2, 8 x 8 slots, 2 heads


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("L2·H1·(3,7)", SlotAddress("L2", 31, 1)),
        ("L2·(3,7)", SlotAddress("L2", 31)),
        (" l2.h1.( 3 ; 7 ) ", SlotAddress("L2", 31, 1)),
        ("L2 H0 3,7", SlotAddress("L2", 31, 0)),
        ("(3,7)", SlotAddress("L0", 31)),
        ("31", SlotAddress("L0", 31)),
        ("#0", SlotAddress("L0", 0)),
        ("slot 63", SlotAddress("L0", 63)),
        ("L2:63", SlotAddress("L2", 63)),
    ],
)
def test_an_address_is_read(model: MemoryModel, text: str, expected: SlotAddress) -> None:
    assert parse_address(model, text) == expected


def test_every_address_that_is_shown_can_be_typed(model: MemoryModel) -> None:
    for name, site in model.sites.items():
        for slot in range(site.info.slots):
            for head in (None, *range(site.info.heads)):
                shown = site.info.address(slot, head)
                assert parse_address(model, shown) == SlotAddress(name, slot, head)


def test_the_site_asked_for_stands_in(model: MemoryModel) -> None:
    assert parse_address(model, "31", "L2") == SlotAddress("L2", 31)
    assert parse_address(model, "L0·31", "L2") == SlotAddress("L0", 31)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Paris", "no address"),
        ("", "no address"),
        ("L2·(3,7", "no address|there is no"),
        ("-5", "no address"),
        ("3.5", "no address"),
        ("٣١", "no address"),
        ("64", "slots 0 to 63"),
        ("999999999999999999", "slots 0 to 63"),
        ("(8,0)", "half-keys of L0 are 0 to 7"),
        ("L1·(3,7)", "no site L1"),
        ("L2·H2·(3,7)", "heads 0 to 1"),
        ("<script>alert(1)</script>" * 20, "no address"),
    ],
)
def test_what_is_no_address_is_told(model: MemoryModel, text: str, said: str) -> None:
    if text == "L2·(3,7":  # a forgotten bracket is no reason to refuse
        assert parse_address(model, text) == SlotAddress("L2", 31)
        return
    with pytest.raises(SlotError, match=said) as error:
        parse_address(model, text)
    assert len(str(error.value)) < 300
