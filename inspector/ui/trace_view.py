"""What the trace page is made of: one text, one selected token, one site, one slot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from inspector.ui import cache, state
from inspector.ui.cache import Opened
from inspector.ui.components import (
    GridRead,
    ReadRow,
    key_grid,
    prediction_bars,
    read_table,
    sentence,
    token_strip,
    visible_text,
)

if TYPE_CHECKING:
    from inspector.analyses.direct_effect import DirectEffect
    from inspector.capture.trace import Trace
    from inspector.families.base import SiteInfo

PROBABILITY, ENTROPY, WEIGHT = "probability", "entropy", "weight on slot"
_MEASURES = {
    PROBABILITY: "Probability of this token given the text before it",
    ENTROPY: "Entropy of the prediction after this token, in nats",
    WEIGHT: "Summed weight of all reads of the selected slot at this token",
}


@dataclass(frozen=True, eq=False)
class View:
    """One text as the page shows it: the trace, the selected position and its explanation."""

    opened: Opened
    text: str
    more: int
    trace: Trace
    prompt_length: int
    pos: int
    effect: DirectEffect  # top prediction against the runner-up
    against: tuple[str, str]  # texts of the two

    @property
    def token(self) -> str:
        """Text of the selected token."""
        return self.trace.tokens[self.pos]


@dataclass(frozen=True, eq=False)
class SiteReads:
    """One site's reads at the selected token, with what each is worth and says."""

    site: SiteInfo
    rows: tuple[ReadRow, ...]  # in the order of head, then rank
    p_values: np.ndarray  # of the decodings in context

    def of_slot(self, slot: int) -> list[ReadRow]:
        """The reads of one slot."""
        return [row for row in self.rows if row.slot == slot]


def look(opened: Opened, text: str, more: int) -> View:
    """Trace ``text`` and explain the prediction after the selected token.

    Raises:
        PromptError: the text cannot be read.
    """
    trace, length = cache.traced(opened, text, more)
    last = trace.ids.shape[1] - 1
    asked = state.read_number(state.POS)
    pos = min(length - 1, last) if asked is None else min(max(asked, 0), last)
    best, runner_up = trace.logits[0, pos].topk(2).indices.tolist()
    effect = cache.explained(opened, text, more, pos, best, runner_up)
    texts = (opened.model.token_text(best), opened.model.token_text(runner_up))
    return View(opened, text, more, trace, length, pos, effect, texts)


def strip(view: View) -> None:
    """The text as tokens, coloured by a measure; a click selects one."""
    asked = state.read(state.MEASURE)
    measure = asked if asked in _MEASURES else PROBABILITY
    slot = state.read_number(state.SLOT)
    values, top = _measured(view, measure, slot)
    tips = []
    for pos, token in enumerate(view.trace.tokens):
        unknown = np.isnan(values[pos])
        shown = "nothing predicts the first token" if unknown else f"{values[pos]:.3g}"
        then = ", ".join(f"{visible_text(t)} {p:.1%}" for t, p in view.trace.top[0][pos][:3])
        tips.append(f"{visible_text(token)}  (position {pos})\n{measure}: {shown}\nthen: {then}")
    intensities = np.nan_to_num(np.clip(values / top, 0, 1))
    token_strip(
        view.trace.tokens,
        intensities.tolist(),
        tips,
        key="strip",
        selected=view.pos,
        prompt_length=view.prompt_length if view.more else None,
        on_select=lambda pos: state.write(pos=pos, slot=None),
    )
    _measure_picker(measure)


def _measured(view: View, measure: str, slot: int | None) -> tuple[np.ndarray, float]:
    """Values ``[pos]`` and what counts as full intensity."""
    from inspector.analyses import token_measures

    if measure == ENTROPY:
        return token_measures.entropy(view.trace), float(np.log(view.trace.logits.shape[-1]))
    if measure == WEIGHT:
        site = state.read(state.SITE)
        values = token_measures.weight_on_slot(
            view.trace, -1 if slot is None else slot, site if site in view.trace.sites else None
        )
        return values, max(float(values.max()), 1e-9)
    return token_measures.next_token_probability(view.trace), 1.0


