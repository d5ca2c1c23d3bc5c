"""Who wrote a prediction: the direct effects of all parts on the lead of one token."""

from __future__ import annotations

from collections import Counter

import streamlit as st

from inspector.ui import state
from inspector.ui.components import visible_text
from inspector.ui.trace_view import MEAN, View


def show(view: View) -> None:
    """Direct effect of every part on the lead of the best prediction over the runner-up."""
    from inspector.figures.direct_effect import direct_effect_figure

    st.subheader(
        "Who wrote it",
        anchor=False,
        help="Direct effect of each part on the lead of one token over another: what it wrote to "
        "the residual stream, through the final norm (its rms held fixed) and the unembedding. "
        "Memory reads are shown in full colour. Effects through later layers are not in it.",
    )
    if not view.effect.parts:
        st.text(
            "Not all parts of this model that write to its residual stream could be told apart, "
            "so its logits cannot be split over them. Ablation measures what a read does."
        )
        return
    _contrast_picker(view)
    st.plotly_chart(
        direct_effect_figure(view.effect), key="effects", config={"displayModeBar": False}
    )


def _labels(view: View, tokens: list[int]) -> dict[int, str]:
    """What the picker calls each token; it goes by the name, so no two may share one."""
    texts = {token: visible_text(view.opened.model.token_text(token)) for token in tokens}
    shared = Counter(texts.values())
    return {t: text if shared[text] == 1 else f"{text}  #{t}" for t, text in texts.items()}


def _contrast_picker(view: View) -> None:
    """Which token is explained, and against what."""
    best = view.trace.logits[0, view.pos].topk(5).indices.tolist()
    following = view.trace.ids[0, view.pos + 1 : view.pos + 2].tolist()
    tokens = list(dict.fromkeys([*best, *following, view.effect.token]))
    labels = _labels(view, tokens)
    st.session_state["token picker"] = view.effect.token
    st.session_state["against picker"] = "mean" if view.effect.against == MEAN else "runner-up"
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    left.selectbox(
        "Token explained",
        tokens,
        key="token picker",
        format_func=lambda token: labels[token],
        on_change=lambda: state.write(token=st.session_state["token picker"]),
        help="The best five predictions, and the token that really follows.",
    )
    right.segmented_control(
        "Held against",
        ["runner-up", "mean"],
        key="against picker",
        required=True,
        on_change=lambda: state.write(
            against="mean" if st.session_state["against picker"] == "mean" else None
        ),
        help="The best other prediction, or the mean logit of the whole vocabulary: what all "
        "tokens share cancels either way.",
    )
    st.caption(
        f"All bars sum to {view.effect.total:+.3f} logits (off by {view.effect.error:.0e}).",
    )
