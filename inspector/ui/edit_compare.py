"""A text as the model is and as this session's edits make it, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from inspector.ui import edit_cache, state
from inspector.ui.cache import Edited, Opened
from inspector.ui.components import prediction_bars, sentence, token_strip, visible_text

if TYPE_CHECKING:
    from inspector.analyses.side_by_side import SideBySide
    from inspector.ui.trace_view import View

_WRITE_ON = 12
_HELP = (
    "Both passes read the same tokens. They are coloured by how far the edits move the prediction "
    "after them: KL of the next-token distribution, original against edited, in nats."
)


def of_trace(view: View) -> None:
    """On the trace page, where all below is traced as edited."""
    st.subheader("Original and edited", anchor=False, help=_HELP)
    found = edit_cache.both(view.opened, view.text, view.more, view.edited)
    sentence(headline(found, view.pos), key="edits headline")
    _predictions(found, view.pos)
    st.caption("The edits at the left are on: all below is the edited model.")


def of_text(opened: Opened, text: str, edited: Edited) -> None:
    """Predictions, what each writes, and the tokens where the edits matter.

    Raises:
        PromptError: the text cannot be read.
    """
    found = edit_cache.both(opened, text, 0, edited)
    last = len(found.original.tokens) - 1
    asked = state.read_number(state.POS)
    pos = asked if asked is not None and 0 <= asked <= last else last
    sentence(headline(found, pos), key="edits headline")
    _strip(found, pos)
    _predictions(found, pos)
    written = edit_cache.written(opened, text, edited, _WRITE_ON)
    for column, (name, said) in zip(
        st.columns(2),
        (("Original writes", written.original), ("Edited writes", written.edited)),
        strict=True,
    ):
        column.caption(f"{name}, each token the most probable one")
        column.code(said.strip() or "∅", language=None, wrap_lines=True)
    _table(found)


def headline(found: SideBySide, pos: int) -> list[str | tuple[str, str]]:
    """What the edits do to the prediction at ``pos``, and how many others they change."""
    (first, before), (second, after) = (
        each.top[0][pos][0] for each in (found.original, found.edited)
    )
    changed = int(found.changed.sum())
    parts: list[str | tuple[str, str]] = ["After ", (found.original.tokens[pos], "token")]
    parts += [" the model says ", (first, "token"), (f" {before:.1%}", "strong"), "; edited, "]
    parts += [(second, "token"), (f" {after:.1%}", "strong"), ". The best prediction changes at "]
    return [*parts, (f"{changed} of {len(found.kl)}", "strong"), " tokens."]


def _strip(found: SideBySide, pos: int) -> None:
    top = float(found.kl.max()) or 1.0
    tips = [
        f"{visible_text(token)}  (position {place})\nKL {found.kl[place]:.3g} nats"
        for place, token in enumerate(found.original.tokens)
    ]
    token_strip(
        found.original.tokens,
        (found.kl / top).tolist(),
        tips,
        key="edits strip",
        selected=pos,
        height=160,
        on_select=lambda place: state.write(pos=place),
    )


def _predictions(found: SideBySide, pos: int) -> None:
    for column, (name, trace) in zip(
        st.columns(2), (("Original", found.original), ("Edited", found.edited)), strict=True
    ):
        with column:
            st.markdown(f"**{name}**")
            prediction_bars(trace.top[0][pos], key=f"edits {name}", label=f"{name} predictions")


def _table(found: SideBySide) -> None:
    frame = found.to_frame()
    for name in ("token", "original", "edited"):
        frame[name] = [visible_text(text) for text in frame[name]]
    shares = {
        name: st.column_config.NumberColumn(label, format="percent")
        for name, label in (
            ("original_probability", "its p"),
            ("edited_probability", "its p "),
            ("next_before", "p(next) before"),
            ("next_after", "p(next) after"),
        )
    }
    with st.expander("All tokens as a table"):
        st.dataframe(
            frame,
            hide_index=True,
            key="edits table",
            column_config={**shares, "kl": st.column_config.NumberColumn("KL", format="%.4f")},
        )
