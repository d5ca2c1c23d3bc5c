"""What the value map page asks: which values, laid out how, and beside which usage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from inspector.ui import map_job, map_measures, scans, state
from inspector.ui.cache import Opened
from inspector.ui.map_job import MIN_DIST, NEAR, POINTS, SEED, MapAsked, asked_map

if TYPE_CHECKING:
    from inspector.capture.usage import Usage

_ROWS = "value rows"
_HELP = (
    "Value rows: the learned vectors themselves, which sites may share. Written at a site: what a "
    "read of "
    "weight 1 adds to the residual stream there, through the site's projection and, where the "
    "values pass a gate, the mean gate of the tokens that read the slot."
)
_KINDS = {"kmeans": "regions of the map (k-means)", "hdbscan": "dense spots of the map (HDBSCAN)"}


def controls(opened: Opened) -> tuple[MapAsked, Usage | None, DeltaGenerator]:
    """The map that is asked for, a scan's usage if there is one, and room for the map's tools."""
    asked = asked_map(opened)
    values, table = st.columns([3, 1], vertical_alignment="bottom")
    with values:
        _site_picker(opened, asked)
    tools = st.container()
    if len(opened.model.tables) > 1:
        with table:
            _table_picker(opened, asked)
    map_job.begin(opened, asked)
    settings, usage = st.columns(2)
    with settings.expander("How the map is drawn", icon="⚙️"):
        _settings(asked)
        map_measures.snapshot_picker(opened)
    with usage.expander("Usage: colours that need a scan", icon="📊"):
        scan = scans.control(opened)
    return asked, scan, tools


def _site_picker(opened: Opened, asked: MapAsked) -> None:
    names = opened.model.sites_of(asked.table)
    known = [name for name in names if not _lacks_gates(opened, name)]
    key = "map site"
    st.session_state[key] = asked.site or _ROWS

    def pick() -> None:
        picked = st.session_state[key]
        state.write(map=None if picked == _ROWS else picked, area=None)

    st.segmented_control(
        "Show",
        [_ROWS, *(name for name in names if name in known or name == asked.site)],
        key=key,
        required=True,
        format_func=lambda name: name if name == _ROWS else f"written at {name}",
        on_change=pick,
        help=_HELP,
    )
    if len(known) < len(names):
        st.caption(
            "What values write at a gated site is known only after a scan of gates, which this "
            "checkpoint does not ship."
        )


def _lacks_gates(opened: Opened, name: str) -> bool:
    gated = opened.model.site(name).info.gated
    return gated and (opened.gates is None or name not in opened.gates.sites)


def _table_picker(opened: Opened, asked: MapAsked) -> None:
    key = "map table"
    st.session_state[key] = asked.table
    st.selectbox(
        "Value table",
        sorted({site.info.table for site in opened.model.sites.values()}),
        key=key,
        format_func=lambda number: f"table {number}",
        on_change=lambda: state.write(table=st.session_state[key], map=None, slot=None, area=None),
    )


def _settings(asked: MapAsked) -> None:
    """What a map is made with; a form, since every change draws another map."""
    with st.form("map settings", border=False):
        left, right = st.columns(2)
        points = left.number_input(
            "Points at most",
            min_value=2,
            max_value=5_000_000,
            value=asked.points,
            step=10_000,
            help="Of a larger table so many slots are drawn at random with the seed, those that "
            "were read first.",
        )
        near = right.number_input(
            "Neighbours",
            min_value=2,
            max_value=200,
            value=asked.near,
            help="How many nearest values each point is held to. Few show fine detail, many the "
            "broad shape.",
        )
        min_dist = left.slider(
            "Least distance",
            0.0,
            1.0,
            asked.min_dist,
            0.05,
            help="How closely points may be packed, in units of the map.",
        )
        seed = right.number_input("Seed", min_value=0, max_value=2**31 - 1, value=asked.seed)
        clusters = st.radio(
            "Clusters",
            list(_KINDS),
            index=list(_KINDS).index(asked.clusters),
            format_func=_KINDS.__getitem__,
            horizontal=True,
            help="Both group points that lie together on the map, so that a name has a place on "
            "it. k-means parts the whole picture; HDBSCAN takes its dense spots and leaves the "
            "rest out.",
        )
        if st.form_submit_button("Draw with these"):
            chosen = {"points": (points, POINTS), "near": (near, NEAR), "seed": (seed, SEED)}
            entries = {name: None if v == usual else v for name, (v, usual) in chosen.items()}
            state.write(
                **entries,
                min_dist=None if min_dist == MIN_DIST else f"{min_dist:g}",
                clusters=None if clusters == "kmeans" else clusters,
                area=None,
            )
            st.rerun()
