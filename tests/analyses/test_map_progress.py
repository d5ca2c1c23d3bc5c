"""Stages add up to the whole, and stop when asked."""

from __future__ import annotations

import pytest

from inspector.analyses.map_progress import Watched
from inspector.errors import Cancelled


def test_shares_of_stages_are_shares_of_the_whole() -> None:
    told: list[tuple[str, float]] = []
    watched = Watched(lambda stage, share: told.append((stage, share)), None)
    tell = watched.stage("reading", 0.0, 0.5)
    tell(0.5)
    tell(1.5)
    watched.stage("writing", 0.5, 1.0)(1.0)
    assert told == [
        *(("reading", 0.0), ("reading", 0.25), ("reading", 0.5)),
        *(("writing", 0.5), ("writing", 1.0)),
    ]


def test_it_stops_when_asked_and_says_nothing_more() -> None:
    told: list[float] = []
    stop = iter([False, False, True])
    watched = Watched(lambda _stage, share: told.append(share), lambda: next(stop))
    tell = watched.stage("reading", 0.0, 1.0)
    tell(0.3)
    with pytest.raises(Cancelled, match="nothing of it was kept"):
        tell(0.6)
    assert told == [0.0, 0.3]


def test_nobody_needs_to_watch() -> None:
    Watched(None, None).stage("reading", 0.0, 1.0)(0.5)
