"""The causal proof of a core set, in phrasings that were not used to find it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from inspector.analyses.ablations import Ablation, score_ablations
from inspector.analyses.answers import score_answers
from inspector.analyses.bystanders import Bystanders, draw_bystanders, still_answered
from inspector.analyses.core_sets import CoreSet
from inspector.analyses.dependence import measure_swap
from inspector.analyses.facts import TEMPLATES, Fact, phrasings
from inspector.analyses.fair_controls import Controls, matched_controls
from inspector.analyses.locate import FactReport
from inspector.analyses.recall import Question, measure_recall
from inspector.errors import Cancelled, FactsError
from inspector.families.base import MemoryModel

DRAWS: Final = 10
_DONORS: Final = 8  # that are asked for one the model knows
PARTS: Final = ("core set", "unrelated facts", "controls", "swap")  # of a proof, in turn

Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Swap:
    """The prompt read with another subject's reads where the answer is produced.

    ``says_donor``: the model then writes the donor's answer, whole; ``said_before`` with its own
    reads.
    """

    prompt: str
    donor: str
    answer: str
    says_donor: bool
    said_before: bool


@dataclass(frozen=True, eq=False)
class Proof:
    """What ablating a core set does, beside fair controls.

    ``prompts``: the phrasings it is proven in, all answered before; ``fresh``: they were not used
    to find the set. ``before`` and ``ablated [phrasing]``: probability of the whole answer;
    ``lost [phrasing]`` bool. ``controls``: as many other reads ablated, ``[draw phrasing]``.
    ``unrelated``: how many facts with another subject and another answer were asked, all answered
    before, and ``unrelated_kept`` how many still are.
    """

    fact: Fact
    core: CoreSet
    prompts: tuple[str, ...]
    fresh: bool
    before: np.ndarray
    ablated: np.ndarray
    lost: np.ndarray
    controls: Controls
    swaps: tuple[Swap, ...]
    unrelated: int
    unrelated_kept: int

    def __post_init__(self) -> None:
        """Refuse parts that disagree in length."""
        lengths = {len(self.prompts), len(self.before), len(self.ablated), len(self.lost)}
        if lengths != {self.control_lost.shape[1]}:
            raise ValueError(f"a proof's phrasings disagree in number: {lengths}")

    @property
    def control_lost(self) -> np.ndarray:
        """Whether the control lost the answer, ``[draw phrasing]`` bool."""
        found: np.ndarray = ~self.controls.scores.kept.cpu().numpy()
        return found

    @property
    def control_probability(self) -> np.ndarray:
        """Probability of the whole answer under the control, ``[draw phrasing]``."""
        found: np.ndarray = self.controls.scores.logprob.double().exp().cpu().numpy()
        return found

    def control_interval(self) -> tuple[float, float]:
        """Where 95 % of the controls' probabilities lie."""
        low, high = np.quantile(self.control_probability, [0.025, 0.975])
        return float(low), float(high)

    @property
    def proven(self) -> bool:
        """Lost in all phrasings, in at most a fifth of the controls, and nearly nowhere else."""
        return bool(
            self.fresh
            and self.lost.all()
            and self.control_lost.mean() <= MOST_CONTROLS_LOST
            and self.unrelated_kept >= LEAST_UNRELATED_KEPT * self.unrelated
        )

    def verdict(self) -> str:
        """One sentence."""
        lost, asked, size = int(self.lost.sum()), len(self.lost), len(self.core.members)
        chance, still = float(self.before.mean()), float(self.ablated.mean())
        kind = "zeroed" if self.core.kind == "zero" else "masked"
        where = (
            f"in {lost} of {asked} phrasing{'s' if asked > 1 else ''} "
            f"{'not used to find it' if self.fresh else 'that it was found on (there is no other)'}"
        )
        control = self.control_lost
        return (
            f"{'Proven' if self.proven else 'Not proven'}: with its {size} "
            f"slot{'s' if size > 1 else ''} {kind} the answer is lost {where} "
            f"({_percent(chance)} → {_percent(still)}); with as many other reads that fired "
            f"({self.controls.norm_ratio:.0%} of their norm), in {int(control.sum())} of "
            f"{control.size} draws; {self.unrelated_kept} of {self.unrelated} unrelated facts keep "
            "their answer."
        )

    def to_frame(self) -> pd.DataFrame:
        """One row a phrasing: probability before, ablated and under the controls, what is lost."""
        return pd.DataFrame(
            {
                "prompt": self.prompts,
                "before": self.before,
                "ablated": self.ablated,
                "lost": self.lost,
                "reads": self.controls.reads,
                "control": self.control_probability.mean(0),
                "control_low": np.quantile(self.control_probability, 0.025, axis=0),
                "control_high": np.quantile(self.control_probability, 0.975, axis=0),
                "control_lost": self.control_lost.mean(0),
            }
        )

    def to_json(self) -> dict[str, Any]:
        """The verdict, each phrasing, the swaps and the unrelated facts as plain values."""
        return {
            "kind": self.core.kind,
            "scope": self.core.scope,
            "verdict": self.verdict(),
            "proven": self.proven,
            "fresh": self.fresh,
            "phrasings": self.to_frame().to_dict("records"),
            "control_draws": len(self.control_lost),
            "control_short": self.controls.short,
            "control_norm_ratio": self.controls.norm_ratio,
            "control_same_place": self.controls.same_place,
            "swaps": [dict(vars(swap)) for swap in self.swaps],
            "unrelated": self.unrelated,
            "unrelated_kept": self.unrelated_kept,
        }


