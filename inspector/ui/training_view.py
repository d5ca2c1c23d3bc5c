"""What memory buys: the sweep that ships, as two charts, their reading in words and a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import streamlit as st

from inspector.errors import InspectorError
from inspector.ui import frame, samples, state
from inspector.ui.components import sentence

if TYPE_CHECKING:
    from inspector.analyses.sweep_comparison import Phrasing
    from inspector.analyses.sweep_results import SweepResults

FILE: Final = "sweep.json"
BUYS: Final = "buys"
_VIEWS: Final = {BUYS: "What memory buys", "watch": "Watch a training"}
_PHRASINGS: Final = {"seen": "asked as in training", "heldout": "asked in held-out phrasings"}
_VIEW, _CHOSEN = "training view", "sweep phrasing"


def choose() -> str:
    """Which of the page's two questions is asked."""
    asked = state.read(state.VIEW)
    st.session_state[_VIEW] = asked if asked in _VIEWS else BUYS
    st.segmented_control(
        "View",
        list(_VIEWS),
        key=_VIEW,
        required=True,
        format_func=lambda name: _VIEWS[name],
        on_change=lambda: state.write(view=st.session_state[_VIEW]),
        label_visibility="collapsed",
    )
    return str(st.session_state[_VIEW])


def phrasing() -> Phrasing:
    """In which phrasings the facts are asked whose answers are shown."""
    asked = state.read(state.PHRASING)
    st.session_state[_CHOSEN] = asked if asked in _PHRASINGS else "seen"
    st.segmented_control(
        "Facts are asked in phrasings",
        list(_PHRASINGS),
        key=_CHOSEN,
        required=True,
        format_func=lambda name: _PHRASINGS[name],
        on_change=lambda: state.write(phrasing=st.session_state[_CHOSEN]),
        label_visibility="collapsed",
        help="Three or four phrasings of each fact were trained on. Of three facts in ten one "
        "phrasing was held out: it asks for what the model knows, not for a sentence it has read.",
    )
    return "heldout" if st.session_state[_CHOSEN] == "heldout" else "seen"


def sweep(phrasing: Phrasing) -> None:
    """The whole of the sweep, or a sentence that says why there is none."""
    from inspector.analyses.sweep_reading import headline
    from inspector.analyses.sweep_results import read_sweep

    file = samples.ROOT / FILE
    if not file.exists():
        st.info(
            "No sweep lies beside the sample checkpoints. `inspector sweep` makes one: its "
            "finished runs are shown here as they come."
        )
        return
    try:
        results = read_sweep(file)
    except InspectorError as error:
        frame.problem("The sweep cannot be shown.", error)
        return
    sentence([headline(results, phrasing)], key="sweep headline")
    if not results.runs:
        return
    _charts(results, phrasing)
    words, published = st.columns([3, 2])
    with words.container(border=True, height="stretch"):
        _reading(results, phrasing)
    with published.container(border=True, height="stretch"):
        _published(results)
    with st.container(border=True):
        _table(results, phrasing)
        _configuration(results)


def _charts(results: SweepResults, phrasing: Phrasing) -> None:
    from inspector.figures.training import sweep_figure

    recall, likelihood = st.columns(2)
    with recall.container(border=True):
        st.subheader(
            "Exact recall",
            anchor=False,
            help="Share of facts whose whole answer is the most probable, word for word. Open "
            "points are single runs, one for each seed; the line goes through their means, where "
            "these are of the same seeds.",
        )
        st.plotly_chart(sweep_figure(results, "recall", phrasing), key="sweep recall")
    with likelihood.container(border=True):
        st.subheader(
            "Negative log-likelihood",
            anchor=False,
            help="Of the whole answer and the end of text after it, in nats: the lower, the more "
            "probable is what is true. It tells models apart whose recall is alike.",
        )
        st.plotly_chart(sweep_figure(results, "nll", phrasing), key="sweep nll")


