"""Pooling and bars, with numbers worked out by hand."""

from dataclasses import replace

import pytest

from inspector.training.metrics import MemoryMetrics, Metrics, RelationMetrics, pool

MEMORY = MemoryMetrics(
    all_zero=0.1,
    answer_zero=0.2,
    answer_masked=0.25,
    control=0.9,
    norm_ratio=1.0,
    swap=0.8,
    swap_before=0.0,
    readable=0.5,
    phrasing_loss_zero=2.0,
)
SMALL = RelationMetrics(
    facts=10,
    heldout_facts=4,
    asked=10,
    heldout_asked=4,
    most_frequent=0.5,
    recall=1.0,
    heldout_recall=1.0,
    recall_all=1.0,
    heldout_recall_all=0.5,
    phrasing_loss=1.0,
    memory=MEMORY,
)
LARGE = replace(
    SMALL,
    facts=90,
    heldout_facts=12,
    asked=30,
    heldout_asked=12,
    most_frequent=0.1,
    recall=0.98,
    heldout_recall=0.9,
    recall_all=0.9,
    heldout_recall_all=0.9,
    phrasing_loss=2.0,
    memory=replace(MEMORY, all_zero=0.3, readable=0.9, swap=None, swap_before=None),
)


def test_rates_pool_by_the_questions_behind_them() -> None:
    whole = pool([SMALL, LARGE])
    assert (whole.facts, whole.heldout_facts, whole.asked, whole.heldout_asked) == (100, 16, 40, 16)
    assert whole.most_frequent == pytest.approx((10 * 0.5 + 30 * 0.1) / 40)
    assert whole.recall == pytest.approx((10 * 1.0 + 30 * 0.98) / 40)
    assert whole.heldout_recall == pytest.approx((4 * 1.0 + 12 * 0.9) / 16)
    assert whole.recall_all == pytest.approx((10 * 1.0 + 90 * 0.9) / 100)
    assert whole.heldout_recall_all == pytest.approx((4 * 0.5 + 12 * 0.9) / 16)
    assert whole.phrasing_loss == pytest.approx((10 * 1.0 + 30 * 2.0) / 40)
    assert whole.memory is not None
    assert whole.memory.all_zero == pytest.approx((10 * 0.1 + 30 * 0.3) / 40)
    assert whole.memory.swap == pytest.approx(0.8)  # the other has none


def test_what_nobody_could_be_asked_stays_unknown() -> None:
    unasked = replace(SMALL, heldout_facts=0, heldout_asked=0, heldout_recall=None, memory=None)
    whole = pool([replace(unasked, heldout_recall_all=None)] * 2)
    assert whole.heldout_recall is None
    assert whole.heldout_recall_all is None
    assert whole.memory is None


def metrics(*relations: RelationMetrics) -> Metrics:
    return Metrics("x", "abc", 0, pool(relations), {str(n): r for n, r in enumerate(relations)})


def test_bars_are_met_or_not() -> None:
    bars = metrics(SMALL, LARGE).bars()
    assert [(bar.bound, round(bar.measured, 4), bar.met) for bar in bars] == [
        (">= 0.99", 0.985, False),
        (">= 0.94", 0.925, False),
        ("<= 0.15", 0.25, False),
        ("<= 0.30", 0.2, True),
        (">= 0.80", 0.5, False),
    ]
    assert all(bar.met for bar in metrics(SMALL).bars()[:4])


def test_a_dense_checkpoint_is_held_to_its_recall_alone() -> None:
    bars = metrics(replace(SMALL, memory=None)).bars()
    assert [bar.bound for bar in bars] == [">= 0.99", ">= 0.94"]


def test_json_has_every_field_by_its_name() -> None:
    plain = metrics(SMALL, LARGE).to_json()
    assert set(plain) == {"checkpoint", "fingerprint", "seed", "overall", "relations", "bars"}
    assert plain["relations"]["1"]["memory"]["swap"] is None
    assert plain["overall"]["recall"] == 0.985
    assert plain["overall"]["most_frequent"] == 0.2