MOST_CONTROLS_LOST: Final = 0.2
LEAST_UNRELATED_KEPT: Final = 0.97


def _percent(chance: float) -> str:
    return f"{chance:.0%}" if chance >= 0.1 else f"{chance:.1%}"


def prove(  # noqa: PLR0913  what it rests on, and how it is watched
    model: MemoryModel,
    facts: Sequence[Fact],
    report: FactReport,
    kind: Ablation = "zero",
    *,
    draws: int = DRAWS,
    seed: int = 0,
    bystanders: Bystanders | None = None,
    told: Told = lambda done, total: None,
    cancel: Callable[[], bool] = lambda: False,
) -> Proof:
    """Hold a located core set against its controls.

    Args:
        model: the model that the report is about.
        facts: facts of the same model: donors for the swap, and unrelated ones.
        report: from ``locate``.
        kind: *zero* or *mask*: which of its core sets.
        draws: how often the controls are drawn.
        seed: draws controls, donors and unrelated facts.
        bystanders: facts for the test of specificity, if they were drawn before.
        told: told before the first and after each of its ``PARTS`` how many are done, and of how
            many.
        cancel: asked before each part.

    Raises:
        FactsError: the report has no such core set.
        Cancelled: ``cancel`` said so; a part of a proof proves nothing, so none is kept.
    """
    core = report.cores.get(kind)
    if core is None or not core.members:
        raise FactsError(f"There is nothing to prove. {report.summary()}")
    begin = _Parts(report.fact.subject, told, cancel)
    begin()
    batch = report.asked.batch(model, "prove")
    members, scope = core.members, core.scope
    before = score_answers(model, batch)
    ablated = score_ablations(model, batch, [members], kind, scope)
    begin()
    ends = report.asked.ends
    if bystanders is None or bystanders.ends != ends:
        bystanders = draw_bystanders(model, facts, ends=ends, seed=seed)
    others = bystanders.unrelated(report.fact)
    unrelated_kept = still_answered(model, bystanders, others, core)
    begin()
    controls = matched_controls(model, batch, members, kind, scope, draws=draws, seed=seed)
    begin()
    rng = random.Random(f"{seed} {report.fact.relation} {report.fact.subject}")
    swaps = _swaps(model, facts, report, rng)
    told(len(PARTS), len(PARTS))
    return Proof(
        fact=report.fact,
        core=core,
        prompts=report.asked.prompts("prove"),
        fresh=report.asked.fresh,
        before=before.logprob.double().exp().cpu().numpy(),
        ablated=ablated.logprob[0].double().exp().cpu().numpy(),
        lost=~ablated.kept[0].cpu().numpy(),
        controls=controls,
        swaps=swaps,
        unrelated=len(others),
        unrelated_kept=unrelated_kept,
    )


class _Parts:
    """Called before each part of a proof: tells how many are done, or stops."""

    def __init__(self, subject: str, told: Told, cancel: Callable[[], bool]) -> None:
        self._subject, self._told, self._cancel, self._done = subject, told, cancel, 0

    def __call__(self) -> None:
        if self._cancel():
            raise Cancelled(
                f"The proof about {self._subject!r} was stopped before its {PARTS[self._done]}."
            )
        self._told(self._done, len(PARTS))
        self._done += 1


def _swaps(
    model: MemoryModel, facts: Sequence[Fact], report: FactReport, rng: random.Random
) -> tuple[Swap, ...]:
    """Each phrasing of the proof with the reads of another subject of the relation."""
    own = report.fact
    donors = [f for f in facts if f.relation == own.relation and f.object != own.object]
    if not donors:
        return ()
    drawn = rng.sample(donors, min(len(donors), _DONORS))
    said = measure_recall(model, [Question(d.prompts[0], d.object) for d in drawn])
    known = [
        donor
        for donor, says in zip(
            drawn, said.correct if report.asked.ends else said.begun, strict=True
        )
        if says
    ]
    if not known:
        return ()
    pairs, named = [], []
    for number, prompt in enumerate(report.asked.prompts("prove")):
        donor = known[number % len(known)]
        words = in_same_words(own, prompt, donor) or donor.prompts[0]
        pairs.append((Question(prompt, own.object), Question(words, donor.object)))
        named.append(donor)
    after, before = measure_swap(model, pairs)
    whole = (after.correct, before.correct) if report.asked.ends else (after.begun, before.begun)
    return tuple(
        Swap(own_question.prompt, donor.subject, donor.object, bool(then), bool(first))
        for (own_question, _), donor, then, first in zip(pairs, named, *whole, strict=True)
    )


def in_same_words(fact: Fact, prompt: str, donor: Fact) -> str | None:
    """The prompt that asks for ``donor`` as ``prompt`` asks for ``fact``; None if it has none."""
    theirs = (*donor.prompts, *donor.heldout_prompts)
    words = prompt.replace(fact.subject, donor.subject)
    if fact.relation in TEMPLATES and prompt in (own := phrasings(fact.relation, fact.subject)):
        words = phrasings(donor.relation, donor.subject)[own.index(prompt)]
    return words if words in theirs else None
