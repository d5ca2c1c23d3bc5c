"""The causal proof of a located core set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from inspector.errors import Cancelled as Stopped
from inspector.ui.components import sentence
from inspector.ui.facts_view import FactView, background
from inspector.ui.jobs import Cancelled, Job

if TYPE_CHECKING:
    from inspector.analyses.proof import Proof

_HELP = (
    "The core set is ablated in phrasings that were not used to find it. The control ablates as "
    "many other reads that fired in the same prompt and whose contributions have about the same "
    "norm, ten times drawn at random. Unrelated facts have another subject and another answer; "
    "all were answered before. Proven: the answer is lost in every phrasing, in at most a fifth "
    "of the control draws, and at least 97 % of the unrelated facts keep theirs."
)


def show(view: FactView) -> None:
    """The proof, or the button that starts it, or why there is none."""
    core = view.report.cores.get(view.kind)
    with st.container(border=True):
        st.subheader("Proof", anchor=False, help=_HELP)
        if core is None or not core.members:
            st.text(f"There is nothing to prove. This fact has no core set for {view.kind}.")
            if view.report.asked.known and view.opened.model.sites:
                st.caption("Overlap shows whether its phrasings have one each.")
            return
        key = f"proof {view.key} {view.scope} {view.kind} {view.facts.identity}"
        why = "Ablates the core set, its controls and the swap, and asks 100 unrelated facts."
        proof = background(key, "Proving", _work(view), "Prove it", why)
        if proof is None:
            return
        sentence(verdict(proof), key="proof verdict")
        _figures(proof)
    with st.container(border=True):
        _table(proof)
    with st.container(border=True):
        _swaps(proof)


def _work(view: FactView) -> Any:
    model, facts, report, kind = view.opened.model, view.facts.known, view.report, view.kind

    def run(job: Job) -> Proof:
        from inspector.analyses.proof import PARTS, prove

        def told(done: int, total: int) -> None:
            job.report(done, total, PARTS[min(done, total - 1)])

        try:
            return prove(model, facts, report, kind, told=told, cancel=job.cancelled)
        except Stopped:
            raise Cancelled from None

    return run


def verdict(proof: Proof) -> list[str | tuple[str, str]]:
    """The verdict as parts of a sentence, its first words set apart."""
    first, _, rest = proof.verdict().partition(":")
    return [(first, "strong"), f":{rest}"]


def _figures(proof: Proof) -> None:
    from inspector.figures.facts import proof_figure

    picture, figures = st.columns([3, 2])
    with picture:
        st.plotly_chart(proof_figure(proof), key="proof figure", config={"displayModeBar": False})
    with figures:
        left, right = st.columns(2)
        low, high = proof.control_interval()
        left.metric("Lost, core set", f"{proof.lost.mean():.0%}", help="Of the phrasings.")
        right.metric(
            "Lost, control",
            f"{proof.control_lost.mean():.0%}",
            help=f"Of {proof.control_lost.size} draws; the answer's probability lies between "
            f"{low:.1%} and {high:.1%} in 95 % of them.",
        )
        kept = f"{proof.unrelated_kept} of {proof.unrelated}"
        left.metric("Unrelated kept", kept, help="Facts whose answer survives the ablation.")
        said = sum(swap.says_donor for swap in proof.swaps)
        right.metric(
            "Swap says donor",
            f"{said} of {len(proof.swaps)}" if proof.swaps else "–",
            help="With the reads of another subject where the answer is produced, the model says "
            "that subject's answer.",
        )
    ratio = proof.controls.norm_ratio
    missing = f" {proof.controls.short} reads had no match." if proof.controls.short else ""
    st.caption(
        f"The control's reads have {ratio:.2f} of the summed norm of those they stand for; "
        f"{proof.controls.same_place:.0%} lie at the same site and position.{missing}"
    )
    if not proof.fresh:
        st.warning("There was no phrasing left that was not used to find it.", icon="⚠️")


def _table(proof: Proof) -> None:
    st.subheader("Phrasing by phrasing", anchor=False)
    shares = {
        name: st.column_config.NumberColumn(label, format="percent")
        for name, label in (
            ("before", "p before"),
            ("ablated", "p ablated"),
            ("control", "p control"),
            ("control_low", "2.5 %"),
            ("control_high", "97.5 %"),
            ("control_lost", "lost, control"),
        )
    }
    st.dataframe(
        proof.to_frame(),
        hide_index=True,
        key="proof phrasings",
        column_config={**shares, "reads": st.column_config.NumberColumn("reads taken")},
    )


def _swaps(proof: Proof) -> None:
    st.subheader(
        "Swapped with another subject",
        anchor=False,
        help="The phrasing keeps its words, but where the answer is produced its memory reads are "
        "replaced by those of the other subject's phrasing.",
    )
    if not proof.swaps:
        st.caption("No other fact of the relation that the model knows has another answer.")
        return
    st.dataframe(
        pd.DataFrame([vars(swap) for swap in proof.swaps]),
        hide_index=True,
        key="proof swaps",
        column_config={
            "donor": "other subject",
            "answer": "its answer",
            "says_donor": st.column_config.CheckboxColumn("says it"),
            "said_before": st.column_config.CheckboxColumn("said it before"),
        },
    )
