"""What a sweep shows, in words: where memory wins, where it does not, over what.

Nothing within the seeds' spread is claimed by any sentence: see ``sweep_comparison``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from inspector.analyses.sweep_comparison import (
    FEWEST_RUNS,
    TIGHT,
    Comparison,
    ModelSummary,
    Phrasing,
    compare,
    comparisons,
    side_by_side,
    summaries,
)
from inspector.analyses.sweep_results import SweepResults


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
        told = (
            f"After {steps:,} steps no memory among {sizes} slots recalls more than the same "
            "backbone without memory, beyond the spread of the seeds."
        )
        if all(c.ahead == c.seeds for c in judged):
            least, most = (f(c.difference for c in judged) for f in (min, max))
            told += (
                f" Yet each does in every single seed, by {100 * least:.1f} to {100 * most:.1f} "
                "points in the mean."
            )
        return told + _so_far(results)
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
    return texts[baseline.kind].format(side_by_side(baseline.half_keys))


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
    if comparison.verdict == "within the spread":
        return f"{_amount(comparison)}, ahead in {comparison.ahead} of {comparison.seeds} seeds"
    return _amount(comparison)


def _amount(comparison: Comparison) -> str:
    if comparison.measure == "recall":
        return f"{100 * comparison.difference:+.1f}{TIGHT}points".replace("-", "−")
    return f"{comparison.difference:+.3f}{TIGHT}nats".replace("-", "−")


def _size(comparison: Comparison) -> str:
    return side_by_side(comparison.memory.half_keys)


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
