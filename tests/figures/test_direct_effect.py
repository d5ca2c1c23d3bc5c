"""The bars are the effects, in the order they were written, and all of them fit."""

from __future__ import annotations

import pytest

from inspector.analyses.direct_effect import DirectEffect, PartEffect
from inspector.figures.direct_effect import PROMOTES, SUPPRESSES, direct_effect_figure

PARTS = (
    PartEffect("Embedding", "embedding", -1, 0.5),
    PartEffect("Attention 0", "attention", 0, -2.0),
    PartEffect("L0 reads", "reads", 0, 4.0),
    PartEffect("L0 remainder", "remainder", 0, 0.0),
    PartEffect("L1 reads", "reads", 1, -0.25),
)


def effect_of(*parts: PartEffect) -> DirectEffect:
    total = sum(part.effect for part in parts)
    return DirectEffect(3, 1, 2, parts, {}, total, 0.0)


def test_each_part_is_a_bar_of_its_size() -> None:
    (bars,) = direct_effect_figure(effect_of(*PARTS)).data
    assert list(bars.y) == [part.label for part in PARTS]
    assert list(bars.x) == [0.5, -2.0, 4.0, 0.0, -0.25]
    assert list(bars.text) == ["+0.50", "-2.00", "+4.00", "+0.00", "-0.25"]
    assert bars.orientation == "h"


def test_the_first_part_stands_at_the_top() -> None:
    assert direct_effect_figure(effect_of(*PARTS)).layout.yaxis.autorange == "reversed"


def test_colour_says_the_direction_and_strength_the_memory() -> None:
    marker = direct_effect_figure(effect_of(*PARTS)).data[0].marker
    assert list(marker.color) == [PROMOTES, SUPPRESSES, PROMOTES, PROMOTES, SUPPRESSES]
    assert [strength == 1.0 for strength in marker.opacity] == [False, False, True, False, True]


@pytest.mark.parametrize(
    ("parts", "low", "high"),
    [
        (PARTS, -2.96, 4.96),  # 0.16 of the span on either side
        (PARTS[:1], -0.08, 0.58),
        (PARTS[1:2], -2.32, 0.32),
        (PARTS[3:4], -1.0, 1.0),
        ((), -1.0, 1.0),
    ],
)
def test_every_bar_and_its_number_fit(
    parts: tuple[PartEffect, ...], low: float, high: float
) -> None:
    figure = direct_effect_figure(effect_of(*parts))
    assert list(figure.layout.xaxis.range) == pytest.approx([low, high])
    assert figure.layout.height >= 27 * len(parts)


def test_axes_say_what_they_are() -> None:
    figure = direct_effect_figure(effect_of(*PARTS))
    assert figure.layout.xaxis.title.text == "direct effect, logits"
    assert "%{x:+.4f} logits" in figure.data[0].hovertemplate
