"""The teaching page's stage: one step at a time, in large type, without scrolling."""

from __future__ import annotations

import streamlit as st

from inspector.ui import state
from inspector.ui.components import sentence
from inspector.ui.lookup_lesson import LESSON, Question, Step
from inspector.ui.lookup_stage import Stage

_LARGE = """<style>
.stMainBlockContainer { padding-top: 2.6rem; padding-bottom: 1rem; --sentence-size: 1.42rem; }
.st-key-lookup-stage h2 { font-size: 2rem; padding: 0.1rem 0 0.2rem; }
.st-key-lookup-stage [data-testid="stText"] { font-size: 1.15rem; }
.st-key-lookup-stage [data-testid="stTable"] td, .st-key-lookup-stage [data-testid="stTable"] th
  { font-size: 1.15rem; }
.st-key-lookup-stage code { font-size: 1.5rem; }
.st-key-lookup-stage label p { font-size: 1.05rem; }
</style>"""
_GUESS, _NOTES, _STEP = "lookup guess", "lookup notes", "lookup step"


def current() -> int:
    """Number of the step of this view, from 1."""
    asked = state.read_number(state.STEP)
    return 1 if asked is None else min(max(asked, 1), len(LESSON))


def _go(step: int) -> None:
    state.write(step=min(max(step, 1), len(LESSON)))


def options() -> None:
    """Switches of the presenter, in the sidebar."""
    with st.sidebar:
        st.toggle(
            "Guess first",
            key=_GUESS,
            help="Where a step has a question, its picture waits until somebody has guessed.",
        )
        st.toggle("Presenter notes", key=_NOTES)


def navigation() -> int:
    """Back, the steps, and next; the number of the step on show."""
    number = current()
    back, steps, following = st.columns([1.5, 6, 1.5], vertical_alignment="center")
    back.button(
        "Back",
        icon="⬅️",
        key="lookup back",
        on_click=_go,
        args=(number - 1,),
        disabled=number == 1,
        shortcut="PageUp",
        width="stretch",
    )
    st.session_state[_STEP] = number
    steps.slider(
        "Step",
        1,
        len(LESSON),
        key=_STEP,
        on_change=lambda: _go(st.session_state[_STEP]),
        label_visibility="collapsed",
    )
    following.button(
        "Next",
        icon="➡️",
        icon_position="right",
        key="lookup next",
        type="primary",
        on_click=_go,
        args=(number + 1,),
        disabled=number == len(LESSON),
        shortcut="PageDown",
        width="stretch",
    )
    return number


def show(stage: Stage) -> None:
    """The step of this view."""
    st.html(_LARGE)
    options()
    with st.container(key="lookup-stage"):
        number = navigation()
        step = LESSON[number - 1]
        st.header(f"{number} · {step.title}", anchor=False)
        question = step.ask(stage) if st.session_state.get(_GUESS) else None
        if question is None or _guessed(question, number):
            _revealed(step, stage, number)
        if st.session_state.get(_NOTES):
            st.info(step.note, icon="🎤")


def _revealed(step: Step, stage: Stage, number: int) -> None:
    if not stage.walk.agrees:
        st.error("These steps do not end in the reads that the model made.", icon="⚠️")
    sentence(step.says(stage), key=f"lookup says {number}")
    step.show(stage)


def _guessed(question: Question, number: int) -> bool:
    """Ask; whether the answer may be shown."""
    st.text(question.text)
    guess = st.radio(
        "Your guess",
        question.options,
        index=None,
        horizontal=True,
        key=f"lookup guess {number} {question.options}",
        label_visibility="collapsed",
    )
    if guess is None:
        return False
    right = question.options[question.answer]
    if guess == right:
        st.success(f"Yes: {right}", icon="✅")
    else:
        st.warning(f"Not {guess}, but {right}. See why:", icon="🤔")
    return True
