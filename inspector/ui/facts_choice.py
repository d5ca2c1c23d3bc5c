"""Choosing one fact: typed, picked from a list, or at random."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import streamlit as st

from inspector.errors import FactsError
from inspector.ui import frame, state
from inspector.ui.facts_source import FactSet

if TYPE_CHECKING:
    from inspector.analyses.facts import Fact

_BOX, _SHOWN, _PROBLEM = "fact box", "fact shown", "fact problem"
_RELATION, _PICKED = "fact relation", "fact picked"
_ALL: Final = "all relations"
_FIRST: Final = ("capital", "France")


def chosen(facts: FactSet) -> Fact | None:
    """The fact of the URL, and the boxes that change it; None with a sentence why."""
    from inspector.analyses.locate import find_fact

    fact, problem = None, ""
    relation, subject = state.read(state.RELATION), state.read(state.SUBJECT)
    if subject is None:
        fact = _usual(facts, relation)
        go_to(fact)
    else:
        try:
            fact = find_fact(facts.facts, subject, relation)
        except FactsError as error:
            problem = str(error)
    _boxes(facts, fact)
    said = st.session_state.pop(_PROBLEM, "") or problem
    if said:
        frame.problem("There is no such fact.", FactsError(said))
    return fact


def go_to(fact: Fact) -> None:
    """Show another fact."""
    gone = dict.fromkeys(("pos", "asked", "answer", "forget", "edited_text"))
    state.write(relation=fact.relation, subject=fact.subject, **gone)


def _usual(facts: FactSet, relation: str | None) -> Fact:
    named = {(fact.relation, fact.subject): fact for fact in facts.facts}
    if relation in (None, _FIRST[0]) and _FIRST in named:
        return named[_FIRST]
    return next((f for f in facts.facts if f.relation == relation), facts.facts[0])


def name_of(fact: Fact) -> str:
    """How it is typed: ``capital of France``."""
    return f"{fact.relation.replace('_', ' ')} of {fact.subject}"


def _boxes(facts: FactSet, fact: Fact | None) -> None:
    shown = "" if fact is None else name_of(fact)
    if st.session_state.get(_SHOWN) != shown or _BOX not in st.session_state:
        st.session_state[_BOX] = st.session_state[_SHOWN] = shown
    typed, relation, subject, draw = st.columns([4, 2.4, 4, 1.5], vertical_alignment="bottom")
    typed.text_input(
        "Fact",
        key=_BOX,
        on_change=_search,
        args=(facts,),
        placeholder="capital of France, or a subject alone",
        help="Type a subject, or a relation and a subject, and press Enter.",
    )
    relations = sorted({each.relation for each in facts.facts})
    asked = state.read(state.RELATION)
    within = asked if asked in relations else (fact.relation if fact else _ALL)
    st.session_state[_RELATION] = within
    relation.selectbox(
        "Relation",
        [_ALL, *relations],
        key=_RELATION,
        format_func=lambda name: name.replace("_", " "),
        on_change=_filter,
        args=(facts, fact),
    )
    listed = [each for each in facts.facts if within in (each.relation, _ALL)]
    listed = listed or list(facts.facts)
    st.session_state[_PICKED] = listed.index(fact) if fact in listed else None
    subject.selectbox(
        f"Subject, of {len(listed):,}",
        range(len(listed)),
        key=_PICKED,
        format_func=lambda number: f"{listed[number].subject} → {listed[number].object}",
        on_change=lambda: go_to(listed[st.session_state[_PICKED]]),
        placeholder="Pick a fact",
    )
    draw.button(
        "Random",
        icon="🎲",
        width="stretch",
        help="Any fact of the relation, all alike likely.",
        on_click=lambda: go_to(random.choice(listed)),
    )


def _filter(facts: FactSet, fact: Fact | None) -> None:
    wanted = st.session_state[_RELATION]
    if fact is None or wanted == _ALL:
        state.write(relation=None)
        return
    about = [each for each in facts.facts if each.subject == fact.subject]
    same = next((each for each in about if each.relation == wanted), None)
    go_to(same or next(each for each in facts.facts if each.relation == wanted))


def _search(facts: FactSet) -> None:
    """Go to what was typed; what can't be found is told in place, and the fact shown stays."""
    from inspector.analyses.locate import find_fact

    text = st.session_state[_BOX].strip()
    relations = {f.relation.replace("_", " ").casefold(): f.relation for f in facts.facts}
    before, _, after = text.partition(" of ")
    relation = relations.get(before.strip().casefold())
    subject = after if relation else text
    try:
        if relation is None:
            relation = _relation_here(facts, subject)
        go_to(find_fact(facts.facts, subject, relation))
    except FactsError as error:
        st.session_state[_PROBLEM] = str(error)
        st.session_state.pop(_SHOWN, None)


def _relation_here(facts: FactSet, subject: str) -> str | None:
    """The relation of this view if the subject has it, else the subject's first."""
    wanted = subject.strip().casefold()
    about = [f.relation for f in facts.facts if f.subject.casefold() == wanted]
    asked = state.read(state.RELATION)
    return asked if asked in about else next(iter(about), None)
