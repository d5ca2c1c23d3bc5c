"""What the points of a map can be coloured by: a measure of slots, as levels and a legend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inspector.ui.components import Colouring
from inspector.ui.components.point_map_data import CATEGORIES

_LEVELS = 254
_REST = "others"


def log_colouring(name: str, counts: np.ndarray, none: str) -> Colouring:
    """Counts ``[point]`` on a log scale; 0 is ``none``."""
    logs = np.log1p(counts.astype(np.float64))
    low = float(logs[counts > 0].min(initial=np.inf))
    high = float(logs.max(initial=0))
    if not np.isfinite(low):
        low = 0.0
    share = np.clip((logs - low) / max(high - low, 1e-12), 0, 1)
    places = (0.0, 0.5, 1.0) if high > low else (0.5,)
    ticks = [(at, round(float(np.expm1(low + at * (high - low))))) for at in places]
    return Colouring(
        name,
        "ramp",
        np.where(counts > 0, 1 + np.round(_LEVELS * share), 0).astype(np.uint8),
        values=counts.astype(np.float32),
        ticks=tuple((at, f"{max(count, 1):,}") for at, count in ticks),
        none=none,
    )


def linear_colouring(
    name: str,
    values: np.ndarray,
    *,
    none: str = "",
    bounds: tuple[float, float] | None = None,
    percent: bool = False,
) -> Colouring:
    """Values ``[point]``; NaN is ``none``.

    The ramp covers ``bounds``, else all but the outermost 1 % on either side, so that a few
    extreme values don't leave all others one colour.
    """
    known = values[np.isfinite(values)]
    low, high = bounds or (np.percentile(known, [1, 99]).tolist() if len(known) else (0.0, 1.0))
    share = np.clip((np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-12), 0, 1)
    levels = np.where(np.isfinite(values), 1 + np.round(_LEVELS * share), 0)
    marks = [(at, low + at * (high - low)) for at in (0.0, 0.5, 1.0)]
    shown = [(at, f"{value:.0%}" if percent else f"{value:.3g}") for at, value in marks]
    if bounds is None and len(known):
        shown[0] = (0.0, f"≤ {shown[0][1]}") if known.min() < low else shown[0]
        shown[2] = (1.0, f"≥ {shown[2][1]}") if known.max() > high else shown[2]
    return Colouring(
        name,
        "ramp",
        levels.astype(np.uint8),
        values=values.astype(np.float32),
        ticks=tuple(shown),
        none=none,
    )


def category_colouring(
    name: str, codes: np.ndarray, names: Sequence[str], *, none: str = ""
) -> Colouring:
    """Categories ``[point]`` by number, -1 for none; the rarest share a level if there are many."""
    shown = tuple(names)
    if len(shown) > CATEGORIES:
        shown = (*shown[: CATEGORIES - 1], _REST)
        codes = np.minimum(codes, CATEGORIES - 1)
    return Colouring(name, "categories", (codes + 1).astype(np.uint8), categories=shown, none=none)


def label_colouring(name: str, labels: np.ndarray, *, none: str = "") -> Colouring:
    """Categories ``[point]`` by their texts, the most frequent first; empty or missing is none."""
    known = np.array([isinstance(label, str) and label != "" for label in labels], dtype=bool)
    texts, codes, counts = np.unique(
        labels[known].astype(str), return_inverse=True, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    numbers = np.full(len(labels), -1, dtype=np.int64)
    numbers[known] = place[codes] if len(order) else 0
    return category_colouring(name, numbers, texts[order].tolist(), none=none)
