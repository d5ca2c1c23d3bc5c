"""What the trace page is made of: one text, one selected token, one site, one slot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from inspector.errors import NotShown
from inspector.ui import cache, state
from inspector.ui.cache import UNEDITED, Edited, Opened
from inspector.ui.components import (
    prediction_bars,
    sentence,
    token_strip,
    visible_text,
)

if TYPE_CHECKING:
    from inspector.analyses.direct_effect import DirectEffect
    from inspector.capture.trace import Trace

PROBABILITY, ENTROPY, WEIGHT = "probability", "entropy", "weight on slot"
_LISTED = 12  # predictions shown
MEAN = -1  # see ``direct_effect.MEAN``, which isn't imported before a model is open
_MEASURES = {
    PROBABILITY: "Probability of this token given the text before it",
    ENTROPY: "Entropy of the prediction after this token, in nats",
    WEIGHT: "Summed weight of the selected memory layer's reads of the selected slot at this token",
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
    effect: DirectEffect  # on ``contrast``; without parts where the logits can't be split
    contrast: tuple[str, str]  # the token explained, and the one it's held against
    edited: Edited = UNEDITED  # what acted on the pass

    @property
    def token(self) -> str:
        """Text of the selected token."""
        return self.trace.tokens[self.pos]


def look(opened: Opened, text: str, more: int, edited: Edited = UNEDITED) -> View:
    """Trace ``text``, as ``edited``, and explain the prediction after the selected token.

    Raises:
        PromptError: the text cannot be read.
    """
    trace, length = cache.traced(opened, text, more, edited)
    last = trace.ids.shape[1] - 1
    asked = state.read_number(state.POS)
    pos = min(length - 1, last) if asked is None else min(max(asked, 0), last)
    token, against = _contrast(trace, pos)
    try:
        effect = cache.explained(opened, text, more, pos, token, against, edited)
    except NotShown:  # of this model not all parts are known
        effect = _unexplained(trace, pos, token, against)
    held = "the mean of all tokens" if against == MEAN else opened.model.token_text(against)
    contrast = (opened.model.token_text(token), held)
    return View(opened, text, more, trace, length, pos, effect, contrast, edited)


def _unexplained(trace: Trace, pos: int, token: int, against: int) -> DirectEffect:
    """The lead alone, split over nothing."""
    from inspector.analyses.direct_effect import DirectEffect

    logits = trace.logits[0, pos].double()
    other = logits.mean() if against == MEAN else logits[against]
    return DirectEffect(pos, token, against, (), {}, float(logits[token] - other), 0.0)


def worth(view: View, site: str) -> np.ndarray:
    """What ranks a site's reads here, ``[head knn]``: their direct effects; else coefficients."""
    if site in view.effect.reads:
        return view.effect.reads[site]
    return view.trace.reads[site].coefficients[0, view.pos].abs().double().cpu().numpy()


def _contrast(trace: Trace, pos: int) -> tuple[int, int]:
    """The token explained and the one it's held against: as asked, else the best two."""
    size = trace.logits.shape[-1]
    best = trace.logits[0, pos].topk(min(2, size)).indices.tolist()
    asked = state.read_number(state.TOKEN)
    token = asked if asked is not None and 0 <= asked < size else best[0]
    if state.read(state.AGAINST) == "mean":
        return token, MEAN
    return token, next((other for other in best if other != token), MEAN)


def chosen_site(view: View) -> str:
    """The memory layer asked for, else the one whose reads have the largest effect."""
    names = list(view.trace.sites)
    asked = state.read(state.SITE)
    if asked in names:
        return asked
    known = [name for name in names if name in view.effect.reads] or names[:1]
    return max(known, key=lambda n: float(worth(view, n).sum()))


def chosen_slot(view: View, site: str) -> int:
    """The slot asked for, else that of the site's read with the largest effect."""
    asked = state.read_number(state.SLOT)
    if asked is not None and 0 <= asked < view.trace.sites[site].slots:
        return asked
    strongest = int(worth(view, site).argmax())
    return int(view.trace.reads[site].slots[0, view.pos].flatten()[strongest])