def _reading(results: SweepResults, phrasing: Phrasing) -> None:
    from inspector.analyses.sweep_comparison import FEWEST_RUNS
    from inspector.analyses.sweep_reading import cost_sentence, reading

    st.subheader(
        "Where memory wins, and where it does not",
        anchor=False,
        help=f"Models are compared over the seeds that both have. A difference counts where "
        f"these are {FEWEST_RUNS} or more, every run of one is better than every run of the other, "
        "and the means are further apart than twice the larger standard deviation over the seeds.",
    )
    lines = [f"- **{over}** {found}" for over, found in reading(results, phrasing)]
    if cost := cost_sentence(results):
        lines.append(f"- **What it costs:** {cost}")
    st.markdown("\n".join(lines))


def _published(results: SweepResults) -> None:
    from inspector.figures.training import published_figure

    st.subheader("In the source, at 8 billion parameters", anchor=False)
    st.plotly_chart(published_figure(), key="published")
    st.caption(
        "As published in *Memory Layers at Scale* (Berges et al. 2024), not measured here: the "
        "same model without and with memory layers, and Llama 3.1 8B, which saw 15 times the "
        "tokens. The sweep asks the same question of models from "
        f"{min(run.parameters['total'] for run in results.runs) / 1e6:.1f} million parameters on."
    )


def _table(results: SweepResults, phrasing: Phrasing) -> None:
    from inspector.analyses.sweep_reading import summary_frame

    st.subheader("The numbers", anchor=False)
    recall, nll = f"{phrasing}_recall", f"{phrasing}_nll"
    shown = summary_frame(results)
    shown[[recall, f"{recall}_sd"]] *= 100
    number = st.column_config.NumberColumn
    columns = {
        "model": st.column_config.TextColumn("Model", width="medium"),
        "runs": number("Seeds", help="Finished runs, one for each seed."),
        "parameters": number("Parameters", format="localized"),
        "active": number(
            "Active",
            format="localized",
            help="Parameters one token touches: all but the values that no read fetches.",
        ),
        "flops": number(
            "FLOPs a token",
            format="localized",
            help="Forward, logits included: counted by torch, plus the sums of values and the "
            "lookups' comparisons, which torch does not count. Norms, activations and softmax "
            "are left out.",
        ),
        "microseconds": number(
            "µs a token",
            format="%.1f",
            help="Median of forward passes, all models measured in turns on one processor "
            "thread of a shared machine: read the ratios, not the times.",
        ),
        recall: number("Recall", format="%.1f %%"),
        f"{recall}_sd": number("± SD", format="%.1f", help="Over the seeds, in points."),
        nll: number("NLL", format="%.3f", help="Nats an answer."),
        f"{nll}_sd": number("± SD ", format="%.3f", help="Over the seeds."),
    }
    st.dataframe(shown, hide_index=True, column_order=list(columns), column_config=columns)


def _configuration(results: SweepResults) -> None:
    run = results.runs[0]
    hp = results.settings["optimisation"]
    done, planned = len(results.runs), len(results.planned)
    st.caption(
        f"{done} of {planned} runs · {run.made_with['facts']:,} facts, {run.steps:,} steps of "
        f"{run.sentences // run.steps} sentences, {run.tokens / 1e6:.1f} M tokens a run · "
        f"{run.seen.asked:,} facts asked, drawn at random with a fixed seed · "
        f"learning rate {hp['lr']:g}, of values {hp['value_lr']:g} · "
        f"configuration {results.config}, fixed before the first run"
    )
    with st.expander("The configuration, and which runs are missing"):
        if results.missing:
            named = ", ".join(f"{model} seed {seed}" for model, seed in results.missing)
            st.text(f"Not made yet: {named}. The command that began the sweep goes on with it.")
        else:
            st.text("Every planned run is finished.")
        if results.superseded:
            st.text(
                f"{len(results.superseded)} runs of earlier configurations are kept in the file "
                "and not shown here."
            )
        st.json(dict(results.settings), expanded=1)
