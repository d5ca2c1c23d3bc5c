"""What a sweep shows, in figures and in words: where memory wins, where it does not, over what.

Models are set against each other over the seeds that both have. A difference counts only where
these are three or more, every run of one is better than every run of the other, and the means lie
further apart than twice the larger standard deviation over the seeds. Anything less is within the
seeds' spread and claimed by no sentence.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import pandas as pd

from inspector.analyses.sweep_results import FinishedRun, SweepResults

Measure = Literal["recall", "nll"]
Phrasing = Literal["seen", "heldout"]
Verdict = Literal["better", "worse", "within the spread", "not judged"]
FEWEST_RUNS: Final = 3
_DEVIATIONS: Final = 2.0
_TIGHT: Final = "\u00a0"  # keeps what belongs together on one line


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
        n = _by(self.half_keys)
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

    It is that over the seeds that both have; NaN where they have none in common.
    """

    memory: ModelSummary
    baseline: ModelSummary
    measure: Measure
    phrasing: Phrasing
    difference: float
    verdict: Verdict


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
    return Comparison(
        memory, baseline, measure, phrasing, difference, _verdict(ours, theirs, measure)
    )


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


def headline(results: SweepResults, phrasing: Phrasing = "seen") -> str:
    """What memory buys in this sweep, in one sentence, as far as the runs allow to say it."""
    done, planned = len(results.runs), len(results.planned)
    ours = [c for c in comparisons(results, phrasing) if c.measure == "recall"]
    plain = [c for c in ours if c.baseline.kind == "dense"]
    if not done:
        return f"No run of this sweep is finished yet; {planned} are planned."
    judged = [c for c in plain if c.verdict != "not judged"]
    if not judged:
        return (
            f"{done} of {planned} runs are finished: too few seeds yet to say what memory buys "
            f"({FEWEST_RUNS} of each model are needed)."
        )
    better = [c for c in judged if c.verdict == "better"]
    steps = results.runs[0].steps
    if not better:
        sizes = _listed([_size(c) for c in judged])
        return (
            f"After {steps:,} steps no memory among {sizes} slots recalls more than the same "
            f"backbone without memory, beyond the spread of the seeds.{_so_far(results)}"
        )
    best = max(better, key=lambda c: c.difference)
    recall, without = (s.seeds("recall", phrasing).mean for s in (best.memory, best.baseline))
    run = best.memory.runs[0]
    asked = f"{(run.seen if phrasing == 'seen' else run.heldout).asked:,} facts asked"
    how = "" if phrasing == "seen" else " in phrasings it never saw"
    sizes = f", the best of {len(judged)} sizes," if len(judged) > 1 else ""
    return (
        f"With {_size(best)} slots{sizes} the same backbone answers {recall:.1%} of the {asked}"
        f"{how} after {steps:,} steps, without memory {without:.1%}.{_so_far(results)}"
    )


def _so_far(results: SweepResults) -> str:
    done, planned = len(results.runs), len(results.planned)
    return "" if not results.missing else f" {done} of {planned} runs are finished."


def reading(results: SweepResults, phrasing: Phrasing) -> tuple[tuple[str, str], ...]:
    """Where memory wins and where it does not: for each baseline its name, and what is found."""
    found = comparisons(results, phrasing)
    baselines = {c.baseline.model: c.baseline for c in found}
    said = []
    for name, baseline in baselines.items():
        recall, nll = (
            [c for c in found if c.baseline.model == name and c.measure == measure]
            for measure in ("recall", "nll")
        )
        text = f"recall is {_verdicts(recall)}. "
        if [c.verdict for c in recall] != [c.verdict for c in nll]:
            text += f"NLL is {_verdicts(nll)}."
        elif any(c.verdict != "not judged" for c in recall):
            text += "NLL says the same."
        said.append((_over(baseline), text.strip()))
    if wider := _wider(results, phrasing):
        said.append(("The wider dense models themselves", wider))
    return tuple(said)


