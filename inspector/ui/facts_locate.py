"""Where a fact is read: positions, reads with their effects, and the core set."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
import streamlit as st

from inspector.ui import facts_edit, state
from inspector.ui.components import token_strip, visible_text
from inspector.ui.facts_view import FactView

if TYPE_CHECKING:
    from inspector.analyses.core_sets import CoreSet

_ROWS: Final = 300
_CHIPS: Final = 40
_EFFECTS: Final = ("margin", "direct", "first_order", "exact")
_TABLE: Final = "fact reads"


def show(view: FactView) -> None:
    """Everything that was located."""
    if not view.opened.model.sites:
        st.info("This checkpoint has no memory layers: there are no reads to show.")
        return
    with st.container(border=True):
        _core(view)
    with st.container(border=True):
        row, pos = _strips(view)
    with st.container(border=True):
        _reads(view, row, pos)
    with st.container(border=True):
        _phrasings(view)


def _core(view: FactView) -> None:
    st.subheader(
        "Core set",
        anchor=False,
        help="Slots that all phrasings read, reduced until none can be left out without the model "
        "keeping the answer. It was found on some phrasings; Prove holds it against others. "
        "Choose one to open it.",
    )
    core = view.report.cores.get(view.kind)
    if core is None:
        st.caption("A fact that the model does not know has none.")
        return
    if not core.members:
        st.text(f"None for {view.kind}: {core.why}.")
        return
    _chips(view, core)
    facts_edit.offer_core(view, core)


def _chips(view: FactView, core: CoreSet) -> None:
    model = view.opened.model
    with st.container(horizontal=True, gap="small"):
        for number, member in enumerate(core.members[:_CHIPS]):
            site = member.site or model.sites_of(member.table)[0]
            info = model.site(site).info
            label = info.address(member.slot, member.head)
            if member.site is None:  # the slot as such: every site of the table reads it
                label = f"({member.slot // info.half_keys},{member.slot % info.half_keys})"
            if st.button(label, key=f"core {number}", help=f"Slot {member.slot}: open it."):
                state.write(site=site, slot=member.slot, head=member.head)
                st.switch_page("pages/slot.py")
    if len(core.members) > _CHIPS:
        st.caption(f"{len(core.members) - _CHIPS} more are in the table below.")


def _strips(view: FactView) -> tuple[int | None, int | None]:
    """The located phrasings as tokens; which token of which is selected."""
    st.subheader(
        "Where it is read",
        anchor=False,
        help="Tokens are coloured by the first-order effect of all reads there on the log-odds of "
        "the answer (weight x gradient, one backward pass): what the reads at this token add. "
        "At first the token is chosen after which the answer is due. Choose one to see its reads "
        "alone.",
    )
    effects, tokens = view.report.effects, view.report.tokens
    asked, pos = state.read_number(state.ASKED), state.read_number(state.POS)
    totals = [np.zeros(len(row)) for row in tokens]
    for row, total in enumerate(totals):
        own = effects.phrasing == row
        np.add.at(total, effects.pos[own], effects.margin[own])
    top = max(max(float(total.max()), 0.0) for total in totals) or 1.0
    for row, (texts, total) in enumerate(zip(tokens, totals, strict=True)):
        tips = [
            f"{visible_text(text)}  (position {place})\nreads add {total[place]:+.3g} to the "
            "log-odds"
            for place, text in enumerate(texts)
        ]
        token_strip(
            texts,
            np.clip(total / top, 0, 1).tolist(),
            tips,
            key=f"fact strip {row}",
            selected=pos if asked == row and pos is not None else _due(view, row),
            height=90,
            on_select=partial(_select, row),
        )
    if asked is None or pos is None or not 0 <= asked < len(tokens):
        return None, None
    st.button("Show all reads", on_click=state.write, kwargs={"asked": None, "pos": None})
    return asked, pos


def _due(view: FactView, row: int) -> int:
    """Where the answer begins to be produced."""
    effects = view.report.effects
    return int(effects.pos[(effects.phrasing == row) & effects.answering].min())


def _select(row: int, pos: int) -> None:
    state.write(asked=row, pos=pos)


def _reads(view: FactView, row: int | None, pos: int | None) -> None:
    st.subheader(
        "Strongest reads",
        anchor=False,
        help="**direct**: on the logit of the answer's token against the runner-up's, the final "
        "norm's rms held fixed; 0 before the answer is due.  \n**log-odds, first order**: "
        "coefficient x gradient of the log-odds of the answer's tokens, in nats, which do not "
        "level off where the model is sure.  \n**log p, first order**: the same of the "
        "log-probability of the whole answer.  \n**log p, exact**: what that loses if this read "
        "alone is zeroed, measured for the strongest 64 of each phrasing; empty elsewhere.",
    )
    frame = view.report.to_frame()
    if row is not None:
        frame = frame[(frame["phrasing"] == row) & (frame["pos"] == pos)]
    picked = st.dataframe(
        _shown(frame),
        hide_index=True,
        key=_TABLE,
        height=420,
        on_select="rerun",
        selection_mode="multi-row",
        column_config={
            name: st.column_config.NumberColumn(label, format="%+.3f")
            for name, label in (
                ("direct", "direct, logits"),
                ("margin", "log-odds, first order"),
                ("first_order", "log p, first order"),
                ("exact", "log p, exact"),
            )
        },
    )
    st.caption(
        f"{min(_ROWS, len(frame)):,} of {len(frame):,} reads, the strongest first by first-order "
        "effect on the log-odds. Choose rows to open or to edit their slots."
    )
    rows = [number for number in picked["selection"]["rows"] if number < len(frame)]
    if not rows:
        return
    chosen = frame.iloc[rows]
    with st.container(horizontal=True):
        if st.button("Open this slot", icon="🎯", key="fact open slot"):
            first = chosen.iloc[0]
            state.write(site=first["site"], slot=int(first["slot"]), head=int(first["head"]))
            st.switch_page("pages/slot.py")
        facts_edit.offer_slots(view, chosen)


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    cores = [name for name in frame.columns if name.startswith("in_")]
    columns = ["address", "slot", "token", "pos", *_EFFECTS, *cores]
    shown = frame.head(_ROWS)[[*columns, "prompt"]].reset_index(drop=True)
    shown["token"] = [visible_text(text) for text in shown["token"]]
    names = {name: name.replace("in_", "in ").replace("_core", " core") for name in cores}
    return shown.rename(columns=names)


def _phrasings(view: FactView) -> None:
    st.subheader(
        "How it was asked",
        anchor=False,
        help="Every phrasing, and whether it was used to locate the fact or kept for the proof. "
        "Phrasings that the model doesn't answer are used for neither.",
    )
    st.dataframe(
        pd.DataFrame([vars(phrasing) for phrasing in view.report.asked.phrasings]),
        hide_index=True,
        key="fact phrasings",
        column_config={
            "probability": st.column_config.ProgressColumn(
                "p(answer)", format="percent", min_value=0, max_value=1
            ),
            "kept": st.column_config.CheckboxColumn("answers"),
            "heldout": st.column_config.CheckboxColumn("held out"),
            "use": "used to",
        },
    )
