"""The n x n product keys of a site, with the reads of one token marked in them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from inspector.ui.components.assets import register
from inspector.ui.components.selection import (
    OnSelect,
    click_callback,
    current_selection,
    index_within,
    subject_of,
)

Background = bytes | NDArray[np.uint8]

_GRID = register(
    "key_grid",
    "tooltip",
    "selection",
    "theme",
    "grid_view",
    "grid_background",
    "grid_drawing",
    "grid_events",
)
_BACKGROUND_STORE = register("grid_background_store")
_LARGEST_N = 4096


@dataclass(frozen=True)
class GridRead:
    """One read to mark: a slot, how strongly it was read, and by which group.

    `weight` may be negative (a coefficient); its magnitude sets the dot's size, and a negative
    one is drawn hollow. `group` is the head's number, or the site's where several are shown: the
    group of the same number has the same colour everywhere. `label` is shown on hover, its first
    line also below the grid; begin it with the address.
    """

    slot: int
    weight: float
    group: int
    label: str


def key_grid(  # noqa: PLR0913  each is one thing the grid can show
    reads: Sequence[GridRead],
    *,
    key: str,
    n: int,
    selected_slot: int | None = None,
    background: Background | None = None,
    totals: tuple[Sequence[float], Sequence[float]] | None = None,
    group_names: Mapping[int, str] | None = None,
    height: int = 420,
    on_select: OnSelect | None = None,
) -> int | None:
    """Show all n * n keys with `reads` as dots; return the selected slot, if any.

    Half-key j of set 2 runs along x, half-key i of set 1 along y. Bars at the top and the right
    hold the total |weight| of each half-key, stacked by group. `background` is one uint8 for each
    slot (`[i j]`, or n * n bytes), drawn faintly in the theme's sequential colours; it travels to
    the browser only when it changes. Where several keys share a pixel it shows their mean.
    `totals` (of the n half-keys of set 1, and of set 2) take the place of the reads' weights in the
    bars, and the background is then drawn in full: a heat map of usage.

    The wheel zooms, dragging moves, a double click or `0` shows everything; arrow keys move
    between reads, page keys go through them by weight, Enter selects. A click selects any key.
    `selected_slot` wins over earlier clicks when it differs from the last run's, or when `n` does.

    Raises ValueError for an n outside 1..4,096, slots outside the grid, weights that are not
    finite, or a background of another size.
    """
    _check(reads, n, background, totals)
    asked = index_within(selected_slot, n * n)
    subject = subject_of([str(n)])
    chosen = current_selection(key, asked, subject, n * n)
    with st.container(gap=None):
        _GRID(
            key=key,
            data={
                "grid": key,
                "n": n,
                "reads": [_packed(read) for read in reads],
                "groups": _legend(reads, group_names or {}),
                "background": _mount_background(key, background),
                "totals": _plain_totals(totals),
                "height": height,
                "selected": chosen.value,
                "subject": subject,
                "nonce": chosen.nonce,
            },
            on_pick_change=click_callback(key, n * n, on_select),
        )
    return chosen.value


def _mount_background(key: str, background: Background | None) -> str | None:
    """Send the bytes in a message of their own and return their fingerprint."""
    if background is None:
        return None
    cells = background if isinstance(background, bytes) else background.tobytes()
    digest = hashlib.blake2b(cells, digest_size=8).hexdigest()
    _BACKGROUND_STORE(key=f"{key}/background", data=pack_background(key, digest, cells))
    return digest


def pack_background(grid: str, digest: str, cells: bytes) -> bytes:
    """The length of a JSON header (uint32, little-endian), the header, then one byte a slot."""
    header = json.dumps({"grid": grid, "digest": digest}).encode()
    return len(header).to_bytes(4, "little") + header + cells


def _packed(read: GridRead) -> dict[str, object]:
    """Plain numbers: a NumPy scalar would keep Streamlit from writing JSON."""
    return {
        "slot": int(read.slot),
        "weight": float(read.weight),
        "group": int(read.group),
        "label": read.label,
    }


def _plain_totals(
    totals: tuple[Sequence[float], Sequence[float]] | None,
) -> dict[str, list[float]] | None:
    if totals is None:
        return None
    return {"rows": list(map(float, totals[0])), "columns": list(map(float, totals[1]))}


def _legend(reads: Sequence[GridRead], names: Mapping[int, str]) -> list[dict[str, object]]:
    groups = sorted({read.group for read in reads} | set(names))
    return [{"group": int(group), "name": names.get(group, f"H{group}")} for group in groups]


def _check(
    reads: Sequence[GridRead],
    n: int,
    background: Background | None,
    totals: tuple[Sequence[float], Sequence[float]] | None,
) -> None:
    if totals is not None and {len(part) for part in totals} != {n}:
        raise ValueError(f"With n = {n} there are {n} totals for each set of half-keys.")
    if not 1 <= n <= _LARGEST_N:
        raise ValueError(f"A key grid shows 1 to {_LARGEST_N:,} half-keys a side, but n is {n:,}.")
    for read in reads:
        if not 0 <= read.slot < n * n:
            raise ValueError(
                f"With n = {n} slots run from 0 to {n * n - 1:,}, but a read has {read.slot:,}."
            )
        if not isfinite(read.weight):
            raise ValueError(
                f"The weight of slot {read.slot} is {read.weight}, which is no number."
            )
    if background is not None:
        _check_background(background, n)


def _check_background(background: Background, n: int) -> None:
    if isinstance(background, bytes):
        if len(background) != n * n:
            raise ValueError(
                f"With n = {n} a background holds {n * n:,} bytes, one a slot, but has "
                f"{len(background):,}."
            )
    elif background.dtype != np.uint8:
        raise ValueError(f"A background holds uint8, but was given {background.dtype}.")
    elif background.shape not in {(n, n), (n * n,)}:
        raise ValueError(
            f"With n = {n} a background has the shape ({n}, {n}) or ({n * n},), "
            f"not {background.shape}."
        )
