"""Giving a fact another answer, or none: watched while it goes on, then used, checked and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from inspector.ui import edit_state, facts_patches, state
from inspector.ui.components import sentence
from inspector.ui.facts_view import FactView
from inspector.ui.jobs import Cancelled, Job, jobs, watch

if TYPE_CHECKING:
    from inspector.analyses.edit_measures import EditFigures
    from inspector.analyses.fact_edit import EditStep, FactEdit
    from inspector.analyses.facts import Fact

_ANSWER: Final = "new answer"
_FORGET: Final = ""  # in the key of a job: the answer is to be forgotten
_HELP = (
    "Only values of the slots that this fact reads and other text seldom does (TF-IDF against a "
    "scan of the checkpoint's facts, or of yours where it has none) are optimised, by gradient; "
    "all else stays. The checkpoint is not touched: the result is an edit.  \n**Efficacy**: "
    "phrasings it is made with that then say so.  \n**Generality**: held-out phrasings.  \n"
    "**Locality**: unrelated facts that the model knew and still answers.  \n**Perplexity**: of "
    "texts drawn from the corpus; its drift is the share by which it rises."
)


def show(view: FactView) -> None:
    """The box, the edit as it is made, and what can be done with it."""
    if not view.opened.model.sites:
        st.info("This checkpoint has no memory layers: there are no values to change.")
        return
    with st.container(border=True):
        st.subheader("Make it say something else", anchor=False, help=_HELP)
        _boxes(view)
        found = _edit(view)
        if found is not None:
            _result(view, found)
    if found is not None and len(found.slots):
        with st.container(border=True):
            corpus = view.opened.model.path if view.facts.own else statements(view.facts.known)
            key = _key(view, found.goal.answer)
            facts_patches.safety(view.opened, key, found.new_values(), corpus)
        with st.container(border=True):
            facts_patches.save_fact(view.opened, found)
    with st.container(border=True):
        facts_patches.load(view.opened)


def _key(view: FactView, answer: str | None) -> str:
    return f"rewrite {view.key} {view.facts.identity} {answer or _FORGET}"


def statements(facts: Sequence[Fact]) -> list[str]:
    """Every phrasing with its answer: the corpus where the checkpoint brings no facts."""
    return [f"{p} {fact.object}" for fact in facts for p in (*fact.prompts, *fact.heldout_prompts)]


def _boxes(view: FactView) -> None:
    asked = state.read(state.ANSWER)
    if st.session_state.get(f"{_ANSWER} shown") != asked or _ANSWER not in st.session_state:
        st.session_state[_ANSWER] = asked or ""
        st.session_state[f"{_ANSWER} shown"] = asked
    with st.form("rewrite", border=False, enter_to_submit=True):
        box, say, forget = st.columns([6, 1.6, 1.6], vertical_alignment="bottom")
        box.text_input(
            "New answer",
            key=_ANSWER,
            placeholder="of any number of tokens",
            help="What the phrasings are to be completed with.",
        )
        made = say.form_submit_button("Make it say", type="primary", width="stretch")
        gone = forget.form_submit_button(
            "Forget it",
            width="stretch",
            help="The answer is no longer given; instead the model says what it says of the "
            "relation in general.",
        )
    typed = st.session_state[_ANSWER].strip()
    if made and not typed:
        st.error("The new answer is empty. Type what the model is to say instead.", icon="⚠️")
    elif made:
        _start(view, typed)
    elif gone:
        _start(view, None)


def _start(view: FactView, answer: str | None) -> None:
    jobs().start(_key(view, answer), "Changing the fact", _work(view, answer))
    st.session_state[f"{_ANSWER} shown"] = answer  # the box keeps what was typed
    state.write(answer=answer, forget=1 if answer is None else None)


def _work(view: FactView, answer: str | None) -> Callable[[Job], FactEdit]:
    model, fact, facts = view.opened.model, view.fact, view.facts.known
    own = bool(view.facts.own)

    def run(job: Job) -> FactEdit:
        from inspector.analyses.edit_measures import Surroundings
        from inspector.analyses.make_it_say import forget, make_it_say
        from inspector.analyses.specific_slots import background_usage
        from inspector.capture.scan import scan

        job.report(0, 0, "which slots the facts read, once for a checkpoint")
        if own:
            usage = background_usage(model, cancel=job.cancelled)
        else:
            usage = scan(model, statements(facts), cancel=job.cancelled, cache=False)
        if job.cancelled():
            raise Cancelled
        around = Surroundings(facts, usage)

        def report(step: EditStep) -> None:
            job.result = step  # what the page shows while it goes on
            job.report(step.step, step.steps, f"step {step.step} of at most {step.steps}")

        how: dict[str, Any] = {"report": report, "cancel": job.cancelled}
        if answer is None:
            return forget(model, fact, around, **how)
        return make_it_say(model, fact, answer, around, **how)

    return run


def _edit(view: FactView) -> FactEdit | None:
    """The edit that was asked for last, of this fact; shows how far it is."""
    answer, forget = state.read(state.ANSWER), state.read(state.FORGET) == "1"
    job = jobs().get(_key(view, answer)) if answer or forget else None
    if job is None:
        st.caption(
            "Type another answer and press Make it say; it takes some seconds in the background."
        )
        return None
    if job.progress.active:
        watch(job, lambda: _so_far(job))
        return None
    if job.progress.error:
        st.error("The fact was not changed.", icon="⚠️")
        st.text(job.progress.error)
        return None
    if not hasattr(job.result, "message"):  # stopped before the first attempt
        st.caption("It was stopped.")
        return None
    return job.result  # type: ignore[no-any-return]


def _so_far(job: Job) -> None:
    """Figures of the edit while it is made."""
    step: EditStep | None = job.result
    if step is not None:
        _metrics(step.figures, None)
        st.caption(
            f"loss {step.loss:.3f} · {step.said} of {step.phrasings} phrasings say so with "
            f"their margin · other facts' answers diverge by {step.divergence:.4f} nats a "
            "token. Figures are measured every ten steps."
        )


def _metrics(figures: EditFigures, before: EditFigures | None) -> None:
    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.0%}"

    shown = (
        ("Efficacy", share(figures.efficacy), before and share(before.efficacy)),
        ("Generality", share(figures.generality), before and share(before.generality)),
        ("Locality", share(figures.locality), None),
        ("p(answer)", share(figures.probability), before and share(before.probability)),
        ("Perplexity", f"{figures.perplexity_after:.2f}", None),
        ("Drift", f"{round(figures.drift, 3) + 0.0:+.1%}", None),  # no sign before a zero
    )
    for column, (name, value, was) in zip(st.columns(len(shown)), shown, strict=True):
        column.metric(name, value)
        if name == "Generality" and not figures.heldout:
            column.caption("no phrasing held out")
        elif was is not None:
            column.caption(f"{was} before")


def _result(view: FactView, found: FactEdit) -> None:
    sentence(
        [("Done. " if found.reached else "Not reached. ", "strong"), found.message],
        key="rewrite message",
    )
    _metrics(found.figures, found.before)
    if not len(found.slots):
        return
    st.caption(
        f"{len(found.slots)} values change, at every site that reads their table. Unrelated facts "
        + "; ".join(
            f"{group}: {kept} of {known} kept"
            for group, (kept, known) in found.figures.by_group.items()
            if known
        )
        + "."
    )
    st.button(
        "Use this edit" if found.reached else "Use this attempt anyway",
        key="use rewrite",
        type="primary" if found.reached else "secondary",
        icon="✏️",
        on_click=edit_state.add,
        args=(view.opened, *found.slot_edits()),
        help="Puts it on the list at the left: it then acts on Trace and on Edit, in this session.",
    )
    with st.expander("Rows changed"):
        st.dataframe(found.to_frame(), hide_index=True, key="rewrite rows")
