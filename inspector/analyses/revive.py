"""Giving dead half-keys a new start: from the queries they miss, as long as little else changes.

A dead half-key becomes a centroid of the queries that a scan sampled, and the values it then
addresses start as what they displace (``revive_plan``, ``displaced``). How many are revived is
decided on documents that the scan didn't see.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from inspector.analyses.revive_plan import RevivePlan, plan_revival, propose_half_keys
from inspector.analyses.revive_trial import Attempt, ReviveLimits, Trial
from inspector.analyses.verdicts import Verdict, Verdicts, judge_usage
from inspector.capture.corpus import Corpus, open_corpus
from inspector.capture.held_out import hold_out
from inspector.capture.load import load, self_check
from inspector.capture.scan import scan
from inspector.errors import CheckpointError, SelfCheckFailed
from inspector.families.base import MemoryModel
from inspector.families.native_edit import write_edited

HELD_OUT: Final = 0.2  # of all documents
_FINE: Final = 8  # the number revived is found to an eighth
_DEFAULT: Final = ReviveLimits()

Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class ReviveOutcome:
    """How many dead half-keys can be revived, and what that does.

    ``attempts`` are all that was tried, in order; ``plan`` is what holds, None if nothing does.
    ``unseen`` half-keys are not seen yet: ``tokens_to_decide`` further tokens decide about them.
    ``recall`` (None without facts) and ``effective`` slots by table are the original's.
    """

    checkpoint: str
    fingerprint: str
    corpus: str
    seed: int
    half_keys: int
    dead: int
    unseen: int
    tokens_to_decide: int
    tokens_scanned: int
    tokens_judged: int
    recall: float | None
    effective: Mapping[int, float]
    attempts: tuple[Attempt, ...]
    plan: RevivePlan | None

    @property
    def result(self) -> Attempt | None:
        """What the plan was measured to do; None without one."""
        if self.plan is None:
            return None
        held = [each for each in self.attempts if not each.complaint]
        return max(held, key=lambda each: each.revived)

    @property
    def message(self) -> str:
        """The outcome in a sentence or two."""
        evidence = f"{self.tokens_scanned:,} tokens scanned"
        if not self.dead:
            found = f"None of {self.half_keys:,} half-keys is dead on {evidence}"
            if not self.unseen:
                return f"{found}: there is nothing to revive."
            return (
                f"{found}, but {self.unseen:,} are not seen yet: about {self.tokens_to_decide:,} "
                "further tokens decide whether they are. Give more text."
            )
        about = f"Of {self.half_keys:,} half-keys {self.dead:,} are dead on {evidence}"
        if self.result is None:
            return f"{about}, and none of them can be revived: {self._why()}."
        fewer = "" if self.result.revived == self.dead else f" No more, since {self._why()}."
        return f"{about}; {self._measured(self.result)}.{fewer}"

    def _measured(self, result: Attempt) -> str:
        recall = ""
        if self.recall is not None and result.recall is not None:
            recall = f", recall {self.recall:.3f} before and {result.recall:.3f} after"
        slots = ""
        if result.effective:
            before, after = sum(self.effective.values()), sum(result.effective.values())
            slots = f", effective slots {before:,.0f} before and {after:,.0f} after"
        return (
            f"{result.revived:,} are revived. On {self.tokens_judged:,} tokens held out "
            f"{result.read:,} of these are read, KL is {result.kl:.4f} nats a token{recall}{slots}"
        )

    def _why(self) -> str:
        failed = [each for each in self.attempts if each.complaint]
        if not failed:
            return "the others win no read from the sampled queries"
        fewest = min(failed, key=lambda each: each.revived)
        return f"with {fewest.revived:,} revived {fewest.complaint} (KL {fewest.kl:.4f})"

    def to_frame(self) -> pd.DataFrame:
        """One row for each attempt; ``share_read`` is of the half-keys it revived."""
        rows = [
            {
                "revived": each.revived,
                "dead": self.dead,
                "read": each.read,
                "share_read": None if each.read is None else each.read / each.revived,
                "kl": each.kl,
                "recall_before": self.recall,
                "recall": each.recall,
                "effective_before": sum(self.effective.values()),
                "effective": each.effective and sum(each.effective.values()),
                "complaint": each.complaint,
                "chosen": each is self.result,
            }
            for each in self.attempts
        ]
        return pd.DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """All but the plan's numbers, as plain values."""
        names = ("checkpoint", "fingerprint", "corpus", "seed", "half_keys", "dead", "unseen")
        more = ("tokens_scanned", "tokens_judged", "recall", "effective")
        return {
            **{name: getattr(self, name) for name in (*names, *more)},
            "revived": 0 if self.result is None else self.result.revived,
            "attempts": [asdict(each) for each in self.attempts],
            "message": self.message,
        }