def _measure_picker(measure: str) -> None:
    key = "measure picker"
    st.session_state[key] = measure
    st.segmented_control(
        "Colour tokens by",
        list(_MEASURES),
        key=key,
        required=True,
        on_change=lambda: state.write(measure=st.session_state[key]),
        help="  \n".join(f"**{name}**: {text}." for name, text in _MEASURES.items()),
        label_visibility="collapsed",
    )


def headline(view: View) -> None:
    """The answer in one sentence."""
    best, probability = view.trace.top[0][view.pos][0]
    parts: list[str | tuple[str, str]] = ["After ", (view.token, "token"), " the model says "]
    parts += [(best, "token"), (f" {probability:.1%}", "strong")]
    memory = [part for part in view.effect.parts if part.kind == "reads"]
    if memory:
        total = sum(part.effect for part in memory)
        parts += [" rather than ", (view.against[1], "token"), ". Its lead is "]
        parts += [(f"{view.effect.total:+.1f}", "strong"), " logits, and what the memory reads at "]
        parts += ["this token adds to it directly is ", (f"{total:+.1f}", "strong"), "."]
    sentence(parts, key="headline")


def predictions(view: View) -> None:
    """The most probable next tokens."""
    st.subheader("Predicted next", anchor=False, help="The most probable tokens after this one.")
    prediction_bars(view.trace.top[0][view.pos], key="predictions")
    _token_figures(view)


def _token_figures(view: View) -> None:
    """How sure the model was, and how it judged the token that really follows."""
    from inspector.analyses import token_measures

    entropy = float(token_measures.entropy(view.trace)[view.pos])
    given = token_measures.next_token_probability(view.trace)
    following = view.pos + 1
    left, right = st.columns(2)
    left.metric(
        "Entropy",
        f"{entropy:.2f} nats",
        help="Of the prediction after this token: 0 where the model is certain, "
        f"{np.log(view.trace.logits.shape[-1]):.1f} where it has no idea.",
    )
    right.metric(
        "Actual next token",
        f"{given[following]:.1%}" if following < len(given) else "none yet",
        help="Probability the model gave to the token that really follows in the text.",
    )


def effects(view: View) -> None:
    """Direct effect of every part on the lead of the best prediction over the runner-up."""
    from inspector.figures.direct_effect import direct_effect_figure

    st.subheader(
        "Who wrote it",
        anchor=False,
        help="Direct effect of each part on the logit of the best prediction less that of the "
        "runner-up: what it wrote to the residual stream, through the final norm (its rms held "
        "fixed) and the unembedding. Memory reads are shown in full colour. Effects through later "
        "layers are not in it.",
    )
    sentence(
        [
            (view.against[0], "token"),
            " over ",
            (view.against[1], "token"),
            f": the bars sum to {view.effect.total:+.3f} logits (off by {view.effect.error:.0e}).",
        ],
        key="contrast",
    )
    st.plotly_chart(
        direct_effect_figure(view.effect), key="effects", config={"displayModeBar": False}
    )


def pick_site(view: View) -> str:
    """The memory layer to look into: the one that adds most to the prediction, unless chosen."""
    names = list(view.trace.sites)
    by_effect = {name: float(view.effect.reads[name].sum()) for name in names}
    asked = state.read(state.SITE)
    site = asked if asked in names else max(names, key=lambda name: by_effect[name])
    key = "site picker"
    st.session_state[key] = site
    st.segmented_control(
        "Memory layer",
        names,
        key=key,
        required=True,
        format_func=lambda name: f"{name}   {by_effect[name]:+.2f}",
        on_change=lambda: state.write(site=st.session_state[key], slot=None),
        help="The memory layers, named after their block, with the direct effect of each one's "
        "reads at this token. The one with the largest is opened unless you choose.",
    )
    return site


