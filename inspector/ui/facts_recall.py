"""How well the model recalls the whole set of facts, beside another checkpoint if one is picked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import streamlit as st

from inspector.errors import Cancelled as Stopped
from inspector.errors import InspectorError
from inspector.ui import cache, frame, samples, state
from inspector.ui.cache import Opened
from inspector.ui.components import sentence
from inspector.ui.facts_source import FactSet
from inspector.ui.facts_view import background, told
from inspector.ui.jobs import Cancelled, Job

if TYPE_CHECKING:
    from inspector.analyses.ablations import Scope
    from inspector.analyses.fact_recall import FactRecall
    from inspector.analyses.proof_sample import ProofSample

_PROVEN: Final = 100
_NONE: Final = "none"
_BESIDE: Final = "recall beside"
_HELP = (
    "Every fact is asked once in a phrasing that may have been trained on, and once in a held-out "
    "one, both drawn with a fixed seed.  \n**recall**: greedy decoding writes the whole answer, "
    "word for word, and stops.  \n**begins**: it writes the answer, whatever follows.  \n"
    "**p**: mean probability of the whole answer.  \n**rank**: median rank of its first token."
)


def show(opened: Opened, facts: FactSet) -> None:
    """Recall by relation, held-out phrasings apart."""
    with st.container(border=True):
        st.subheader("Recall of the whole set", anchor=False, help=_HELP)
        other = _other(opened)
        sides = [opened] if other is None else [opened, other]
        names = ("this checkpoint", "the other")  # a folder's name may not be read as Markdown
        found = [_recall(*each, facts) for each in zip(names, sides, strict=False)]
        done = [each for each in found if each is not None]
        if not done:
            return
        sentence(_line(done), key="recall headline")
        st.dataframe(_table(done), hide_index=True, key="recall table", column_config=_columns())
        _all_answers(done)


def prove_some(opened: Opened, facts: FactSet, scope: Scope) -> None:
    """The proof for facts drawn at random: how often core sets carry their facts."""
    with st.container(border=True):
        st.subheader(
            "Proof over many facts",
            anchor=False,
            help="Facts drawn at random with a fixed seed, as equally over the relations as their "
            "sizes allow, each located and proven for zero and for mask. **lost**: the share of "
            "facts with a core set whose answer is lost in every phrasing not used to find it, "
            "with a 95 % Wilson interval. Facts without a core set, and those the model doesn't "
            "know, are counted.",
        )
        if not opened.model.sites:
            st.caption("This checkpoint has no memory layers.")
            return
        count = min(_PROVEN, len(facts.facts))
        known = facts.asked
        found: ProofSample | None = background(
            f"proofs {opened.key} {opened.model.fingerprint} {scope} {known}",
            "Proving",
            _proofs(opened, facts, scope, count),
            f"Prove {count} facts",
            "Takes some seconds for each, in the background; what was done when it's stopped is "
            "kept.",
        )
        if found is None:
            return
        st.caption(f"Over {found.facts:,} facts, scope {scope}.")
        shares = {
            name: st.column_config.NumberColumn(format="percent")
            for name in ("lost", "lost_low", "lost_high", "lost_of_all", "control_lost", "swapped")
        }
        shares["unrelated_kept"] = st.column_config.NumberColumn(format="percent")
        st.dataframe(found.summary(), hide_index=True, key="proofs", column_config=shares)
        with st.expander("Every fact"):
            st.dataframe(found.to_frame(), hide_index=True, key="proofs rows")


def _proofs(
    opened: Opened, facts: FactSet, scope: Scope, count: int
) -> Callable[[Job], ProofSample]:
    def run(job: Job) -> ProofSample:
        from inspector.analyses.proof_sample import prove_many

        report, known = told(job, "facts"), facts.facts
        try:
            return prove_many(
                opened.model, known, count, scope=scope, report=report, cancel=job.cancelled
            )
        except Stopped:
            raise Cancelled from None

    return run


def _other(opened: Opened) -> Opened | None:
    """The checkpoint held beside this one."""
    offered = [name for name in samples.samples() if name != state.read(state.CHECKPOINT)]
    if not offered:
        return None
    asked = state.read(state.OTHER)
    st.session_state[_BESIDE] = asked if asked in offered else _NONE
    chosen = st.selectbox(
        "Beside it",
        [_NONE, *offered],
        key=_BESIDE,
        help="Another sample that is asked the same: the dense one shows what memory adds.",
        on_change=lambda: state.write(
            other=None if st.session_state[_BESIDE] == _NONE else st.session_state[_BESIDE]
        ),
    )
    if chosen == _NONE:
        return None
    try:
        return cache.opened(str(samples.resolve(chosen)), opened.key[1])
    except InspectorError as error:
        frame.problem("The other checkpoint could not be opened.", error)
        return None


def _recall(name: str, opened: Opened, facts: FactSet) -> FactRecall | None:
    count = len(facts.facts)
    known = facts.asked
    return background(  # type: ignore[no-any-return]
        f"recall {opened.key} {opened.model.fingerprint} {known}",
        f"Asking {name}",
        _work(opened, facts),
        f"Ask {name} all {count:,} facts",
        "In the background: you can leave this page.",
    )


def _work(opened: Opened, facts: FactSet) -> Callable[[Job], FactRecall]:
    def run(job: Job) -> FactRecall:
        from inspector.analyses.fact_recall import recall_facts

        report = told(job, "questions")
        return recall_facts(opened.model, facts.facts, report=report, cancel=job.cancelled)

    return run


def _line(found: list[FactRecall]) -> list[str | tuple[str, str]]:
    parts: list[str | tuple[str, str]] = []
    for each in found:
        rows = each.frame
        seen, held = rows[~rows["heldout"]]["exact"], rows[rows["heldout"]]["exact"]
        parts += [each.model, " recalls ", (f"{seen.mean():.1%}", "strong")]
        parts += [f" of {len(seen):,} facts"]
        if len(held):
            parts += [", ", (f"{held.mean():.1%}", "strong"), " in held-out phrasings"]
        parts += [". " if each.complete else " of those asked before it was stopped. "]
    return parts


def _table(found: list[FactRecall]) -> pd.DataFrame:
    sides = []
    for each in found:
        rows = pd.DataFrame(each.by_relation()).T.reset_index(names="relation")
        sides.append(rows if len(found) == 1 else rows.assign(model=each.model))
    table = pd.concat(sides, ignore_index=True).infer_objects()
    numbers = [name for name in table.columns if name not in ("relation", "model")]
    table[numbers] = table[numbers].apply(pd.to_numeric)
    if len(found) > 1:
        table = table.sort_values("relation", kind="stable")[["relation", "model", *numbers]]
    return table


def _columns() -> dict[str, Any]:
    bars: dict[str, Any] = {
        f"{prefix}{name}": st.column_config.ProgressColumn(
            f"{label}{title}", format="percent", min_value=0, max_value=1
        )
        for prefix, label in (("", ""), ("heldout_", "held out: "))
        for name, title in (("recall", "recall"), ("begins", "begins"), ("probability", "p"))
    }
    return {**bars, "n": "facts", "heldout_n": "held out", "heldout_rank": "held out: rank"}


def _all_answers(found: list[FactRecall]) -> None:
    with st.expander("Every question"):
        rows = pd.concat([each.frame.assign(model=each.model) for each in found])
        wrong = st.checkbox("Only those not recalled", key="recall wrong", value=True)
        shown = rows[~rows["exact"]] if wrong else rows
        st.caption(f"{min(len(shown), 1_000):,} of {len(shown):,}")
        st.dataframe(shown.head(1_000), hide_index=True, key="recall questions")
