"""Addresses that people type: ``L4·H2·(431,77)``, ``L4·(431,77)``, ``(431,77)`` or a number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from inspector.errors import SlotError
from inspector.families.base import MemoryModel

_BETWEEN: Final = r"[\s·.:/*-]*"
_ADDRESS: Final = re.compile(
    rf"\s*(?:L(?P<layer>\d{{1,6}}){_BETWEEN})?(?:H(?P<head>\d{{1,6}}){_BETWEEN})?"
    r"(?:\(?\s*(?P<i>\d{1,9})\s*[,;]\s*(?P<j>\d{1,9})\s*\)?|(?:slot\s*)?#?(?P<slot>\d{1,18}))\s*",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True)
class SlotAddress:
    """Where a slot was asked for: its site, its number, and a head if one was named."""

    site: str
    slot: int
    head: int | None = None


def parse_address(model: MemoryModel, text: str, site: str | None = None) -> SlotAddress:
    """The slot that ``text`` means; dots, dashes or spaces serve as well as the middle dot.

    Args:
        model: whose slots are meant.
        text: what was typed.
        site: meant where the text names none; the first one by default.

    Raises:
        SlotError: it is no address, or there is no such site, head or slot.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None:
        first = next(iter(model.sites.values())).info
        raise SlotError(
            f"{text[:80]!r} is no address of a slot. Type one such as {first.address(0, 0)} or "
            f"{first.address(0)}, or a slot's number, 0 to {first.slots - 1}."
        )
    parts = found.groupdict()
    named = f"L{int(parts['layer'])}" if parts["layer"] else site or next(iter(model.sites))
    info = model.site(named).info
    head = None if parts["head"] is None else int(parts["head"])
    if head is not None and head >= info.heads:
        raise SlotError(f"There is no head {head}: {named} has heads 0 to {info.heads - 1}.")
    if parts["slot"] is not None:
        slot = int(parts["slot"])
        info.pair(slot)  # refuses what is out of range
        return SlotAddress(named, slot, head)
    i, j = int(parts["i"]), int(parts["j"])
    if max(i, j) >= info.half_keys:
        raise SlotError(
            f"There is no key ({i},{j}): the half-keys of {named} are 0 to {info.half_keys - 1}."
        )
    return SlotAddress(named, i * info.half_keys + j, head)