def site_reads(view: View, name: str) -> SiteReads:
    """All reads of a site at the selected token."""
    site = view.trace.sites[name]
    reads, pos = view.trace.reads[name], view.pos
    decoding = cache.decoded_reads(view.opened, view.text, view.more, pos, name)
    frame = decoding.to_frame()
    scores = reads.scores[0, pos].flatten().tolist()
    weights = reads.weights[0, pos].flatten().tolist()
    effects = view.effect.reads[name].flatten().tolist()
    share = sum(abs(weight) for weight in weights) or 1.0
    rows = []
    for number, slot in enumerate(decoding.slots.tolist()):
        head = number // site.knn
        rows.append(
            ReadRow(
                address=site.address(slot, head),
                site=name,
                head=head,
                slot=slot,
                score=scores[number],
                weight=weights[number],
                share=abs(weights[number]) / share,
                effect=effects[number],
                promoted=_pairs(frame, number, "promoted"),
                suppressed=_pairs(frame, number, "suppressed"),
                quality=float(decoding.standing[number]),
            )
        )
    return SiteReads(site, tuple(rows), decoding.p_value)


def _pairs(frame, number: int, side: str) -> tuple[tuple[str, float], ...]:  # type: ignore[no-untyped-def]
    tokens, logits = frame[side][number], frame[f"{side}_logits"][number]
    return tuple(zip(tokens, logits, strict=True))


def pick_slot(reads: SiteReads) -> int:
    """The slot of the view: the one asked for, else that of the read with the largest effect."""
    asked = state.read_number(state.SLOT)
    if asked is not None and 0 <= asked < reads.site.slots:
        return asked
    return max(reads.rows, key=lambda row: row.effect or 0.0).slot


def grid(view: View, reads: SiteReads, slot: int) -> None:
    """The n x n keys with this token's reads on them."""
    site = reads.site
    st.subheader(
        "Keys read",
        anchor=False,
        help="Every product key (i, j) of this memory layer: half-key i of set 1 down, half-key j "
        "of set 2 across. Dots are this token's reads, larger with weight, coloured by head; the "
        "bars at the edges sum the weights per half-key.",
    )
    marks = [
        GridRead(row.slot, row.weight or 0.0, row.head or 0, _grid_label(row)) for row in reads.rows
    ]
    key_grid(
        marks,
        key=f"grid {site.name}",
        n=site.half_keys,
        height=520,
        selected_slot=slot,
        group_names={head: f"H{head}" for head in range(site.heads)},
        on_select=lambda chosen: state.write(slot=chosen, site=site.name),
    )


def _grid_label(row: ReadRow) -> str:
    promoted = " ".join(visible_text(token) for token, _ in row.promoted[:3])
    return f"{row.address}\nweight {row.weight:.3f}\npromotes {promoted}"


def table(view: View, reads: SiteReads, slot: int) -> None:
    """All reads of the site at this token."""
    st.subheader(f"Reads of {reads.site.name} at this token", anchor=False)
    chosen = next((number for number, row in enumerate(reads.rows) if row.slot == slot), None)
    read_table(
        reads.rows,
        key=f"reads {reads.site.name}",
        selected=chosen,
        on_select=lambda number: state.write(slot=reads.rows[number].slot, site=reads.site.name),
        helps={
            "effect": "Direct effect on the lead of the best prediction over the runner-up, in "
            "logits. Right: promotes. Left: suppresses.",
            "share": "Of all weight this site gave out at this token, over its heads.",
            "promoted": "What the value says in context: through this token's own gate.",
            "quality": "Top logit of the decoding in standard deviations over the vocabulary.",
        },
    )


def downloads(view: View) -> None:
    """Everything above as CSV."""
    files = {
        "All reads": ("reads.csv", view.trace.to_frame),
        "Predictions": ("predictions.csv", lambda: _predictions_frame(view)),
        "Direct effects": ("direct_effects.csv", view.effect.to_frame),
    }
    with st.container(horizontal=True):
        for label, (name, make) in files.items():
            st.download_button(
                f"{label} (CSV)",
                lambda make=make: make().to_csv(index=False).encode(),
                file_name=name,
                mime="text/csv",
                on_click="ignore",
                key=f"download {name}",
            )


def _predictions_frame(view: View):  # type: ignore[no-untyped-def]
    import pandas as pd

    return pd.DataFrame(
        [
            {"pos": pos, "token": token, "rank": rank, "prediction": text, "probability": chance}
            for pos, token in enumerate(view.trace.tokens)
            for rank, (text, chance) in enumerate(view.trace.top[0][pos])
        ]
    )
