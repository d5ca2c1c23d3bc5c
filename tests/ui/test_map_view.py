"""A map is drawn with its own points, whatever it is called."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from inspector.analyses.value_map import value_map
from inspector.capture.load import load
from inspector.ui.map_view import _points


def test_maps_of_other_samples_have_other_points(tiny_checkpoint: Callable[..., Path]) -> None:
    drawn = value_map(load(tiny_checkpoint(), "cpu"), points=20, cache=False)
    other = dataclasses.replace(drawn, slots=np.setdiff1d(np.arange(64), drawn.slots)[:20])
    assert drawn.sampled == other.sampled
    assert _points(drawn).slots.tolist() == drawn.slots.tolist()
    assert _points(other).slots.tolist() == other.slots.tolist()
    assert _points(drawn) is _points(dataclasses.replace(drawn))  # its bytes are made once
