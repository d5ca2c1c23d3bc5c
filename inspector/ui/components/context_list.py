"""Reads in their text: one line each, the token that read it marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from inspector.capture.visible_text import visible_text
from inspector.ui.components.assets import register

_LIST = register("context_list", "tooltip", "numbers")


@dataclass(frozen=True)
class ContextRow:
    """One read: its group, its place such as ``L4·H2``, its weight, and the tokens around it."""

    kind: str
    place: str
    weight: float
    before: Sequence[str]
    token: str
    after: Sequence[str]


def context_list(rows: Sequence[ContextRow], *, key: str) -> None:
    """Show reads in their text, white space visible, under a heading wherever ``kind`` changes.

    Bars of weights share one scale; hovering a line shows its text in full.

    Raises ValueError for a weight that is not finite.
    """
    for row in rows:
        if not isfinite(row.weight):
            raise ValueError(f"The weight of a read at {row.place} is {row.weight}, no number.")
    _LIST(key=key, data={"rows": [_packed(row) for row in rows]})


def _packed(row: ContextRow) -> dict[str, object]:
    before, after = (_shown(tokens) for tokens in (row.before, row.after))
    token = visible_text(row.token)
    return {
        "kind": row.kind,
        "place": row.place,
        "weight": float(row.weight),
        "before": before,
        "token": token,
        "after": after,
        "tip": f"{row.place} at {token}\n{before}{token}{after}",
    }


def _shown(tokens: Sequence[str]) -> str:
    return "".join(visible_text(token) for token in tokens)
