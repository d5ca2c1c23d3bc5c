"""Which slots a fact shares with its other phrasings, its relation, its subject."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import streamlit as st

from inspector.errors import Cancelled as Stopped
from inspector.ui import state
from inspector.ui.components import sentence
from inspector.ui.facts_view import FactView, background, identity, told
from inspector.ui.jobs import Cancelled, Job, jobs

if TYPE_CHECKING:
    from inspector.analyses.core_overlap import Overlap
    from inspector.analyses.core_sets import CoreSet
    from inspector.analyses.fact_maps import FactMap
    from inspector.analyses.facts import Fact

    Cores = dict[str, tuple[Fact, CoreSet]]

_AMONG: Final = {
    "phrasings": "The core sets of single phrasings of this fact, each found on it alone: do they "
    "name the same slots?",
    "relation": "The core sets of other facts of the relation, at most 60 drawn at random with a "
    "fixed seed: shared slots are about the relation.",
    "subject": "The core sets of other facts about the subject: shared slots are about it.",
}
_PICKER: Final = "among picker"
_ABOUT: Final = {n: (f"same_{n}", f"{n}_facts") for n in ("relation", "subject")}
_MEANS: Final = {
    "this fact": "are in no other core set compared",
    "relation": "are about the relation",
    "subject": "are about the subject",
    "both": "are about both",
    "not known": "were not compared to any",
}
_ABOUT_HELP: Final = (
    "A slot of this fact's core set is about the relation if core sets of the relation's other "
    "facts have it, about the subject if those of the subject's other facts do. Counted are the "
    "facts compared here so far that have a core set."
)


def show(view: FactView) -> None:
    """One of three comparisons, chosen at the top."""
    if not view.opened.model.sites:
        st.info("This checkpoint has no memory layers: there are no core sets to compare.")
        return
    asked = state.read(state.AMONG)
    among = asked if asked in _AMONG else "phrasings"
    st.session_state[_PICKER] = among
    with st.container(border=True):
        st.subheader(
            "Overlap of core sets",
            anchor=False,
            help="Members that two sets share, over the members of either.",
        )
        st.segmented_control(
            "Among",
            list(_AMONG),
            key=_PICKER,
            required=True,
            on_change=lambda: state.write(among=st.session_state[_PICKER]),
            help="  \n".join(f"**{name}**: {text}" for name, text in _AMONG.items()),
        )
        st.caption(_AMONG[among])
        {"phrasings": _phrasings, "relation": _relation, "subject": _subject}[among](view)


def _phrasings(view: FactView) -> None:
    def run(job: Job) -> Overlap:
        from inspector.analyses.core_overlap import phrasing_overlap

        return phrasing_overlap(view.opened.model, view.report, view.kind)

    key = f"phrasings {view.key} {view.scope} {view.kind}"
    why = "Finds a core set for each phrasing alone."
    found = background(key, "Comparing phrasings", run, "Compare its phrasings", why)
    if found is not None:
        _matrix(found, "phrasings")


def _relation_key(view: FactView) -> str:
    facts = f"{view.facts.identity}"
    relation = f"{view.opened.key} {view.opened.model.fingerprint} {view.fact.relation}"
    return f"map {relation} {view.scope} {view.kind} {facts}"


def _subject_key(view: FactView) -> str:
    return f"subject {view.key} {view.scope} {view.kind} {view.facts.identity}"


def _relation(view: FactView) -> None:
    found: FactMap | None = background(
        _relation_key(view),
        "Mapping the relation",
        _map_work(view),
        "Map the relation",
        "Locates up to 60 facts of the relation in the background; kept in the cache folder.",
    )
    if found is None:
        return
    located = found.located()
    drawn = ", drawn at random," if found.drawn else ""
    unknown = sum(core is None for core in found.cores)
    without = len(found.facts) - len(located) - unknown
    sentence(
        [
            (f"{len(located)} of {len(found.facts)}", "strong"),
            f" facts of the relation{drawn} have a core set for {found.kind}; {without} have none, "
            f"{unknown} the model does not know.",
        ],
        key="map headline",
    )
    if located:
        _matrix(found.overlap(), "relation")
    _about(view)
    frame = found.to_frame()
    with st.expander("The facts of the map"):
        st.dataframe(frame, hide_index=True, key="map facts", height=300)
    st.download_button(
        "The map (CSV)",
        frame.to_csv(index=False).encode(),
        file_name="relation_map.csv",
        mime="text/csv",
        on_click="ignore",
        key="map download",
    )


def _map_work(view: FactView) -> Callable[[Job], FactMap]:
    model, facts, relation = view.opened.model, view.facts.known, view.fact.relation
    scope, kind = view.scope, view.kind

    def run(job: Job) -> FactMap:
        from inspector.analyses.fact_maps import map_relation

        try:
            return map_relation(
                model,
                facts,
                relation,
                kind=kind,
                scope=scope,
                report=told(job, "facts"),
                cancel=job.cancelled,
            )
        except Stopped:
            raise Cancelled from None

    return run


def _subject(view: FactView) -> None:
    about = [
        fact
        for fact in view.facts.known
        if fact.subject == view.fact.subject and fact.relation != view.fact.relation
    ]
    if not about:
        st.caption("No other fact is about this subject.")
        return
    found: Cores | None = background(
        _subject_key(view),
        "Locating the subject's other facts",
        _subject_work(view, about),
        "Compare the subject's facts",
        f"Locates {len(about)} other facts about the subject.",
    )
    if found is None:
        return
    own = view.report.cores.get(view.kind)
    if own is not None:
        found = {view.fact.relation: (view.fact, own), **found}
    if found:
        from inspector.analyses.core_overlap import fact_overlap

        _matrix(fact_overlap({name: core for name, (_, core) in found.items()}), "subject")
    else:
        st.caption("The model knows none of them.")
    _about(view)


def _subject_work(view: FactView, about: list[Fact]) -> Callable[[Job], Cores]:
    model, scope, kind = view.opened.model, view.scope, view.kind

    def run(job: Job) -> Cores:
        from inspector.analyses.locate import locate

        found: Cores = {}
        for done, fact in enumerate(about):
            if job.cancelled():
                raise Cancelled
            core = locate(model, fact, scope=scope, kinds=(kind,), exact=0).cores.get(kind)
            if core is not None:
                found[fact.relation] = fact, core
            told(job, "facts")(done + 1, len(about))
        return found

    return run


def _compared(view: FactView) -> list[tuple[Fact, CoreSet]]:
    """All other facts that were located for these comparisons so far."""
    found: list[tuple[Fact, CoreSet]] = []
    mapped, subject = (jobs().get(key(view)) for key in (_relation_key, _subject_key))
    if mapped is not None and mapped.progress.state == "done":
        found += mapped.result.located()
    if subject is not None and subject.progress.state == "done":
        found += list(subject.result.values())
    return [(fact, core) for fact, core in found if identity(fact) != identity(view.fact)]


def _about(view: FactView) -> None:
    """What this fact's slots are about, judged by all that was compared so far."""
    from inspector.analyses.core_overlap import about

    core = view.report.cores.get(view.kind)
    if core is None or not core.members:
        st.caption("This fact has no core set to compare.")
        return
    frame = _without_empty(about(view.fact, core, _compared(view)))
    missing = [name for name in ("relation", "subject") if not frame[f"{name}_facts"].any()]
    frame = frame.drop(columns=[f"{part}" for name in missing for part in _ABOUT[name]])
    counts = frame["about"].value_counts()
    words = [f"{n} {_MEANS[str(name)]}" for name, n in counts.items()]
    st.markdown("**What its slots are about**", help=_ABOUT_HELP)
    st.text(f"Of this fact's {len(core.members)} slots, {', '.join(words)}.")
    for name in missing:
        st.caption(f"No other fact of the {name} was compared yet: choose {name} above.")
    st.dataframe(
        frame,
        hide_index=True,
        key="about slots",
        column_config={
            "same_relation": "in others of the relation",
            "same_subject": "in others of the subject",
            "relation_facts": "of",
            "subject_facts": "of ",
        },
    )


