"""Any text tried on the slot of the page: where it fires, how near it comes, what it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from inspector.errors import PromptError
from inspector.ui import frame, prompt, slot_cache, state
from inspector.ui.components import sentence, token_strip, visible_text
from inspector.ui.slot_page import SlotView

if TYPE_CHECKING:
    from inspector.analyses.slot_trial import SlotTrial

_INTENSITY_OF_A_MISS = 0.0


def show(view: SlotView) -> None:
    """The box, the text's tokens, and the slot at the one selected."""
    st.subheader(
        "Try a text on it",
        anchor=False,
        help="Tokens that read the slot are coloured by the summed |coefficient| of those reads. "
        "Select a token to see how the slot stood in every lookup there: its rank among all slots, "
        "and how far its score is below that of the last one read.",
    )
    text = prompt.one_line(view.opened, key="slot try", button="Try")
    try:
        trial = slot_cache.tried(view.opened, text, view.report.table, view.address.slot)
    except PromptError as error:
        frame.problem("This text cannot be tried.", error)
        return
    pos = _selected(trial)
    _strip(trial, pos)
    sentence(verdict(view, trial), key="slot try verdict")
    lookups, changes = st.columns([3, 2])
    with lookups:
        _lookups(trial, pos)
    with changes:
        _changes(view, trial, pos)


def _selected(trial: SlotTrial) -> int:
    """The token asked for, else the one that reads the slot most, else the nearest miss."""
    asked = state.read_number(state.POS)
    if asked is not None and 0 <= asked < len(trial.ids):
        return asked
    if trial.read.any():
        return int(trial.weight.argmax())
    miss = trial.nearest_miss()
    return len(trial.ids) - 1 if miss is None else miss[0]


def _strip(trial: SlotTrial, pos: int) -> None:
    weight = trial.weight
    top = float(weight.max()) or 1.0
    ranks = np.min([site.ranks.min(-1) for site in trial.sites.values()], axis=0)
    tips = [
        f"{visible_text(token)}  (position {place})\n"
        + (
            f"read, summed |coefficient| {weight[place]:.3f}"
            if trial.read[place]
            else f"not read; rank {ranks[place]:,} at best"
        )
        for place, token in enumerate(trial.tokens)
    ]
    intensities = np.where(trial.read, np.maximum(weight / top, 0.15), _INTENSITY_OF_A_MISS)
    token_strip(
        trial.tokens,
        intensities.tolist(),
        tips,
        key="slot try strip",
        selected=pos,
        height=160,
        on_select=lambda place: state.write(pos=place),
    )


def verdict(view: SlotView, trial: SlotTrial) -> list[str | tuple[str, str]]:
    """Where the text reads the slot, or how near it comes, as parts of a sentence."""
    at = np.flatnonzero(trial.read)
    if len(at):
        kl = trial.removed["zero"].kl
        worst = int(kl.argmax())
        tokens = f"{len(at)} of {len(trial.ids)} tokens read it"
        parts: list[str | tuple[str, str]] = [(tokens, "strong"), ", most strongly "]
        parts += [(trial.tokens[int(trial.weight.argmax())], "token"), ". Zeroing it moves the "]
        parts += ["prediction after ", (trial.tokens[worst], "token"), " most: KL "]
        return [*parts, (f"{kl[worst]:.3g} nats", "strong"), "."]
    miss = trial.nearest_miss()
    assert miss is not None
    pos, name, head = miss
    site = trial.sites[name]
    knn = view.opened.model.site(name).info.knn
    parts = [("No token reads it", "strong"), ". It comes nearest at "]
    parts += [(trial.tokens[pos], "token"), f", where {name}·H{head} ranks it "]
    parts += [(f"{site.ranks[pos, head]:,}", "strong"), f" of which the best {knn} are read, "]
    return [*parts, f"{site.gaps[pos, head]:.3f} below the last of them in score."]


def _lookups(trial: SlotTrial, pos: int) -> None:
    rows = trial.to_frame()
    rows = rows[rows["pos"] == pos].drop(columns=["pos", "token"])
    st.markdown("**How it stood at the selected token**")
    st.dataframe(
        rows.sort_values("rank"),
        hide_index=True,
        key="slot try lookups",
        height=300,
        column_config={
            "rank": st.column_config.NumberColumn(format="localized"),
            "score": st.column_config.NumberColumn(format="%.3f"),
            "to_beat": st.column_config.NumberColumn(
                "last read", format="%.3f", help="Score of the k-th best slot, the last one read."
            ),
            "short_by": st.column_config.NumberColumn("short by", format="%.3f"),
            "coefficient": st.column_config.NumberColumn(format="%.3f"),
        },
    )


def _changes(view: SlotView, trial: SlotTrial, pos: int) -> None:
    text = view.opened.model.token_text
    columns = {"intact": trial.intact[pos]} | {
        f"{meaning}": removal.top[pos] for meaning, removal in trial.removed.items()
    }
    st.markdown("**Predicted next, with the slot and without it**")
    st.dataframe(
        pd.DataFrame(
            {
                name: [f"{visible_text(text(token))}  {chance:.1%}" for token, chance in best]
                for name, best in columns.items()
            }
        ),
        hide_index=True,
        key="slot try predictions",
    )
    for meaning, removal in trial.removed.items():
        line = f"{meaning}: KL {removal.kl[pos]:.4f} nats"
        if np.isfinite(removal.change[pos]):
            following = visible_text(trial.tokens[pos + 1])
            line += f", log p of {following} {removal.change[pos]:+.4f}"
        st.text(line)
