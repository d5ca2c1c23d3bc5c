"""One site's reads at the selected token: on the grid of keys and as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from inspector.errors import NotShown
from inspector.ui import cache, state
from inspector.ui.components import GridRead, ReadRow, key_grid, read_table, visible_text
from inspector.ui.trace_view import View, chosen_site

if TYPE_CHECKING:
    from inspector.families.base import SiteInfo


@dataclass(frozen=True, eq=False)
class SiteReads:
    """One site's reads at the selected token, with what each is worth and says."""

    site: SiteInfo
    rows: tuple[ReadRow, ...]  # in the order of head, then rank
    p_values: np.ndarray | None  # of the decodings in context; None where there are none

    def of_slot(self, slot: int) -> list[ReadRow]:
        """The reads of one slot."""
        return [row for row in self.rows if row.slot == slot]


def pick_site(view: View) -> str:
    """The memory layer to look into: the one that adds most to the prediction, unless chosen."""
    names = list(view.trace.sites)
    by_effect = {name: float(reads.sum()) for name, reads in view.effect.reads.items()}
    site = chosen_site(view)
    key = "site picker"
    st.session_state[key] = site
    st.segmented_control(
        "Memory layer",
        names,
        key=key,
        required=True,
        format_func=lambda name: f"{name}   {by_effect[name]:+.2f}" if name in by_effect else name,
        on_change=lambda: state.write(site=st.session_state[key], slot=None),
        help="The memory layers, named after their block, with the direct effect of each one's "
        "reads at this token. The one with the largest is opened unless you choose.",
    )
    return site


def site_reads(view: View, name: str) -> SiteReads:
    """All reads of a site at the selected token."""
    site = view.trace.sites[name]
    reads, pos = view.trace.reads[name], view.pos
    asked = (view.text, view.more, pos, name, view.edited)
    try:
        decoding = cache.decoded_reads(view.opened, *asked)
    except NotShown as error:  # no single value has a meaning in tokens here
        decoding = None
        st.text(str(error))
    frame = None if decoding is None else decoding.to_frame()
    scores = reads.scores[0, pos].flatten().tolist()
    weights = reads.weights[0, pos].flatten().tolist()
    coefficients = reads.coefficients[0, pos].flatten().tolist()
    effects = view.effect.reads[name].flatten().tolist() if name in view.effect.reads else None
    total = sum(map(abs, coefficients)) or 1.0
    rows = []
    for number, slot in enumerate(reads.slots[0, pos].flatten().tolist()):
        head = number // site.knn
        rows.append(
            ReadRow(
                address=site.address(slot, head),
                site=name,
                head=head,
                slot=slot,
                score=scores[number],
                weight=weights[number],
                share=abs(coefficients[number]) / total,
                effect=None if effects is None else effects[number],
                promoted=_pairs(frame, number, "promoted"),
                suppressed=_pairs(frame, number, "suppressed"),
                quality=None if decoding is None else float(decoding.standing[number]),
                coefficient=None if site.activation == "none" else coefficients[number],
            )
        )
    return SiteReads(site, tuple(rows), None if decoding is None else decoding.p_value)


def _pairs(frame: pd.DataFrame | None, number: int, side: str) -> tuple[tuple[str, float], ...]:
    if frame is None:
        return ()
    tokens, logits = frame[side][number], frame[f"{side}_logits"][number]
    return tuple(zip(tokens, logits, strict=True))


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
    _other_values(view, reads)
    read_table(
        reads.rows,
        key=f"reads {reads.site.name}",
        selected=chosen,
        on_select=lambda number: state.write(slot=reads.rows[number].slot, site=reads.site.name),
        helps={
            "effect": "Direct effect on the lead that is explained above, in logits. Right: "
            "promotes. Left: suppresses.",
            "coefficient": "What multiplied the value: the weight times an activation of the "
            "token's vector. It may be negative.",
            "share": "Of the magnitude of all coefficients at this site and token, over its heads. "
            "Coefficients are the weights, unless the table shows both.",
            "promoted": "What the value says in context: through this token's own gate.",
            "quality": "Top logit of the decoding in standard deviations over the vocabulary.",
        },
    )


def replaced(view: View, site: str) -> frozenset[int]:
    """Slots that hold other values in this trace than in the checkpoint."""
    overlay = view.trace.overlay(site)
    return frozenset() if overlay is None else frozenset(overlay.slots.tolist())


def _other_values(view: View, reads: SiteReads) -> None:
    """Say so where an edit put other values in place of those that are decoded."""
    held = replaced(view, reads.site.name)
    count = sum(row.slot in held for row in reads.rows)
    if count:
        st.caption(
            f"{count} of these reads fetch values that an edit replaced. Effects are of the edited "
            "values; the tokens shown are those of the checkpoint's own."
        )