def _matrix(found: Overlap, name: str) -> None:
    from inspector.figures.facts import overlap_figure

    if not found.labels:
        st.caption("The model answers no phrasing, so there is nothing to compare.")
        return
    sentence(overlap_line(found), key=f"overlap headline {name}")
    chart = {"displayModeBar": False}
    st.plotly_chart(overlap_figure(found), key=f"overlap {name}", config=chart)
    with st.expander("As tables"):
        matrix: pd.DataFrame = found.to_frame()
        st.dataframe(matrix, key=f"overlap matrix {name}")
        slots = _without_empty(found.slots())
        slots["where"] = [list(where) for where in slots["where"]]
        st.dataframe(slots, hide_index=True, key=f"overlap slots {name}")


def overlap_line(found: Overlap) -> list[str | tuple[str, str]]:
    """How far the sets agree, in one sentence."""
    count = len(found.labels)
    upper = found.jaccard[np.triu_indices(count, 1)]
    upper = upper[~np.isnan(upper)]
    everywhere = int(found.within.all(1).sum())
    if not len(upper):
        return [f"There is {'one set' if count == 1 else 'no pair of sets with members'} here."]
    return [
        "Two of these sets share ",
        (f"{upper.mean():.0%}", "strong"),
        " of the members of either in the mean; ",
        (f"{everywhere} of {len(found.members)}", "strong"),
        f" slots are in all {count}.",
    ]


def _without_empty(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the columns that this scope leaves empty."""
    empty: list[Any] = [name for name in ("site", "head") if frame[name].isna().all()]
    return frame.drop(columns=empty)
