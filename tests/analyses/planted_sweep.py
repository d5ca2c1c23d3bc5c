"""Sweeps with planted figures: recall as given, NLL 3 less recall, held-out recall its half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inspector.analyses.sweep_results import Answers, FinishedRun, SweepResults

STEPS = 40


def finished(model: str, seed: int, recall: float) -> FinishedRun:
    kind, _, size = model.rpartition("-")
    half_keys = int(size) if kind else 0
    kind = kind or model
    return FinishedRun(
        model=model,
        kind=kind,
        half_keys=half_keys,
        seed=seed,
        config="planted",
        seen=Answers(100, recall, 3 - recall),
        heldout=Answers(90, recall / 2, 3 - recall / 2),
        relations={},
        flops={"total": 150 if kind == "memory" else 100},
        parameters={"total": 800 if kind == "memory" else 200, "active": 200, "values": 0},
        steps=STEPS,
        sentences=STEPS * 32,
        tokens=STEPS * 300,
        seconds={"wall": 1.0, "cpu": 1.0},
        settings={},
        made_with={"facts": 70},
    )


def planted(
    recalls: Mapping[str, Sequence[float]],
    planned: Sequence[tuple[str, int]] | None = None,
    times: Mapping[str, Any] | None = None,
) -> SweepResults:
    """Runs of each model, a seed for every recall; all of them ``planned``, or else those."""
    runs = [
        finished(model, seed, recall)
        for model, values in recalls.items()
        for seed, recall in enumerate(values)
    ]
    return SweepResults(
        config="planted",
        settings={"optimisation": {"steps": STEPS, "lr": 0.002, "value_lr": 0.01}},
        planned=tuple(planned or [(run.model, run.seed) for run in runs]),
        runs=tuple(runs),
        times={"microseconds_per_token": times} if times else {},
    )
