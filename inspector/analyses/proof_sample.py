"""The causal proof over many facts: how often a core set carries its fact, and nothing else."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from inspector.analyses.ablations import ABLATIONS, Ablation, Scope
from inspector.analyses.bystanders import Bystanders, draw_bystanders
from inspector.analyses.facts import Fact
from inspector.analyses.locate import FactReport, locate
from inspector.analyses.proof import Proof, prove
from inspector.errors import Cancelled
from inspector.families.base import MemoryModel

Report = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class ProofSample:
    """Many facts, each located and proven. ``frame`` has a row for each fact and ablation.

    Its columns: ``relation``, ``subject``, ``object``, ``kind``; ``outcome`` (*proven*, *not
    proven*, *no core set*, *unknown*: the model doesn't know the fact, *no phrasing left*: there
    was none to prove it in); ``slots`` in the core set and ``common`` to all phrasings; ``before``
    and ``ablated``, probabilities of the answer; ``lost`` and ``control_lost``, shares of
    phrasings and of draws; ``norm_ratio`` of the controls; ``swapped``, the share of phrasings that
    then say the donor's answer; ``unrelated`` facts asked and ``unrelated_kept``, a count.
    ``complete`` is False if it was stopped before all facts were asked.
    """

    frame: pd.DataFrame
    facts: int
    seed: int
    complete: bool

    def to_frame(self) -> pd.DataFrame:
        """One row a fact and ablation."""
        return self.frame

    def summary(self) -> pd.DataFrame:
        """One row an ablation: counts of outcomes, and rates with 95 % Wilson intervals.

        Rates are over the facts that have a core set and a phrasing to prove it in. ``lost_of_all``
        counts facts without a core set as not lost.
        """
        rows = [_summed_up(kind, own) for kind, own in self.frame.groupby("kind", sort=False)]
        return pd.DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """The summary and all rows as plain values."""
        rows = self.frame.astype(object).where(self.frame.notna(), None)
        return {
            "facts": self.facts,
            "seed": self.seed,
            "complete": self.complete,
            "summary": self.summary().to_dict("records"),
            "rows": rows.to_dict("records"),
        }


def _summed_up(kind: object, own: pd.DataFrame) -> dict[str, Any]:
    tried = own[own["outcome"].isin(["proven", "not proven"])]
    asked = own[~own["outcome"].isin(["unknown", "no phrasing left"])]
    lost = int((tried["lost"] == 1).sum())
    low, high = _interval(lost, len(tried))
    unrelated = tried["unrelated"].sum()
    return {
        "kind": kind,
        "facts": len(own),
        **{name.replace(" ", "_"): int((own["outcome"] == name).sum()) for name in _OUTCOMES},
        "slots": tried["slots"].median(),
        "slots_high": tried["slots"].quantile(0.9),
        "lost": lost / len(tried) if len(tried) else np.nan,
        "lost_low": low,
        "lost_high": high,
        "lost_of_all": lost / len(asked) if len(asked) else np.nan,
        "control_lost": tried["control_lost"].mean(),
        "norm_ratio": tried["norm_ratio"].median(),
        "swapped": tried["swapped"].mean(),
        "unrelated_kept": tried["unrelated_kept"].sum() / unrelated if unrelated else np.nan,
    }


_OUTCOMES: Final = ("proven", "not proven", "no core set", "unknown", "no phrasing left")


def _interval(count: int, of: int) -> tuple[float, float]:
    if not of:
        return float("nan"), float("nan")
    found = binomtest(count, of).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def draw_facts(facts: Sequence[Fact], count: int, seed: int = 0) -> list[Fact]:
    """``count`` facts at random, as equally over the relations as their sizes allow."""
    by_relation: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        by_relation[fact.relation].append(fact)
    rng = random.Random(f"{seed} facts to prove")
    shuffled = [rng.sample(own, len(own)) for own in by_relation.values()]
    drawn: list[Fact] = []
    while len(drawn) < count and any(shuffled):
        for own in shuffled:
            if own and len(drawn) < count:
                drawn.append(own.pop())
    return drawn


def prove_many(
    model: MemoryModel,
    facts: Sequence[Fact],
    count: int = 200,
    *,
    kinds: Sequence[Ablation] = ABLATIONS,
    scope: Scope = "table",
    seed: int = 0,
    report: Report = lambda done, total: None,
    cancel: Callable[[], bool] = lambda: False,
) -> ProofSample:
    """Locate and prove ``count`` facts drawn at random with ``seed``, stratified over relations.

    ``facts`` are all there are: donors and unrelated facts come from them, too. ``report`` is told
    after each fact; when ``cancel`` says so, what was done until then is returned.

    Raises:
        Cancelled: it was stopped before the first fact was done.
    """
    drawn = draw_facts(facts, count, seed)
    bystanders: dict[bool, Bystanders] = {}
    rows: list[dict[str, Any]] = []
    for done, fact in enumerate(drawn):
        if cancel():
            if not done:
                raise Cancelled("Stopped before the first fact was proven.")
            return ProofSample(pd.DataFrame(rows), done, seed, complete=False)
        found = locate(model, fact, scope=scope, kinds=kinds, exact=0, seed=seed)
        ends = found.asked.ends
        if ends not in bystanders:
            bystanders[ends] = draw_bystanders(model, facts, ends=ends, seed=seed)
        for kind in kinds:
            row = {"relation": fact.relation, "subject": fact.subject, "object": fact.object}
            proof = None
            if (core := found.cores.get(kind)) and core.members and found.asked.fresh:
                proof = prove(model, facts, found, kind, seed=seed, bystanders=bystanders[ends])
            rows.append({**row, "kind": kind, **_row(found, kind, proof)})
        report(done + 1, len(drawn))
    return ProofSample(pd.DataFrame(rows), len(drawn), seed, complete=True)


def _row(found: FactReport, kind: Ablation, proof: Proof | None) -> dict[str, Any]:
    core = found.cores.get(kind)
    if proof is None:
        outcome = "unknown" if not found.asked.known else "no phrasing left"
        if found.asked.fresh and core is not None and not core.members:
            outcome = "no core set"
        measured = dict.fromkeys(
            ("before", "ablated", "lost", "control_lost", "norm_ratio", "swapped"), np.nan
        )
        return {
            "outcome": outcome,
            "slots": len(core.members) if core else 0,
            "common": core.common if core else 0,
            **measured,
            "unrelated": 0,
            "unrelated_kept": 0,
        }
    return {
        "outcome": "proven" if proof.proven else "not proven",
        "slots": len(proof.core.members),
        "common": proof.core.common,
        "before": proof.before.mean(),
        "ablated": proof.ablated.mean(),
        "lost": proof.lost.mean(),
        "control_lost": proof.control_lost.mean(),
        "norm_ratio": proof.controls.norm_ratio,
        "swapped": np.mean([swap.says_donor for swap in proof.swaps]) if proof.swaps else np.nan,
        "unrelated": proof.unrelated,
        "unrelated_kept": proof.unrelated_kept,
    }
