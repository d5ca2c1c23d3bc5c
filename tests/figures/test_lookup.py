"""Figures of the lesson show the numbers of the lookup and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from inspector.analyses.lookup_costs import LookupCost
from inspector.analyses.tiny_memory import walk_tiny
from inspector.figures import lookup

WALK = walk_tiny()


def test_the_query_is_coloured_by_half_once_it_is_split() -> None:
    whole, split = (lookup.query_figure(WALK, split=s) for s in (False, True))
    assert list(whole.data[0].y) == [3, 1, 2, 0]
    assert len(set(whole.data[0].marker.color)) == 1
    assert list(split.data[0].marker.color) == [lookup.FIRST] * 2 + [lookup.SECOND] * 2


def test_kept_half_keys_stand_out_by_number() -> None:
    figure = lookup.half_scores_figure(WALK, kept=2)
    everything, kept = figure.data[0], figure.data[1]
    assert list(everything.y) == [3, 1, -3, -1]
    assert (list(kept.x), list(kept.y), list(kept.text)) == ([0, 1], [3, 1], ["0", "1"])


def test_many_half_keys_become_a_line() -> None:
    from dataclasses import replace

    many = replace(WALK, half_scores=np.zeros((2, 1000), dtype=np.float32))
    assert [trace.type for trace in lookup.half_scores_figure(many).data] == ["scatter"] * 2


def test_every_candidate_is_in_the_race_or_out_of_it() -> None:
    figure = lookup.candidates_figure(WALK, kept=2, chosen=2)
    racing, out = (np.array(trace.z, dtype=float) for trace in figure.data)
    assert np.isnan(racing).tolist() == (~WALK.needed).tolist()
    np.testing.assert_array_equal(np.where(np.isnan(racing), out, racing), WALK.sums)
    frames = [(s.x0 + s.x1, s.y0 + s.y1) for s in figure.layout.shapes]
    assert np.allclose(frames, [(0, 0), (2, 0)])  # cells (0, 0) and (0, 1): (row, column)


def test_weights_beyond_the_slider_are_pale() -> None:
    figure = lookup.weights_figure(WALK, 1, ["(0, 0)", "(0, 1)"])
    np.testing.assert_allclose(figure.data[0].x, WALK.weights)
    assert list(figure.data[0].marker.opacity) == [1.0, 0.25]


def test_stripes_share_a_scale_or_name_their_own() -> None:
    rows = [("sum", np.array([1.0, -4.0])), ("gate", np.array([0.5, 0.25]))]
    shared = lookup.vectors_figure(rows).data[0]
    assert np.allclose(shared.z, [[0.25, -1], [0.125, 0.0625]])
    own = lookup.vectors_figure(rows, own_scales=True).data[0]
    assert np.allclose(own.z, [[0.25, -1], [1, 0.5]])
    assert list(own.y) == ["sum, up to 4", "gate, up to 0.5"]
    assert np.allclose(own.customdata, [[1, -4], [0.5, 0.25]])


@pytest.mark.parametrize("measured", [False, True])
def test_both_prices_are_drawn(measured: bool) -> None:
    costs = [LookupCost(16, 256, 1, 2, 3, 4, 0.5, 0.6), LookupCost(32, 1024, 2, 4, 9, 9, 0.7, 0.9)]
    flat, product = lookup.costs_figure(costs, 16, measured=measured).data
    assert list(product.y) == ([0.5, 0.7] if measured else [1, 2])
    assert list(flat.y) == ([0.6, 0.9] if measured else [3, 9])
