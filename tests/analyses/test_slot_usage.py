"""Where a slot stands among all others, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from inspector.analyses.slot_usage import slot_usage
from inspector.analyses.verdicts import Verdict, judge_usage
from inspector.capture.usage import TableUsage
from tests.analyses.planted_usage import Planted, counted_site, site_info, usage_of


def test_standing_by_hand() -> None:
    first = counted_site(
        site_info(1, heads=2), np.array([[5, 1, 0, 3], [0, 1, 0, 3]]),
        weights=np.array([[0.5, 0.2, 0, 3.0], [0, 0.1, 0, 0.2]]),
    )  # fmt: skip
    second = counted_site(site_info(3), np.array([[1, 4, 0, 0]]))
    table = TableUsage(0, np.array([2, 3, 0, 4], dtype=np.int32), np.zeros((0, 2), dtype=np.int64))
    usage = usage_of([first, second], table, tokens=9, documents=5)
    found = slot_usage(usage, judge_usage(usage), 0, 0)
    assert {name: own.tolist() for name, own in found.reads.items()} == {"L1": [5, 0], "L3": [1]}
    assert (found.total, found.documents, found.slots_read) == (6, 2, 3)
    assert (found.by_reads.rank, found.by_reads.ties) == (1, 3)  # slots 0, 1 and 3 have 6 each
    assert found.by_reads.share == pytest.approx(6 / 18)
    assert found.by_weight.rank == 3  # weights 1.5, 4.3, 0 and 3.2
    assert found.by_weight.share == pytest.approx(1.5 / 9)
    assert found.main_site == "L3"
    assert found.main_reader() == ("L1", 0)
    unread = slot_usage(usage, judge_usage(usage), 0, 2)
    assert (unread.total, unread.by_reads.rank, unread.by_reads.ties) == (0, 4, 1)
    frame = found.to_frame()
    assert frame["reads"].tolist() == [5, 0, 1]
    assert frame["weight"].tolist() == [0.5, 0.0, 1.0]


def test_the_verdict_is_that_of_the_value() -> None:
    planted = Planted()
    usage = planted.scan(20_000)
    verdicts = judge_usage(usage)
    for slot in planted.truth.values:
        assert slot_usage(usage, verdicts, 0, slot).verdict is Verdict.DEAD
    judged = verdicts.values[0]
    alive = int(judged.chosen(Verdict.ALIVE)[0])
    found = slot_usage(usage, verdicts, 0, alive)
    assert (found.verdict, found.hits) == (Verdict.ALIVE, judged.hits[alive])
    assert found.rate_bound == judged.rate_bounds(np.array([alive]))[0]
