"""What the usage page is made of: a scan's coverage, heat map, curves and comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from inspector.ui import state
from inspector.ui.cache import Opened
from inspector.ui.components import key_grid, sentence

if TYPE_CHECKING:
    from inspector.analyses.causes import Diagnosis
    from inspector.capture.usage import Usage

_ALL = "all sites"


@dataclass(frozen=True, eq=False)
class Report:
    """One scan as the page shows it, for one value table."""

    opened: Opened
    usage: Usage
    diagnosis: Diagnosis
    table: int


def look(opened: Opened, usage: Usage) -> Report:
    """Judge a scan; the table is picked where there are several."""
    tables = list(usage.tables)
    table = tables[0]
    if len(tables) > 1:
        table = st.segmented_control(
            "Value table",
            tables,
            default=tables[0],
            required=True,
            format_func=lambda number: f"table {number}",
            key="usage table",
        )
    return Report(opened, usage, _diagnosed(opened.key, usage.identity, usage, opened), table)


@st.cache_resource(max_entries=8, show_spinner="Judging every key …")
def _diagnosed(key: tuple[str, str], identity: str, _usage: Usage, _opened: Opened) -> Diagnosis:
    from inspector.analyses.causes import diagnose

    return diagnose(_usage, _opened.model)


def headline(report: Report) -> None:
    """Coverage and verdicts in one sentence, and how complete the scan is."""
    from inspector.analyses import dead_keys

    sentence(
        [dead_keys.headline(report.usage, report.diagnosis.verdicts, report.table)],
        key="usage headline",
    )
    if not report.usage.complete:
        st.caption(
            "This scan was stopped before the corpus ended: it stands for the part that was read."
        )


def heat_map(report: Report) -> None:
    """Reads of every key on a log scale, with the totals of half-keys at the edges."""
    st.subheader(
        "Reads of every key",
        anchor=False,
        help="Half-key i of set 1 down, half-key j of set 2 across; the darker (in the dark theme "
        "the lighter), the more reads, on a log scale. Keys never read keep the ground colour. "
        "Bars at the edges sum the reads per half-key. Wheel zooms; a click selects a key.",
    )
    names = [_ALL, *report.opened.model.sites_of(report.table)]
    chosen = st.segmented_control(
        "Site", names, default=_ALL, required=True, key="heat site", label_visibility="collapsed"
    )
    reads = _reads(report, chosen or _ALL)
    n = int(np.sqrt(len(reads)))
    grid = reads.reshape(n, n)
    slot = key_grid(
        [],
        key="usage grid",
        n=n,
        height=540,
        selected_slot=state.read_number(state.SLOT),
        background=shades(grid),
        totals=(grid.sum(1).tolist(), grid.sum(0).tolist()),
        on_select=lambda picked: state.write(slot=picked),
    )
    if slot is not None:
        _selected(report, slot)


def _reads(report: Report, site: str) -> np.ndarray:
    """Reads per slot, ``[slot]``, over all heads of one site or of all sites of the table."""
    from inspector.analyses.usage_measures import table_reads

    if site == _ALL:
        return table_reads(report.usage, report.table)
    return np.asarray(report.usage.sites[site].reads.sum(0))


def shades(reads: np.ndarray) -> np.ndarray:
    """Reads as uint8 on a log scale; 0 for what was never read and for nothing else."""
    logs = np.log1p(reads.astype(np.float64))
    top = max(float(logs.max()), 1e-12)
    return np.where(reads > 0, np.clip(40 + 215 * logs / top, 1, 255), 0).astype(np.uint8)


def _selected(report: Report, slot: int) -> None:
    """The selected key: reads by site and head, its verdict, and the way to where it fires."""
    usage, model = report.usage, report.opened.model
    judged = report.diagnosis.verdicts.values[report.table]
    if slot >= len(judged.hits):
        return
    from inspector.analyses.verdicts import Verdict

    names = model.sites_of(report.table)
    info = model.site(names[0]).info
    i, j = info.pair(slot)
    verdict = Verdict(int(judged.verdicts[slot])).label
    parts = [
        f"{name}·H{head}: {int(count):,}"
        for name in names
        for head, count in enumerate(usage.sites[name].reads[:, slot])
        if count
    ]
    st.text(f"slot {slot} = ({i}, {j}) · {verdict} · {', '.join(parts) or 'never read'}")
    if st.button("Open this slot", key="usage open slot", icon="🎯"):
        open_slot(report, slot)


def open_slot(report: Report, slot: int) -> None:
    """Go to the page of ``slot``, at the site where the corpus reads it with most weight."""
    sites = report.usage.sites
    names = report.opened.model.sites_of(report.table)
    main = max(names, key=lambda name: float(sites[name].weights[:, slot].sum()))
    state.write(site=main, slot=slot, head=None)
    st.switch_page("pages/slot.py")


def curves(report: Report) -> None:
    """Coverage, rank-frequency and Lorenz curves, each with its figures."""
    from inspector.analyses import coverage, usage_measures
    from inspector.figures import usage as figures

    seen, ranks, spread = st.tabs(["Coverage", "Rank and frequency", "Lorenz"])
    with seen:
        found = coverage.measure_coverage(report.usage, report.table)
        st.plotly_chart(figures.coverage_figure(found), key="coverage curve")
        if found.richness is not None:
            st.caption(
                f"At least about {found.richness.estimate:,.0f} slots would ever be read "
                f"({found.richness.low:,.0f} to {found.richness.high:,.0f}): Chao2 over "
                f"{found.richness.documents:,} documents, a lower bound."
            )
    reads = usage_measures.table_reads(report.usage, report.table)
    weights = sum(
        site.weights.sum(0) for site in usage_measures.sites_of(report.usage, report.table).values()
    )
    amounts = {"counted": reads, "weighted": np.asarray(weights)}
    with ranks:
        st.plotly_chart(
            figures.rank_frequency_figure(
                {by: usage_measures.rank_frequency(a) for by, a in amounts.items()}  # type: ignore[misc]
            ),
            key="rank curve",
        )
    with spread:
        st.plotly_chart(
            figures.lorenz_figure({by: usage_measures.lorenz(a) for by, a in amounts.items()}),  # type: ignore[misc]
            key="lorenz curve",
        )


def comparison(report: Report) -> None:
    """How evenly slots and half-keys are used, by table, site and head."""
    st.subheader(
        "How evenly",
        anchor=False,
        help="usage: share of slots read at all. unevenness: KL divergence from uniform use, in "
        "nats and as a share of log N. effective: as many evenly used slots would be as uneven. "
        "Gini: 0 is uniform. top50/90/99: fewest slots that cover that share of all reads. "
        "Weighted figures use |coefficient|.",
    )
    frame = _measures(report.usage.identity, report.usage)
    frame = frame[frame["table"] == report.table]
    left, right = st.columns(2)
    of = left.segmented_control(
        "Of", list(frame["of"].unique()), default="slots", required=True, key="measures of"
    )
    by = right.segmented_control(
        "By", list(frame["by"].unique()), default="counted", required=True, key="measures by"
    )
    shown = frame[(frame["of"] == of) & (frame["by"] == by)].drop(columns=["table", "of", "by"])
    st.dataframe(
        shown,
        hide_index=True,
        key="measures",
        column_config={
            "usage": st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1),
            "unevenness_share": st.column_config.ProgressColumn(
                "share of log N", format="percent", min_value=0, max_value=1
            ),
            "gini": st.column_config.ProgressColumn("Gini", min_value=0, max_value=1),
            "unevenness": st.column_config.NumberColumn("unevenness, nats", format="%.2f"),
            "effective": st.column_config.NumberColumn(format="%.0f"),
        },
    )


@st.cache_data(max_entries=8, show_spinner=False)
def _measures(identity: str, _usage: Usage) -> pd.DataFrame:
    from inspector.analyses.usage_measures import comparison_frame

    return comparison_frame(_usage)
