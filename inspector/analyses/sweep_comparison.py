"""The models of a sweep over their seeds, and when one is better than another.

Models are set against each other over the seeds that both have. A difference counts only where
these are three or more, every run of one is better than every run of the other, and the means lie
further apart than twice the larger standard deviation over the seeds. Anything less is within the
seeds' spread.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

from inspector.analyses.sweep_results import FinishedRun, SweepResults

Measure = Literal["recall", "nll"]
Phrasing = Literal["seen", "heldout"]
Verdict = Literal["better", "worse", "within the spread", "not judged"]
FEWEST_RUNS: Final = 3
TIGHT: Final = "\u00a0"  # keeps what belongs together on one line
_DEVIATIONS: Final = 2.0


@dataclass(frozen=True)
class Seeds:
    """One measure of one model, over its seeds: ``values`` by seed, and their mean."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the seeds; None of a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class ModelSummary:
    """All finished runs of one model; ``microseconds`` a token, None where not measured."""

    model: str
    kind: str
    half_keys: int
    runs: tuple[FinishedRun, ...]
    microseconds: float | None

    def __post_init__(self) -> None:
        """Refuse a summary of nothing."""
        if not self.runs:
            raise ValueError(f"no run of {self.model}")

    @property
    def label(self) -> str:
        """The model in words, as an axis or a table names it."""
        n = side_by_side(self.half_keys)
        return {
            "dense": "no memory",
            "memory": f"{n} slots",
            "dense-flops": f"dense, arithmetic of {n}",
            "dense-params": f"dense, parameters of {n}",
        }[self.kind]

    def seeds(
        self, measure: Measure, phrasing: Phrasing, only: Collection[int] | None = None
    ) -> Seeds:
        """One measure over the seeds, or ``only`` some: recall as a share, NLL in nats."""
        runs = [run for run in self.runs if only is None or run.seed in only]
        answers = [run.seen if phrasing == "seen" else run.heldout for run in runs]
        return Seeds(tuple(getattr(each, measure) for each in answers))


@dataclass(frozen=True)
class Comparison:
    """A model, mostly a memory, against a baseline: ``difference`` of their means.

    It is that over the ``seeds`` that both have, NaN where there are none; in ``ahead`` of them,
    each taken alone, the model does better than the baseline.
    """

    memory: ModelSummary
    baseline: ModelSummary
    measure: Measure
    phrasing: Phrasing
    difference: float
    verdict: Verdict
    seeds: int
    ahead: int


def summaries(results: SweepResults) -> tuple[ModelSummary, ...]:
    """Every model with a finished run, in the order of the plan."""
    times = results.times.get("microseconds_per_token", {})
    names = dict.fromkeys(model for model, _ in results.planned)
    names |= dict.fromkeys(run.model for run in results.runs)
    found = []
    for name in names:
        if runs := results.of(name):
            took = times[name]["median"] if name in times else None
            found.append(ModelSummary(name, runs[0].kind, runs[0].half_keys, runs, took))
    return tuple(found)


def compare(
    memory: ModelSummary, baseline: ModelSummary, measure: Measure, phrasing: Phrasing
) -> Comparison:
    """Set a memory against a baseline (see the module for when a difference counts)."""
    both = {run.seed for run in memory.runs} & {run.seed for run in baseline.runs}
    ours, theirs = (each.seeds(measure, phrasing, both) for each in (memory, baseline))
    difference = ours.mean - theirs.mean if both else math.nan
    pairs = zip(ours.values, theirs.values, strict=True)
    ahead = sum(mine > other if measure == "recall" else mine < other for mine, other in pairs)
    verdict = _verdict(ours, theirs, measure)
    return Comparison(memory, baseline, measure, phrasing, difference, verdict, len(both), ahead)


def _verdict(ours: Seeds, theirs: Seeds, measure: Measure) -> Verdict:
    if len(ours.values) < FEWEST_RUNS:
        return "not judged"
    sign = 1 if measure == "recall" else -1  # a likelihood is better when less is missing
    mine, other = ([sign * value for value in each.values] for each in (ours, theirs))
    spread = _DEVIATIONS * max(ours.deviation or 0.0, theirs.deviation or 0.0)
    if abs(ours.mean - theirs.mean) <= spread:
        return "within the spread"
    if min(mine) > max(other):
        return "better"
    return "worse" if max(mine) < min(other) else "within the spread"


def comparisons(results: SweepResults, phrasing: Phrasing) -> tuple[Comparison, ...]:
    """Every memory against the backbone, the dense of like cost, and that of its own size."""
    known = summaries(results)
    found = []
    for measure in ("recall", "nll"):
        for baseline in (each for each in known if each.kind != "memory"):
            for memory in (each for each in known if each.kind == "memory"):
                if baseline.kind != "dense-params" or baseline.half_keys == memory.half_keys:
                    found.append(compare(memory, baseline, measure, phrasing))
    return tuple(found)


def side_by_side(half_keys: int) -> str:
    """The size of a memory, as ``64 × 64``."""
    return f"{half_keys}{TIGHT}×{TIGHT}{half_keys}"
