"""When a slot fires and what that does: contexts, triggers, weights, facts and ablation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from inspector.ui import slot_cache
from inspector.ui.components import ContextRow, context_list, visible_text
from inspector.ui.slot_page import SlotView
from inspector.ui.slot_passes import Pass

if TYPE_CHECKING:
    from inspector.analyses.fact_reads import FactReads
    from inspector.analyses.read_index import ReadIndex
    from inspector.analyses.slot_contexts import ReadContext

_TRIGGERS, _FACTS = 200, 500  # rows shown
_NEEDS_SCAN = "Known after a scan: start one above."


def study(view: SlotView, reads: Pass | None) -> slot_cache.SlotStudy | None:
    """What the index of reads says of this slot; None while there is none."""
    index: ReadIndex | None = None if reads is None else reads.result()
    if index is None or view.usage is None:
        return None
    return slot_cache.study(view.opened, view.usage, index, view.report.table, view.address.slot)


def contexts(view: SlotView) -> None:
    """Its strongest reads, and reads drawn from each quarter of all of them."""
    st.subheader(
        "Where it fires",
        anchor=False,
        help="The four strongest reads of the scan by |coefficient|, and reads drawn at random "
        "from each quarter of all its reads, so that the weak ones are seen, too. Contexts are "
        "distinct: a text that came again isn't shown again. The quarters are those of a uniform "
        "random sample of 12 of its reads, drawn with the scan's seed.",
    )
    if view.usage is None:
        st.caption(_NEEDS_SCAN)
        return
    if not view.report.contexts:
        st.caption("No read of it was seen in the scan.")
        return
    context_list([context_row(view, each) for each in view.report.contexts], key="slot contexts")
    st.caption("All but the strongest are drawn at random with the scan's seed.")


def context_row(view: SlotView, context: ReadContext) -> ContextRow:
    """One read in its text."""
    text = view.opened.model.token_text
    return ContextRow(
        context.kind,
        f"{context.site}·H{context.head}",
        context.coefficient,
        [text(token) for token in context.prefix[:-1]],
        text(context.prefix[-1]),
        [text(token) for token in context.following],
    )


def sampled(index: ReadIndex) -> str:
    """On what the index stands, in words."""
    if index.complete:
        return f"Over all {index.scanned:,} tokens scanned, {len(index.token):,} distinct contexts."
    return (
        f"Over {index.sampled:,} of {index.scanned:,} tokens scanned, drawn at random in whole "
        f"texts (seed {index.seed}): {len(index.token):,} distinct contexts."
    )


def triggers(view: SlotView, reads: Pass | None, study: slot_cache.SlotStudy | None) -> None:
    """Tokens that set it off, by how often it's read where they occur."""
    st.subheader(
        "What sets it off",
        anchor=False,
        help="Of all distinct contexts that end with the token, the share at which any head of "
        "any site reads the slot. Ranked by the lower end of the 95 % interval of that share "
        "(Wilson), so that a token seen once doesn't come first.",
    )
    if reads is None:
        st.caption(_NEEDS_SCAN)
        return
    if not reads.show():
        return
    if study is None:  # the pass ended while the page was being drawn
        st.rerun()
    frame = trigger_frame(view, study)
    if not len(frame):
        st.caption("It was not read in the sample.")
    else:
        st.dataframe(
            frame.head(_TRIGGERS),
            hide_index=True,
            key="slot triggers",
            height=450,
            column_config={
                "rate": st.column_config.ProgressColumn(
                    "read at", format="percent", min_value=0, max_value=1
                ),
                "at_least": st.column_config.NumberColumn("at least", format="percent"),
                "reads": st.column_config.NumberColumn("times", format="localized"),
                "occurrences": st.column_config.NumberColumn("of", format="localized"),
                "share": st.column_config.NumberColumn(
                    "share", format="percent", help="Of all contexts that read the slot."
                ),
            },
        )
    st.caption(sampled(reads.result()))


def trigger_frame(view: SlotView, study: slot_cache.SlotStudy) -> pd.DataFrame:
    """Tokens that set it off, as they are shown."""
    frame = study.triggers.to_frame(view.opened.model.token_text)
    frame["token"] = [visible_text(token) for token in frame["token"]]
    return frame[["token", "rate", "reads", "occurrences", "at_least", "share"]]