def _wider(results: SweepResults, phrasing: Phrasing) -> str | None:
    """What width alone did: a wide model that learned no more is a weak baseline."""
    known = {summary.model: summary for summary in summaries(results)}
    wide = [each for each in known.values() if each.kind.startswith("dense-")]
    if "dense" not in known or not wide:
        return None
    found = [compare(each, known["dense"], "recall", phrasing) for each in wide]
    listed = _listed([f"{c.memory.label} ({_difference(c)})" for c in found])
    text = f"against the backbone, recall differs by this much: {listed}."
    judged = [c.verdict for c in found if c.verdict != "not judged"]
    if judged and "better" not in judged:
        text += (
            " Width did not help at these steps and this learning rate, so to win over them shows "
            "little that winning over the backbone does not."
        )
    return text


def _over(baseline: ModelSummary) -> str:
    """A baseline as the start of a sentence."""
    texts = {
        "dense": "Over the backbone without memory",
        "dense-flops": "Over the dense model with the arithmetic of {}",
        "dense-params": "Over the dense model with the parameters of {}",
    }
    return texts[baseline.kind].format(_by(baseline.half_keys))


def _verdicts(group: Sequence[Comparison]) -> str:
    """The memories that are better, worse, undecided, with their differences."""
    words = {
        "better": "better with {}",
        "worse": "worse with {}",
        "within the spread": "within the seeds' spread with {}",
        "not judged": "not to be judged yet with {}, for want of seeds",
    }
    parts = []
    for verdict, text in words.items():
        if chosen := [c for c in group if c.verdict == verdict]:
            parts.append(text.format(_listed([f"{_size(c)} ({_difference(c)})" for c in chosen])))
    return "; ".join(parts)


def _difference(comparison: Comparison) -> str:
    if math.isnan(comparison.difference):
        return "no seed in common"
    if comparison.measure == "recall":
        return f"{100 * comparison.difference:+.1f}{_TIGHT}points".replace("-", "−")
    return f"{comparison.difference:+.3f}{_TIGHT}nats".replace("-", "−")


def _size(comparison: Comparison) -> str:
    return _by(comparison.memory.half_keys)


def _by(half_keys: int) -> str:
    return f"{half_keys}{_TIGHT}×{_TIGHT}{half_keys}"


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def cost_sentence(results: SweepResults) -> str | None:
    """What the largest memory costs a token beside the backbone; None where one has no run."""
    known = {summary.model: summary for summary in summaries(results)}
    memories = [summary for summary in known.values() if summary.kind == "memory"]
    dense = known.get("dense")
    if dense is None or not memories:
        return None
    large = max(memories, key=lambda summary: summary.half_keys)
    ours, theirs = large.runs[0], dense.runs[0]
    text = (
        f"with {large.label} a token takes {ours.flops['total'] / theirs.flops['total']:.2f} "
        "times the arithmetic of the backbone without memory, for "
        f"{ours.parameters['total'] / theirs.parameters['total']:.1f} times its parameters"
    )
    if large.microseconds is None or dense.microseconds is None:
        return f"{text}."
    slower = large.microseconds / dense.microseconds
    text += f", and {slower:.1f} times as long on the processor measured here"
    if slower > 1.2 * ours.flops["total"] / theirs.flops["total"]:
        text += ": choosing slots is little arithmetic, but slow"
    return f"{text}."


def summary_frame(results: SweepResults) -> pd.DataFrame:
    """One row a model: what it costs, and each measure's mean and deviation over its seeds."""
    rows = []
    for summary in summaries(results):
        run = summary.runs[0]
        row: dict[str, object] = {
            "model": summary.label,
            "runs": len(summary.runs),
            "slots": run.slots,
            "parameters": run.parameters["total"],
            "active": run.parameters["active"],
            "flops": run.flops["total"],
            "microseconds": summary.microseconds,
        }
        for phrasing in ("seen", "heldout"):
            for measure in ("recall", "nll"):
                seeds = summary.seeds(measure, phrasing)
                row[f"{phrasing}_{measure}"] = seeds.mean
                row[f"{phrasing}_{measure}_sd"] = seeds.deviation
        rows.append(row)
    return pd.DataFrame(rows)