def strip(view: View) -> None:
    """The text as tokens, coloured by a measure; a click selects one."""
    offered = [name for name in _MEASURES if name != WEIGHT or view.trace.sites]
    asked = state.read(state.MEASURE)
    measure = asked if asked in offered else PROBABILITY
    kept: dict[str, str | int | None] = {"slot": None}
    named = measure
    if measure == WEIGHT:  # the slot is what the colours are about: another token keeps it
        site = chosen_site(view)
        slot = chosen_slot(view, site)
        kept = {"slot": slot, "site": site}
        named = f"weight on {view.trace.sites[site].address(slot)}"
    values, top = _measured(view, measure, kept)
    tips = []
    for pos, token in enumerate(view.trace.tokens):
        unknown = np.isnan(values[pos])
        shown = "nothing predicts the first token" if unknown else f"{values[pos]:.3g}"
        then = ", ".join(f"{visible_text(t)} {p:.1%}" for t, p in view.trace.top[0][pos][:3])
        tips.append(f"{visible_text(token)}  (position {pos})\n{named}: {shown}\nthen: {then}")
    intensities = np.nan_to_num(np.clip(values / top, 0, 1))
    token_strip(
        view.trace.tokens,
        intensities.tolist(),
        tips,
        key="strip",
        selected=view.pos,
        prompt_length=view.prompt_length if view.more else None,
        on_select=lambda pos: state.write(pos=pos, token=None, **kept),
    )
    _measure_picker(measure, offered)


def _measured(
    view: View, measure: str, chosen: Mapping[str, str | int | None]
) -> tuple[np.ndarray, float]:
    """Values ``[pos]`` and what counts as full intensity."""
    from inspector.analyses import token_measures

    if measure == ENTROPY:
        return token_measures.entropy(view.trace), float(np.log(view.trace.logits.shape[-1]))
    if measure == WEIGHT:
        values = token_measures.weight_on_slot(
            view.trace, int(chosen["slot"] or 0), str(chosen["site"])
        )
        return values, max(float(values.max()), 1e-9)
    return token_measures.next_token_probability(view.trace), 1.0


def _measure_picker(measure: str, offered: list[str]) -> None:
    key = "measure picker"
    st.session_state[key] = measure
    st.segmented_control(
        "Colour tokens by",
        offered,
        key=key,
        required=True,
        on_change=lambda: state.write(measure=st.session_state[key]),
        help="  \n".join(f"**{name}**: {_MEASURES[name]}." for name in offered),
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
        token, held = view.contrast
        parts += [". The lead of ", (token, "token"), " over ", (held, _kind(view)), " is "]
        parts += [(_signed(view.effect.total), "strong"), " logits; the memory's reads at this "]
        parts += ["token add ", (_signed(total), "strong"), " of them directly."]
        if whole := [name for name, site in view.trace.sites.items() if not site.additive]:
            parts.append(f" What {', '.join(whole)} wrote is no sum over reads, and not in it.")
    sentence(parts, key="headline")


def _signed(logits: float) -> str:
    return f"{round(logits, 1) + 0.0:+.1f}"  # adding 0.0 takes the sign off a rounded -0.0


def predictions(view: View) -> None:
    """The most probable next tokens."""
    st.subheader("Predicted next", anchor=False, help="The most probable tokens after this one.")
    chances = view.trace.logits[0, view.pos].float().softmax(-1)
    best = chances.topk(min(_LISTED, len(chances)))
    texts = [view.opened.model.token_text(token) for token in best.indices.tolist()]
    prediction_bars(list(zip(texts, best.values.tolist(), strict=True)), key="predictions")
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


def _kind(view: View) -> str:
    return "text" if view.effect.against == MEAN else "token"


def downloads(view: View) -> None:
    """Everything above as CSV."""
    files: dict[str, tuple[str, Callable[[], pd.DataFrame]]] = {
        "Predictions": ("predictions.csv", lambda: _predictions_frame(view)),
    }
    if view.effect.parts:
        files["Direct effects"] = ("direct_effects.csv", view.effect.to_frame)
    if view.trace.sites:
        files = {"All reads": ("reads.csv", view.trace.to_frame), **files}
    with st.container(horizontal=True):
        for label, (name, make) in files.items():
            st.download_button(
                f"{label} (CSV)",
                partial(_csv, make),
                file_name=name,
                mime="text/csv",
                on_click="ignore",
                key=f"download {name}",
            )


def _csv(make: Callable[[], pd.DataFrame]) -> bytes:
    return make().to_csv(index=False).encode()


def _predictions_frame(view: View) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"pos": pos, "token": token, "rank": rank, "prediction": text, "probability": chance}
            for pos, token in enumerate(view.trace.tokens)
            for rank, (text, chance) in enumerate(view.trace.top[0][pos])
        ]
    )