def weights(study: slot_cache.SlotStudy | None) -> None:
    """How strongly it's read, on a log scale, beside all reads of its table."""
    from inspector.figures.slot import weight_figure

    st.subheader(
        "How strongly",
        anchor=False,
        help="Density of the |coefficients| of its reads in distinct contexts, on a log scale, "
        "beside that of all reads of its table, from the same sample of the scanned text.",
    )
    if study is None:
        st.caption("Known once its reads are found.")
    elif not len(study.reads.token):
        st.caption("It was not read in the sample.")
    else:
        st.plotly_chart(
            weight_figure(study.reads.coefficient, study.every),
            key="slot weights",
            config={"displayModeBar": False},
        )


def ablation(study: slot_cache.SlotStudy | None) -> None:
    """What its ablation does where it's read, against reads that fired as well."""
    st.subheader(
        "What it does",
        anchor=False,
        help="How far the next-token prediction moves (KL from the intact model's) when the slot "
        "is ablated at all sites of its table, at every position of the text. zero: its reads' "
        "coefficients become 0, the other weights stay. mask: it is removed before the top k, "
        "others take its place. strongest: the contexts that read it most strongly; random: others "
        "that read it; another read: the strongest contexts, but another slot that fired at the "
        "same token and site is ablated instead, the one whose contribution is nearest in norm.",
    )
    if study is None:
        st.caption("Known once its reads are found.")
        return
    from inspector.figures.slot import ablation_figure

    frame = study.ablation.to_frame()
    if not len(frame):
        st.caption("It was not read in the sample: ablating it would change nothing.")
        return
    st.plotly_chart(
        ablation_figure(study.ablation), key="slot ablation", config={"displayModeBar": False}
    )
    st.dataframe(
        frame[["group", "ablation", "contexts", "kl", "with_next", "change"]],
        hide_index=True,
        key="slot ablation table",
        column_config={
            "kl": st.column_config.NumberColumn("mean KL", format="%.4f"),
            "with_next": st.column_config.NumberColumn("with a next"),
            "change": st.column_config.NumberColumn(
                "Δ log p of it",
                format="%+.4f",
                help="Mean change in the log-probability of the token that really follows, in "
                "nats, where one does.",
            ),
        },
    )
    st.caption(control_note(study))


def control_note(study: slot_cache.SlotStudy) -> str:
    """On what the ablation acts, and how well its control is matched."""
    acts = f"Ablated at {', '.join(study.ablation.sites)}."
    ratio = study.ablation.norm_ratio
    if math.isnan(ratio):
        return f"{acts} There was no other read to hold it against."
    return f"{acts} The other reads' contributions have {ratio:.2f} of the norm of its own."


def facts(view: SlotView, asked: Pass | None) -> None:
    """Facts that read it where their answer is due, and whose answer it promotes."""
    st.subheader(
        "Facts whose answer it carries",
        anchor=False,
        help="Every fact of the checkpoint is asked once, in its first phrasing. Shown are those "
        "that read the slot at the position that predicts the answer, and whose answer it "
        "promotes: its reads' direct effect on the answer's first token, against the mean of the "
        "vocabulary, is above 0. In logits, the rms held fixed; effects through later layers are "
        "not in it.",
    )
    if asked is None:
        st.caption("This checkpoint ships no facts.")
        return
    if not asked.show():
        return
    found: FactReads = asked.result()
    reading = found.of_slot(view.report.table, view.address.slot)
    carried = fact_frame(found, view)
    reads_it = f"{len(reading):,} of {len(found.facts):,} facts read it there"
    if len(reading) and reading["effect"].isna().all():
        st.caption(f"{reads_it}; what single reads add to an answer is not known for this model.")
    else:
        st.caption(f"{reads_it}; it promotes the answer of {len(carried):,}.")
    if len(carried):
        st.dataframe(
            carried.head(_FACTS),
            hide_index=True,
            key="slot facts",
            height=520,
            column_config={
                "object": "answer",
                "effect": st.column_config.ProgressColumn(
                    "effect, logits",
                    format="%.2f",
                    min_value=0,
                    max_value=float(carried["effect"].max()),
                ),
                "coefficient": st.column_config.NumberColumn(format="%.3f"),
                "place": "read by",
                "probability": st.column_config.NumberColumn("p(answer)", format="percent"),
            },
        )


def fact_frame(found: FactReads, view: SlotView) -> pd.DataFrame:
    """Facts whose answer the slot promotes, strongest effect first."""
    reading = found.of_slot(view.report.table, view.address.slot)
    shown = ["relation", "subject", "object", "effect", "probability", "place", "coefficient"]
    return reading.loc[reading["effect"] > 0, shown]
