"""Charts of one slot hold the numbers they were given."""

from __future__ import annotations

import re

import numpy as np
import pytest

from inspector.analyses.slot_ablation import Ablated, SlotAblation
from inspector.analyses.slot_usage import slot_usage
from inspector.analyses.verdicts import judge_usage
from inspector.capture.usage import TableUsage
from inspector.figures.slot import ablation_figure, reader_figure, standalone, weight_figure
from tests.analyses.planted_usage import counted_site, site_info, usage_of


def test_readers_are_one_bar_a_head() -> None:
    site = counted_site(site_info(1, heads=2), np.array([[5, 0, 0, 0], [2, 0, 0, 9]]))
    table = TableUsage(0, np.ones(4, dtype=np.int32), np.zeros((0, 2), dtype=np.int64))
    usage = usage_of([site], table)
    (bars,) = reader_figure(slot_usage(usage, judge_usage(usage), 0, 0)).data
    assert list(bars.y) == ["L1·H0", "L1·H1"]
    assert list(bars.x) == [5, 2]


def test_densities_are_shares_on_a_log_scale() -> None:
    own, every = np.array([0.1, -0.1, 0.0, 0.9]), np.geomspace(1e-3, 1, 1000)
    figure = weight_figure(own, every)
    reference, mine = figure.data
    assert figure.layout.xaxis.type == "log"
    assert sum(mine.y) == pytest.approx(1)
    assert sum(reference.y) == pytest.approx(1)
    peak = float(mine.x[int(np.argmax(mine.y))])
    assert 0.08 < peak < 0.12  # two of three reads; a read of weight 0 has no place on it
    assert max(mine.y) == pytest.approx(2 / 3)


def test_weights_where_there_are_none() -> None:
    assert len(weight_figure(np.zeros(0), np.zeros(3)).data) == 0


def ablation() -> SlotAblation:
    slots = np.array([1, 1])
    return SlotAblation(
        0,
        1,
        ("L1",),
        tuple(
            Ablated(group, meaning, slots, np.array([0.1, 0.3]) * scale, np.array([-1.0, np.nan]))
            for scale, group in ((1, "strongest"), (0.1, "random"))
            for meaning in ("zero", "mask")
        ),  # type: ignore[arg-type]
        1.0,
    )


def test_ablations_are_bars_by_group_and_meaning() -> None:
    zero, mask = ablation_figure(ablation()).data
    assert (zero.name, mask.name) == ("zero", "mask")
    assert list(zero.y) == ["strongest", "random"]
    assert list(zero.x) == pytest.approx([0.2, 0.02])
    assert len(ablation_figure(SlotAblation(0, 1, ("L1",), (), float("nan"))).data) == 0


def test_a_figure_stands_alone() -> None:
    with_library = standalone(ablation_figure(ablation()), with_library=True)
    without = standalone(ablation_figure(ablation()), with_library=False)
    assert len(with_library) > 3_000_000
    assert len(without) < 30_000
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", without)
    assert not re.search(r"<script[^>]+src", with_library)
