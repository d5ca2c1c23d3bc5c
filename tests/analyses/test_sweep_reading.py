"""What a sweep is said to show: no claim within the seeds' spread, none on too few runs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from inspector.analyses.sweep_reading import (
    Seeds,
    compare,
    comparisons,
    cost_sentence,
    headline,
    reading,
    summaries,
    summary_frame,
)
from tests.analyses.planted_sweep import finished, planted

DENSE = (0.60, 0.61, 0.62)


def test_a_mean_and_its_deviation() -> None:
    seeds = Seeds((1.0, 2.0, 6.0))
    assert seeds.mean == 3.0
    assert seeds.deviation == pytest.approx(7**0.5)
    assert Seeds((4.0,)).deviation is None


@pytest.mark.parametrize(
    ("recalls", "verdict"),
    [
        ((0.70, 0.71, 0.72), "better"),
        ((0.50, 0.51, 0.52), "worse"),
        ((0.61, 0.62, 0.63), "within the spread"),  # they overlap
        ((0.625, 0.63, 0.635), "within the spread"),  # apart, but by 2 deviations at most
        ((0.70, 0.90, 0.75), "within the spread"),  # apart, but one deviation is large
        ((0.90, 0.91), "not judged"),
        ((0.90,), "not judged"),
    ],
)
def test_a_difference_counts_beyond_the_spread_alone(
    recalls: tuple[float, ...], verdict: str
) -> None:
    results = planted({"dense": DENSE, "memory-32": recalls})
    dense, memory = summaries(results)
    found = compare(memory, dense, "recall", "seen")
    assert found.verdict == verdict
    both = len(recalls)  # seeds that both have
    assert found.difference == pytest.approx(sum(recalls) / both - sum(DENSE[:both]) / both)


def test_models_without_a_seed_in_common_are_not_compared() -> None:
    results = planted({"dense": DENSE})
    later = finished("memory-32", 7, 0.9)
    dense, memory = summaries(replace(results, runs=(*results.runs, later)))
    found = compare(memory, dense, "recall", "seen")
    assert (found.verdict, math.isnan(found.difference)) == ("not judged", True)
    (said, _) = reading(replace(results, runs=(*results.runs, later)), "seen")[0]
    assert said == "Over the backbone without memory"


def test_of_likelihoods_less_is_better() -> None:
    results = planted({"dense": DENSE, "memory-32": (0.70, 0.71, 0.72)})
    dense, memory = summaries(results)
    found = compare(memory, dense, "nll", "seen")  # planted: nll = 3 - recall
    assert (found.verdict, found.difference) == ("better", pytest.approx(-0.10))


def test_memories_meet_the_dense_of_their_own_size() -> None:
    names = ("dense", "memory-32", "memory-64", "dense-flops-64", "dense-params-32")
    results = planted(dict.fromkeys(names, (0.5,)))
    pairs = [
        (c.memory.model, c.baseline.model)
        for c in comparisons(results, "seen")
        if c.measure == "nll"
    ]
    assert pairs == [
        ("memory-32", "dense"),
        ("memory-64", "dense"),
        ("memory-32", "dense-flops-64"),
        ("memory-64", "dense-flops-64"),
        ("memory-32", "dense-params-32"),
    ]


def test_the_headline_claims_what_the_runs_carry() -> None:
    planned = [("dense", seed) for seed in range(3)]
    assert headline(planted({}, planned)) == (
        "No run of this sweep is finished yet; 3 are planned."
    )
    few = planted({"dense": DENSE[:1], "memory-32": (0.9,)})
    assert headline(few).startswith("2 of 2 runs are finished: too few seeds yet")
    alike = planted({"dense": DENSE, "memory-32": DENSE})
    assert headline(alike).startswith("After 40 steps no memory among 32")
    wins = {"dense": DENSE, "memory-32": (0.70, 0.71, 0.72), "memory-64": (0.8, 0.81, 0.82)}
    assert headline(planted(wins)) == (
        "With 64\u00a0×\u00a064 slots, the best of 2 sizes, the same backbone answers 81.0% of "
        "the 100 facts asked after 40 steps, without memory 61.0%."
    )
    going_on = [(model, seed) for model in wins for seed in range(4)]
    assert headline(planted(wins, going_on), "heldout") == (
        "With 64\u00a0×\u00a064 slots, the best of 2 sizes, the same backbone answers 40.5% of "
        "the 90 facts asked in phrasings it never saw after 40 steps, without memory 30.5%. 9 of "
        "12 runs are finished."
    )


def test_the_reading_names_wins_losses_and_what_is_open() -> None:
    results = planted(
        {
            "dense": DENSE,
            "memory-32": DENSE,
            "memory-64": (0.8, 0.81, 0.82),
            "memory-128": (0.9,),
            "dense-params-64": (0.9, 0.91, 0.92),
        }
    )
    said = {
        over.replace("\u00a0", " "): text.replace("\u00a0", " ")
        for over, text in reading(results, "seen")
    }
    assert said == {
        "Over the backbone without memory": (
            "recall is better with 64 × 64 (+20.0 points); within the seeds' spread with 32 × 32 "
            "(+0.0 points); not to be judged yet with 128 × 128 (+30.0 points), for want of "
            "seeds. NLL says the same."
        ),
        "Over the dense model with the parameters of 64 × 64": (
            "recall is worse with 64 × 64 (−10.0 points). NLL says the same."
        ),
        "The wider dense models themselves": (
            "against the backbone, recall differs by this much: dense, parameters of 64 × 64 "
            "(+30.0 points)."
        ),
    }


def test_a_wide_model_that_learned_no_more_is_said_to_be_a_weak_baseline() -> None:
    wide = {"dense": DENSE, "memory-32": DENSE, "dense-flops-32": (0.60, 0.605, 0.615)}
    said = dict(reading(planted(wide), "seen"))["The wider dense models themselves"]
    assert said.startswith("against the backbone, recall differs by this much: dense, arithmetic")
    assert "Width did not help" in said
    unjudged = planted({"dense": DENSE, "memory-32": DENSE, "dense-flops-32": (0.5,)})
    assert "Width" not in dict(reading(unjudged, "seen"))["The wider dense models themselves"]


def test_held_out_phrasings_are_read_apart() -> None:
    results = planted({"dense": DENSE, "memory-32": (0.70, 0.71, 0.72)})
    (found,) = [c for c in comparisons(results, "heldout") if c.measure == "recall"]
    assert found.difference == pytest.approx(0.05)  # planted: half of what is seen


def test_costs_are_told_with_and_without_times() -> None:
    results = planted({"dense": (0.5,), "memory-32": (0.5,)})
    assert cost_sentence(results) == (
        "with 32\u00a0×\u00a032 slots a token takes 1.50 times the arithmetic of the backbone "
        "without memory, for 4.0 times its parameters."
    )
    times = {"dense": {"median": 10.0}, "memory-32": {"median": 25.0}}
    timed = planted({"dense": (0.5,), "memory-32": (0.5,)}, times=times)
    told = str(cost_sentence(timed))
    assert "2.5 times as long on the processor measured here: choosing slots is" in told
    quick = planted(
        {"dense": (0.5,), "memory-32": (0.5,)},
        times={"dense": {"median": 10.0}, "memory-32": {"median": 15.0}},
    )
    assert str(cost_sentence(quick)).endswith("1.5 times as long on the processor measured here.")
    assert cost_sentence(planted({"dense": (0.5,)})) is None


def test_the_table_has_a_row_for_each_model() -> None:
    frame = summary_frame(planted({"dense": DENSE, "memory-32": (0.7,)}))
    assert frame["model"].tolist() == ["no memory", "32\u00a0×\u00a032 slots"]
    assert frame["seen_recall"].tolist() == pytest.approx([0.61, 0.7])
    assert frame["seen_recall_sd"].iloc[0] == pytest.approx(0.01)
    assert frame["heldout_nll"].tolist() == pytest.approx([3 - 0.305, 3 - 0.35])
    assert frame["runs"].tolist() == [3, 1]


def test_a_run_of_no_known_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind 'other'"):
        finished("other-3", 0, 0.5)
