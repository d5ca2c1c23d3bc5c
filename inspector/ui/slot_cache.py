"""What the slot page keeps between runs, keyed by strings and numbers alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from inspector.errors import InspectorError
from inspector.ui.cache import Opened

if TYPE_CHECKING:
    import numpy as np

    from inspector.analyses.decoding import Decoding
    from inspector.analyses.neighbours import NearestValues
    from inspector.analyses.read_index import ReadIndex, SlotReads
    from inspector.analyses.slot_ablation import SlotAblation
    from inspector.analyses.slot_address import SlotAddress
    from inspector.analyses.slot_report import SlotReport
    from inspector.analyses.slot_trial import SlotTrial
    from inspector.analyses.slot_triggers import Triggers
    from inspector.analyses.verdicts import Verdicts
    from inspector.capture.usage import Usage

_Place = tuple[str, int, int | None]  # site, slot, head


def report(opened: Opened, address: SlotAddress, usage: Usage | None) -> SlotReport:
    """All that is known of one slot."""
    place = (address.site, address.slot, address.head)
    known = None if usage is None else usage.identity
    return _report(opened.key, opened.model.fingerprint, place, known, opened, usage)


@st.cache_resource(max_entries=256, show_spinner=False)
def _report(
    key: tuple[str, str],
    fingerprint: str,
    place: _Place,
    known: str | None,
    _opened: Opened,
    _usage: Usage | None,
) -> SlotReport:
    from inspector.analyses.slot_address import SlotAddress
    from inspector.analyses.slot_report import report_slot

    site, slot, head = place
    verdicts = None if _usage is None or known is None else _judged(key, known, _usage)
    address = SlotAddress(site, slot, head)
    return report_slot(_opened.model, address, _opened.gates, _usage, verdicts)


@st.cache_resource(max_entries=8, show_spinner=False)
def _judged(key: tuple[str, str], known: str, _usage: Usage) -> Verdicts:
    from inspector.analyses.verdicts import judge_usage

    return judge_usage(_usage)


def nearest(opened: Opened, slot: int, site: str, at_site: bool, metric: str) -> NearestValues:
    """The values nearest to a slot's: rows of the table, or what they write at ``site``.

    Raises:
        InspectorError: they cannot be compared so.
    """
    return _nearest(opened.key, opened.model.fingerprint, slot, site, (at_site, metric), opened)


@st.cache_resource(max_entries=512, show_spinner=False)
def _nearest(
    key: tuple[str, str],
    fingerprint: str,
    slot: int,
    site: str,
    how: tuple[bool, str],
    _opened: Opened,
) -> NearestValues:
    from inspector.analyses.neighbours import nearest_values

    at_site, metric = how
    return nearest_values(
        _opened.model,
        slot,
        table=_opened.model.site(site).info.table,
        site=site if at_site else None,
        metric=metric,  # type: ignore[arg-type]
        gates=_opened.gates,
    )


@dataclass(frozen=True, eq=False)
class SlotStudy:
    """What the index of reads gives for one slot."""

    reads: SlotReads
    triggers: Triggers
    every: np.ndarray  # coefficients of all reads of the table, or of some drawn at random
    ablation: SlotAblation
    index: ReadIndex  # that all of it is of


def study(opened: Opened, usage: Usage, index: ReadIndex, table: int, slot: int) -> SlotStudy:
    """Triggers, weights and ablation of one slot."""
    return _study(opened.key, usage.identity, table, slot, opened, usage, index)


@st.cache_resource(max_entries=256, show_spinner=False)
def _study(
    key: tuple[str, str],
    known: str,
    table: int,
    slot: int,
    _opened: Opened,
    _usage: Usage,
    _index: ReadIndex,
) -> SlotStudy:
    from inspector.analyses.slot_ablation import ablate_slot
    from inspector.analyses.slot_contexts import studied_contexts
    from inspector.analyses.slot_triggers import find_triggers

    reads = _index.of_slot(table, slot)
    occurrences, every = _sample(key, known, table, _usage, _index)
    strongest, random = studied_contexts(_opened.model, _usage, reads)
    return SlotStudy(
        reads,
        find_triggers(reads, _usage, occurrences),
        every,
        ablate_slot(_opened.model, table, slot, strongest, random),
        _index,
    )


_WEIGHTS = 200_000  # of all reads, for the density they're held against


@st.cache_resource(max_entries=8, show_spinner=False)
def _sample(
    key: tuple[str, str], known: str, table: int, _usage: Usage, _index: ReadIndex
) -> tuple[np.ndarray, np.ndarray]:
    """How often each token occurs in the sample, and coefficients of reads drawn at random."""
    import numpy as np

    from inspector.analyses.slot_triggers import token_occurrences

    every = _index.tables[table].coefficient
    if len(every) > _WEIGHTS:
        every = every[np.random.default_rng(0).choice(len(every), _WEIGHTS, replace=False)]
    return token_occurrences(_index, _usage), every


def tried(opened: Opened, text: str, table: int, slot: int) -> SlotTrial:
    """A text tried on a slot.

    Raises:
        PromptError: the text cannot be read.
    """
    return _tried(opened.key, opened.model.fingerprint, text, table, slot, opened)


@st.cache_resource(max_entries=128, show_spinner=False)
def _tried(
    key: tuple[str, str], fingerprint: str, text: str, table: int, slot: int, _opened: Opened
) -> SlotTrial:
    from inspector.analyses.slot_trial import try_text

    return try_text(_opened.model, text, table, slot)


def decoded(opened: Opened, slots: tuple[int, ...], site: str) -> Decoding | None:
    """What some values say at a site: static where that is known, else raw, else None."""
    return _decoded(opened.key, opened.model.fingerprint, slots, site, opened)


@st.cache_resource(max_entries=256, show_spinner=False)
def _decoded(
    key: tuple[str, str], fingerprint: str, slots: tuple[int, ...], site: str, _opened: Opened
) -> Decoding | None:
    from inspector.analyses.decoding import decode

    gates = _opened.gates
    known = gates is not None and site in gates.sites
    info = _opened.model.site(site).info
    static = info.additive and (known or not info.gated)
    try:
        return decode(_opened.model, slots, site, "static" if static else "raw", gates=gates)
    except InspectorError:
        return None
