"""What all sections of the facts page share: the located fact, and how its long work is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import streamlit as st

from inspector.ui import state
from inspector.ui.cache import Opened
from inspector.ui.components import sentence
from inspector.ui.facts_source import FactSet
from inspector.ui.jobs import Job, jobs, watch

if TYPE_CHECKING:
    from inspector.analyses.ablations import Ablation, Scope
    from inspector.analyses.facts import Fact
    from inspector.analyses.locate import FactReport

SCOPES: Final = ("table", "site", "head", "read")
_SCOPE, _KIND, _SECTION = "scope picker", "kind picker", "section picker"
_SCOPE_HELP = (
    "How much of a slot an ablation takes.  \n**table**: all reads of it, by all sites that share "
    "the table.  \n**site**: those of one memory layer.  \n**head**: those of one head of one "
    "layer.  \n**read**: those of one head where the answer is produced."
)
_KIND_HELP = (
    "**zero**: the coefficients of the slots' reads become 0, the other weights stay.  \n**mask**: "
    "the slots are removed before the top k, others take their place and the softmax is taken "
    "anew.  \nA core set belongs to one of the two."
)


@dataclass(frozen=True, eq=False)
class FactView:
    """One fact as the page shows it."""

    opened: Opened
    facts: FactSet
    fact: Fact
    scope: Scope
    kind: Ablation
    report: FactReport

    @property
    def key(self) -> str:
        """Tells this view's long work from others'."""
        return f"{self.opened.key} {self.opened.model.fingerprint} {identity(self.fact)}"


def identity(fact: Fact) -> tuple[object, ...]:
    """All of a fact, as a key."""
    return fact.relation, fact.subject, fact.object, fact.prompts, fact.heldout_prompts


def scope_picker() -> tuple[Scope, Ablation]:
    """How much of a slot is ablated, and in which sense."""
    scope = state.read(state.SCOPE)
    scope = scope if scope in SCOPES else SCOPES[0]
    kind = "mask" if state.read(state.KIND) == "mask" else "zero"
    st.session_state[_SCOPE], st.session_state[_KIND] = scope, kind
    left, right = st.columns([3, 2])
    left.segmented_control(
        "Ablation takes",
        SCOPES,
        key=_SCOPE,
        required=True,
        help=_SCOPE_HELP,
        on_change=lambda: state.write(scope=st.session_state[_SCOPE]),
    )
    right.segmented_control(
        "Ablation means",
        ["zero", "mask"],
        key=_KIND,
        required=True,
        help=_KIND_HELP,
        on_change=lambda: state.write(kind=st.session_state[_KIND]),
    )
    return cast("Scope", scope), cast("Ablation", kind)


def look(opened: Opened, facts: FactSet, fact: Fact, scope: Scope, kind: Ablation) -> FactView:
    """The fact, located.

    Raises:
        PromptTooLong: a phrasing does not fit into the model's positions.
    """
    with st.spinner("Ablating reads to find the fact …"):
        report = _located(opened.key, opened.model.fingerprint, identity(fact), scope, opened, fact)
    return FactView(opened, facts, fact, scope, kind, report)


@st.cache_resource(max_entries=128, show_spinner=False)
def _located(
    key: tuple[str, str],
    fingerprint: str,
    named: tuple[object, ...],
    scope: Scope,
    _opened: Opened,
    _fact: Fact,
) -> FactReport:
    from inspector.analyses.locate import locate

    return locate(_opened.model, _fact, scope=scope)


def headline(view: FactView) -> None:
    """What was found, in one or two sentences."""
    report, fact = view.report, view.fact
    asked = report.asked
    kept = [phrasing for phrasing in asked.phrasings if phrasing.kept]
    parts: list[str | tuple[str, str]] = [f"The {fact.relation.replace('_', ' ')} of "]
    parts += [(fact.subject, "quote"), ": "]
    if asked.known:
        parts += ["the model says ", (fact.object, "quote"), " in "]
        parts += [(f"{len(kept)} of {len(asked.phrasings)}", "strong"), " phrasings. "]
    parts.append(report.summary())
    sentence(parts, key="fact headline")


def background(key: str, name: str, work: Callable[[Job], Any], label: str, why: str) -> Any:
    """Long work that a button starts: how it stands, and what it found; None while it isn't done.

    Of work that was stopped it's what was found until then, if the work kept it.

    ``label`` is the button's, ``why`` its help.
    """
    job = jobs().get(key)
    if job is not None and job.progress.active:
        watch(job)
        return None
    if job is not None and job.progress.state == "done":
        return job.result
    if job is not None and job.progress.error:
        st.error("This could not be done.", icon="⚠️")
        st.text(job.progress.error)
    elif job is not None:
        kept = job.result is not None
        st.caption("It was stopped" + (": what was found until then is below." if kept else "."))
    if st.button(label, key=f"start {key}", type="primary", help=why):
        jobs().start(key, name, work)
        st.rerun()
    return None if job is None or job.progress.error else job.result


def told(job: Job, what: str) -> Callable[[int, int], None]:
    """A report of an analysis as a job's progress."""
    return lambda done, total: job.report(done, total, f"{done:,} of {total:,} {what}")


def section_picker(sections: list[str]) -> str:
    """Which section of the page is open; it is part of the link."""
    asked = state.read(state.SECTION)
    section = asked if asked in sections else sections[0]
    st.session_state[_SECTION] = section
    st.segmented_control(
        "Section",
        sections,
        key=_SECTION,
        required=True,
        on_change=lambda: state.write(section=st.session_state[_SECTION]),
        label_visibility="collapsed",
    )
    return section
