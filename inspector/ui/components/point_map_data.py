"""What a point map is made of: places, colours, tips, labels and areas, packed for the browser.

Places are drawn in *map units*: whole numbers from 0 to 65,535, the same scale along both axes. An
area is a polygon of map units, so that the browser and the server agree on who lies in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from inspector.capture.visible_text import visible_text

UNITS = 65_535
CATEGORIES = 254  # level 0 means "none", and one byte holds a level
Area = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class MapPoints:
    """Where slots lie: ``slots [point]`` whole numbers, ``xy [point 2]`` in any unit.

    Raises ValueError where the two disagree or a place is no number.
    """

    slots: np.ndarray
    xy: np.ndarray

    def __post_init__(self) -> None:
        """Refuse parts that disagree."""
        if self.xy.shape != (len(self.slots), 2):
            raise ValueError(f"{len(self.slots):,} slots have places of shape {self.xy.shape}.")
        if not np.isfinite(self.xy).all():
            raise ValueError("A place on the map is no number.")

    @cached_property
    def units(self) -> np.ndarray:
        """Places in map units, ``[point 2]`` uint16; the second axis points down."""
        if not len(self.slots):
            return np.zeros((0, 2), dtype=np.uint16)
        low, high = self.xy.min(0), self.xy.max(0)
        span = float((high - low).max()) or 1.0
        middle = (low + high) / 2
        centred = (self.xy.astype(np.float64) - middle) / span * [1, -1]
        return np.asarray(np.round((centred + 0.5) * UNITS).astype(np.uint16))

    @cached_property
    def packed(self) -> bytes:
        """Places (uint16 x, y), then slots (uint32), little-endian."""
        return self.units.astype("<u2").tobytes() + self.slots.astype("<u4").tobytes()

    def of_slot(self, slot: int | None) -> int | None:
        """Which point a slot is; None if it isn't on the map."""
        if slot is None:
            return None
        found = np.flatnonzero(self.slots == slot)
        return int(found[0]) if len(found) else None


@dataclass(frozen=True, eq=False)
class Colouring:
    """What the points' colours say.

    ``levels [point]`` uint8: 0 is none (called ``none``), and from 1 on a category's number plus
    one or, in a continuous colouring, the place on the ramp. ``values [point]`` are what hovering
    tells; a category tells its name. ``ticks`` are (place on the ramp 0..1, text).
    """

    name: str
    kind: Literal["ramp", "categories"]
    levels: np.ndarray
    values: np.ndarray | None = None
    categories: tuple[str, ...] = ()
    ticks: tuple[tuple[float, str], ...] = ()
    none: str = ""

    def __post_init__(self) -> None:
        """Refuse what a byte cannot hold."""
        if self.levels.dtype != np.uint8:
            raise ValueError(f"Levels are uint8, but were given as {self.levels.dtype}.")
        if len(self.categories) > CATEGORIES:
            raise ValueError(f"{len(self.categories)} categories are more than {CATEGORIES}.")
        most = int(self.levels.max(initial=0))
        if self.kind == "categories" and most > len(self.categories):
            raise ValueError(f"Level {most} has no name among {len(self.categories)} categories.")

    @property
    def packed(self) -> bytes:
        """Levels, padded to whole words, then values (float32) if there are any."""
        levels = self.levels.tobytes()
        values = b"" if self.values is None else self.values.astype("<f4").tobytes()
        return levels + bytes(-len(levels) % 4) + values


@dataclass(frozen=True, eq=False)
class Tips:
    """What hovering tells: the tokens each point promotes, ``tokens [point top]``, best first.

    They are positions in ``vocabulary``; -1 is no token.
    """

    tokens: np.ndarray
    vocabulary: Sequence[str]

    @cached_property
    def packed(self) -> bytes:
        """The tokens as int32."""
        return self.tokens.astype("<i4").tobytes()

    @cached_property
    def texts(self) -> list[str]:
        """The vocabulary with its white space visible."""
        return [visible_text(text) for text in self.vocabulary]


@dataclass(frozen=True)
class MapLabel:
    """A name on the map, in map units; of names that overlap the one with more points stays."""

    x: int
    y: int
    text: str
    points: int


def parse_area(text: str | None) -> Area:
    """The polygon that ``format_area`` wrote; none where ``text`` isn't one."""
    try:
        corners = [tuple(map(int, pair.split(","))) for pair in (text or "").split(" ") if pair]
    except ValueError:
        return ()
    return check_area(corners)


def format_area(area: Area) -> str | None:
    """The corners of a polygon for a URL, ``x,y x,y x,y``; None without any."""
    return " ".join(f"{x},{y}" for x, y in area) or None


def check_area(corners: object) -> Area:
    """``corners`` as a polygon of map units; the empty one unless it is one of 3 to 500 corners."""
    if not isinstance(corners, list | tuple) or not 3 <= len(corners) <= 500:
        return ()
    for corner in corners:
        if not isinstance(corner, list | tuple) or len(corner) != 2:
            return ()
        if not all(isinstance(v, int) and -UNITS <= v <= 2 * UNITS for v in corner):
            return ()
    return tuple((x, y) for x, y in corners)


def points_inside(units: np.ndarray, area: Area) -> np.ndarray:
    """Which points ``units [point 2]`` lie in a polygon (even-odd rule), ``[point]`` bool."""
    x, y = units[:, 0].astype(np.float64), units[:, 1].astype(np.float64)
    inside = np.zeros(len(units), dtype=bool)
    for (ax, ay), (bx, by) in zip(area, area[1:] + area[:1], strict=True):
        crosses = (ay > y) != (by > y)
        if ay != by:
            inside ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return inside


def packed_part(name: str, part: str, cells: bytes, **more: object) -> tuple[str, bytes]:
    """A message for the browser's store, and its digest.

    It's the length of a JSON header (uint32, little-endian), the header padded to whole words,
    then the cells.
    """
    digest = hashlib.blake2b(cells + json.dumps(more).encode(), digest_size=8).hexdigest()
    header = json.dumps({"map": name, "part": part, "digest": digest, **more}).encode()
    header += b" " * (-len(header) % 4)
    return digest, len(header).to_bytes(4, "little") + header + cells
