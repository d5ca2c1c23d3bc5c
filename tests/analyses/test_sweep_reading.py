"""What a sweep is said to show: no claim within the seeds' spread, none on too few runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inspector.analyses.sweep_reading import (
    cost_sentence,
    headline,
    reading,
    summary_frame,
)
from tests.analyses.planted_sweep import finished, planted

DENSE = (0.60, 0.61, 0.62)


def test_a_model_without_a_shared_seed_is_told_so() -> None:
    results = planted({"dense": DENSE})
    later = replace(results, runs=(*results.runs, finished("memory-32", 7, 0.9)))
    over, said = reading(later, "seen")[0]
    assert over == "Over the backbone without memory"
    assert "(no seed in common), for want of seeds" in said


def test_the_headline_claims_what_the_runs_carry() -> None:
    planned = [("dense", seed) for seed in range(3)]
    assert headline(planted({}, planned)) == (
        "No run of this sweep is finished yet; 3 are planned."
    )
    few = planted({"dense": DENSE[:1], "memory-32": (0.9,)})
    assert headline(few).startswith("2 of 2 runs are finished: too few seeds yet")
    alike = planted({"dense": DENSE, "memory-32": DENSE})
    assert headline(alike).startswith("After 40 steps no memory among 32")
    assert headline(alike).endswith("beyond the spread of the seeds.")
    ahead = {"dense": DENSE, "memory-32": (0.61, 0.62, 0.63), "memory-64": (0.62, 0.63, 0.64)}
    assert headline(planted(ahead)).endswith(
        "spread of the seeds. Yet each does in every single seed, by 1.0 to 2.0 points in the mean."
    )
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
            "(+0.0 points, ahead in 0 of 3 seeds); not to be judged yet with 128 × 128 "
            "(+30.0 points), for want of seeds. NLL says the same."
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
