"""What is known of each slot on the map, and which of it colours the points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from inspector.errors import InspectorError
from inspector.ui import cache, map_colours, samples, state
from inspector.ui.cache import Opened
from inspector.ui.components import Colouring

if TYPE_CHECKING:
    from inspector.analyses.value_map_record import ValueMap
    from inspector.capture.usage import Usage
    from inspector.ui.map_view import MapView
    from inspector.ui.map_words import Words

CLUSTER, READS, CLASS, NORM, DRIFT, VERDICT = (
    "cluster",
    "reads",
    "token_class",
    "norm",
    "drift",
    "verdict",
)
_SHARE = "share_"
_NAMES = {
    CLUSTER: "cluster",
    READS: "reads (log)",
    CLASS: "class of the best promoted token",
    NORM: "length of the value",
    DRIFT: "drift since the snapshot",
    VERDICT: "verdict",
}
_NEVER = "never read"
_NO_SNAPSHOT = "no snapshot"


def measured(opened: Opened, table: int, usage: Usage | None, words: Words | None) -> pd.DataFrame:
    """The measures of every slot of a table, row i of slot i."""
    snapshot, path = None, _snapshot_path()
    if path is not None:
        try:
            snapshot = cache.opened(path, opened.key[1])
        except InspectorError as error:
            st.text(f"Drift cannot be measured: {error}")
    scanned = None if usage is None else usage.identity
    since = None if snapshot is None else (*snapshot.key, snapshot.model.fingerprint)
    try:
        frame = _measured(
            opened.key, opened.model.fingerprint, table, scanned, since, opened, usage, snapshot
        )
    except InspectorError as error:
        st.text(f"Drift cannot be measured: {error}")
        frame = _measured(
            opened.key, opened.model.fingerprint, table, scanned, None, opened, usage, None
        )
    if words is None:
        return frame
    classes = _classes(opened.key, opened.model.fingerprint, table, words.how, opened, words)
    return frame.assign(token_class=classes)


@st.cache_resource(max_entries=8, show_spinner=False)
def _measured(
    key: tuple[str, str],
    fingerprint: str,
    table: int,
    scanned: str | None,
    since: tuple[str, str, str] | None,
    _opened: Opened,
    _usage: Usage | None,
    _snapshot: Opened | None,
) -> pd.DataFrame:
    from inspector.analyses.slot_measures import slot_measures

    initial = None if _snapshot is None else _snapshot.model
    return slot_measures(_opened.model, table, usage=_usage, initial=initial)


@st.cache_resource(max_entries=8, show_spinner=False)
def _classes(
    key: tuple[str, str], fingerprint: str, table: int, how: str, _opened: Opened, _words: Words
) -> list[str]:
    from inspector.analyses.token_classes import token_classes

    return token_classes(_opened.model, _words.promoted[:, 0])


def snapshot_picker(opened: Opened) -> None:
    """Which earlier snapshot drift is measured from."""
    own = str(opened.model.path)
    offered = [name for name, path in samples.samples().items() if str(path) != own]
    offered += [path for path in samples.recent() if path != own]
    chosen = state.read(state.SINCE)
    if chosen is not None and chosen not in offered:
        offered.append(chosen)
    key = "drift since"
    st.session_state[key] = chosen or _NO_SNAPSHOT

    def pick() -> None:
        picked = st.session_state[key]
        state.write(since=None if picked == _NO_SNAPSHOT else picked)

    st.selectbox(
        "Drift is measured from",
        [_NO_SNAPSHOT, *offered],
        key=key,
        on_change=pick,
        accept_new_options=True,
        help="An earlier snapshot of the same training run, by name or path: the colour drift is "
        "then how far each value has moved since, as a Euclidean distance.",
    )


def _snapshot_path() -> str | None:
    chosen = state.read(state.SINCE)
    return None if chosen is None else str(samples.resolve(chosen))


def pick_colouring(view: MapView) -> Colouring:
    """The colours asked for; what can't be known yet isn't offered, and a note says why."""
    offered = [CLUSTER, *(name for name in _NAMES if name != CLUSTER and name in view.measures)]
    at = offered.index(READS) + 1 if READS in offered else len(offered)
    offered[at:at] = [str(name) for name in view.measures if str(name).startswith(_SHARE)]
    asked = state.read(state.COLOUR)
    key = "map colour"
    st.session_state[key] = asked if asked in offered else CLUSTER
    st.selectbox(
        "Colour by",
        offered,
        key=key,
        format_func=name_of,
        on_change=lambda: state.write(colour=st.session_state[key]),
        help="Reads, the share a site has in them, and verdicts come with a scan (see above); "
        "classes of tokens once every value is decoded; drift with a snapshot to measure it from.",
    )
    return colouring_of(st.session_state[key], view.map, view.measures)


def name_of(colour: str) -> str:
    """What a colouring is called."""
    if colour.startswith(_SHARE):
        return f"share of reads by {colour.removeprefix(_SHARE)}"
    return _NAMES[colour]


def colouring_of(colour: str, value_map: ValueMap, measures: pd.DataFrame) -> Colouring:
    """The levels and the legend of one measure, for the points of a map."""
    name = name_of(colour)
    if colour == CLUSTER:
        return map_colours.category_colouring(
            name, value_map.clusters, value_map.cluster_names, none="in no cluster"
        )
    values = measures[colour].to_numpy()[value_map.slots]
    if colour == READS:
        return map_colours.log_colouring(name, values, none=_NEVER)
    if colour.startswith(_SHARE):
        shares = np.asarray(values, dtype=np.float64)
        return map_colours.linear_colouring(
            name, shares, none=_NEVER, bounds=(0.0, 1.0), percent=True
        )
    if colour in (CLASS, VERDICT):
        return map_colours.label_colouring(name, np.asarray(values, dtype=object))
    return map_colours.linear_colouring(name, np.asarray(values, dtype=np.float64))