def revive(
    model: MemoryModel,
    corpus: str | Path | Iterable[str] | Corpus,
    tokens: int | None = None,
    *,
    seed: int = 0,
    limits: ReviveLimits = _DEFAULT,
    tell: Tell = lambda message: None,
) -> ReviveOutcome:
    """Find how many dead half-keys can be revived within ``limits``; nothing is written.

    A fifth of the documents is held out; the rest is scanned. All dead half-keys that win a read
    on the sampled queries are tried first. While a limit is broken those that do the more harm
    there (``RevivePlan.harm``) are left out, a half each time; then the number is found to an
    eighth between what held and what did not.

    Args:
        model: a native checkpoint.
        corpus: as for ``scan``.
        tokens: scan at most so many, and judge on a quarter as many; None takes all.
        seed: decides which documents are held out, the sample of queries and the clusters.
        limits: what must hold on the documents held out.
        tell: told what is being done.

    Raises:
        CheckpointError: the checkpoint is of another family, or has no memory layers.
        CorpusError: the corpus cannot be read, or has too few documents.
    """
    if model.provenance.family != "native":
        raise CheckpointError(
            f"{model.name} is of the family {model.provenance.family}; expected native, the only "
            "one that can be written."
        )
    kept, held_out = hold_out(open_corpus(corpus), HELD_OUT, seed)
    tell(f"scanning {kept.name}")
    usage = scan(model, kept, tokens, seed=seed)
    verdicts = judge_usage(usage)
    about: dict[str, Any] = {
        "checkpoint": model.name,
        "fingerprint": model.fingerprint,
        "corpus": usage.corpus,
        "seed": seed,
        "tokens_scanned": usage.tokens,
        **_counts(verdicts),
    }
    if not about["dead"]:
        nothing: dict[str, Any] = {"tokens_judged": 0, "recall": None, "effective": {}}
        return ReviveOutcome(**about, **nothing, attempts=(), plan=None)
    tell("measuring the original on what is held out")
    share = None if tokens is None else math.ceil(tokens * HELD_OUT / (1 - HELD_OUT))
    trial = Trial(model, held_out, tokens=share, seed=seed, limits=limits)
    proposed = propose_half_keys(model, usage, verdicts, seed)
    search = _Search(trial, lambda keys: plan_revival(model, trial.copy, usage, keys), tell)
    plan = search.run(search.plan(proposed))
    return ReviveOutcome(
        **about,
        tokens_judged=trial.tokens,
        recall=trial.recall,
        effective=trial.effective,
        attempts=tuple(search.attempts),
        plan=plan,
    )


def _counts(verdicts: Verdicts) -> dict[str, int]:
    judged = verdicts.half_keys.values()
    return {
        "half_keys": sum(len(each.hits) for each in judged),
        "dead": sum(each.count(Verdict.DEAD) for each in judged),
        "unseen": sum(each.count(Verdict.NOT_SEEN_YET) for each in judged),
        "tokens_to_decide": max((each.tokens_to_decide for each in judged), default=0),
    }


class _Search:
    """For the most half-keys that hold within the limits, to an eighth."""

    def __init__(self, trial: Trial, plan: Callable[..., RevivePlan], tell: Tell) -> None:
        self._trial, self.plan, self._tell = trial, plan, tell
        self.attempts: list[Attempt] = []

    def run(self, whole: RevivePlan) -> RevivePlan | None:
        """The plan with the most that holds; None if none does."""
        order = _least_harm_first(whole)
        count, failed, best = len(order), len(order) + 1, None
        while count:
            plan = self.plan(whole.half_keys.only(order[:count]))
            if self._holds(plan):
                best = plan
                break
            whole, order = plan, _least_harm_first(plan)
            failed = min(count, len(order) + 1)
            count = min(len(order), count // 2)
        while best is not None and failed - count > max(1, count // _FINE):
            middle = (count + failed) // 2
            plan = self.plan(whole.half_keys.only(order[:middle]))
            if self._holds(plan):
                best, count = plan, middle
            else:
                failed = middle
        return best

    def _holds(self, plan: RevivePlan) -> bool:
        self._tell(f"trying {len(plan.half_keys):,} half-keys")
        self.attempts.append(self._trial.measure(plan))
        return not self.attempts[-1].complaint


def _least_harm_first(plan: RevivePlan) -> np.ndarray:
    """Numbers of the plan's half-keys that win a read, by rising harm."""
    order = np.argsort(plan.harm, kind="stable")
    return order[plan.reads[order] > 0]


def write_revived(model: MemoryModel, outcome: ReviveOutcome, out: Path) -> None:
    """Write the checkpoint with the plan's half-keys and values to ``out``; see ``write_edited``.

    ``revived.json`` beside it says what was done.

    Raises:
        CheckpointError: there is no plan, or ``out`` is taken.
        CacheError: it cannot be written.
        SelfCheckFailed: what was written doesn't compute what it should.
    """
    if outcome.plan is None:
        raise CheckpointError(f"{outcome.message} Nothing was written.")

    def check(folder: Path) -> None:
        if not self_check(load(folder, str(model.device), model.dtype)).passed:
            raise SelfCheckFailed(f"The self-check of what was to be {out} failed; it was deleted.")

    text = json.dumps(outcome.to_json(), indent=1, ensure_ascii=False) + "\n"
    edits = outcome.plan.edits(model)
    write_edited(model.path, out, edits, {"revived.json": text}, check)
