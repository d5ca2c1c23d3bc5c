"""What is kept between runs, keyed by strings and numbers alone.

Models, traces and decodings are resources: they are frozen, shared by all sessions and never
changed. torch and transformers are imported here only when something is first opened, so that
the frame paints at once.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from inspector.errors import CacheError

if TYPE_CHECKING:
    from inspector.analyses.costs import Costs
    from inspector.analyses.decoding import Decoding
    from inspector.analyses.direct_effect import DirectEffect
    from inspector.analyses.gates import MeanGates
    from inspector.capture.load import SelfCheck
    from inspector.capture.lookup_edits import Edit
    from inspector.capture.trace import Trace
    from inspector.families.base import MemoryModel

_SMALL = 100_000_000  # parameters: below, one thread is faster than several that wait


@dataclass(frozen=True, eq=False)
class Opened:
    """A checkpoint in use: the model, how far it can be trusted and what it costs."""

    model: MemoryModel
    check: SelfCheck
    costs: Costs
    gates: MeanGates | None
    seconds: float
    key: tuple[str, str]  # path and device: what every cache below is keyed by
    gates_problem: str = ""  # why mean gates that are there cannot be used


@dataclass(frozen=True, eq=False)
class Edited:
    """The edits of a session that are on. ``key`` tells them from all others; "" means none."""

    key: str = ""
    edits: tuple[Edit, ...] = ()


UNEDITED = Edited()


@st.cache_resource
def warm_up() -> threading.Thread:
    """Import what takes seconds in the background, while the user looks at the frame."""

    def imports() -> None:
        import inspector.analyses.decoding
        import inspector.capture.load
        import inspector.figures.direct_effect  # noqa: F401

    thread = threading.Thread(target=imports, daemon=True, name="warm-up")
    thread.start()
    return thread


def opened(
    path: str, device: str, tokenizer: str | None = None, routing: str | None = None
) -> Opened:
    """The checkpoint at ``path``, opened once per content and device.

    ``tokenizer`` is its tokenizer's file, where it doesn't bring one; ``routing`` is of families
    where a token by itself is routed otherwise than in a full pass.

    Raises:
        InspectorError: it cannot be opened.
    """
    warm_up().join()
    return _opened(path, device, tokenizer, routing, _stamp(Path(path)))


def _stamp(path: Path) -> float:
    """Changes when a file of the checkpoint does, so that a new training run is seen."""
    try:
        files = path.iterdir() if path.is_dir() else [path]
        return max((file.stat().st_mtime for file in files), default=0.0)
    except (OSError, ValueError):  # a path with a null character is none: opening it says so
        return 0.0


@st.cache_resource(max_entries=4, show_spinner=False)
def _opened(
    path: str, device: str, tokenizer: str | None, routing: str | None, stamp: float
) -> Opened:
    import torch

    from inspector.analyses.costs import measure_costs
    from inspector.analyses.gates import mean_gates
    from inspector.capture.load import load, self_check

    start = time.perf_counter()
    model = load(path, device=device, tokenizer=tokenizer, routing=routing, offline=True)
    costs = measure_costs(model)
    torch.set_num_threads(1 if costs.total < _SMALL else os.cpu_count() or 1)
    check = self_check(model)
    gates, problem = None, ""
    try:
        gates = mean_gates(model)
    except CacheError as error:  # the checkpoint itself is sound: all but static decoding works
        problem = str(error)
    seconds = time.perf_counter() - start
    found = Opened(model, check, costs, gates, seconds, (path, device), problem)
    gc.unfreeze()  # a model that the cache dropped is in a cycle with its hooks
    gc.collect()
    gc.freeze()  # what was loaded stays: it need not be searched for garbage after every run
    return found


def traced(
    source: Opened, text: str, more: int = 0, edited: Edited = UNEDITED
) -> tuple[Trace, int]:
    """The trace of ``text`` and up to ``more`` tokens the model writes after it, as ``edited``.

    The second entry is the number of tokens of the text itself.

    Raises:
        PromptError: the text cannot be read.
    """
    return _traced(source.key, source.model.fingerprint, text, more, edited.key, source, edited)


@st.cache_resource(max_entries=48, show_spinner=False)
def _traced(
    key: tuple[str, str],
    fingerprint: str,
    text: str,
    more: int,
    edits: str,
    _source: Opened,
    _edited: Edited,
) -> tuple[Trace, int]:
    from inspector.capture.generate import continue_greedily
    from inspector.capture.trace import encode, trace

    model = _source.model
    ids = encode(model, text)
    length = ids.shape[1]
    if more:
        ids = continue_greedily(model, ids, more, _edited.edits)
    return trace(model, ids=ids, edits=_edited.edits), length


def explained(
    source: Opened,
    text: str,
    more: int,
    pos: int,
    token: int,
    against: int,
    edited: Edited = UNEDITED,
) -> DirectEffect:
    """Direct effects on the contrast of two tokens at one position."""
    asked = (text, more, pos, token, against, edited.key)
    return _explained(source.key, source.model.fingerprint, *asked, source, edited)


@st.cache_resource(max_entries=256, show_spinner=False)
def _explained(
    key: tuple[str, str],
    fingerprint: str,
    text: str,
    more: int,
    pos: int,
    token: int,
    against: int,
    edits: str,
    _source: Opened,
    _edited: Edited,
) -> DirectEffect:
    from inspector.analyses.direct_effect import direct_effect

    found, _ = _traced(key, fingerprint, text, more, edits, _source, _edited)
    return direct_effect(_source.model, found, pos, token, against)


def decoded_reads(
    source: Opened, text: str, more: int, pos: int, site: str, edited: Edited = UNEDITED
) -> Decoding:
    """The checkpoint's values of all reads of one site at one position, in the reads' order.

    In context. With ``edited`` the reads and the gate are those of the edited pass.
    """
    asked = (text, more, pos, site, edited.key)
    return _decoded_reads(source.key, source.model.fingerprint, *asked, source, edited)


@st.cache_resource(max_entries=256, show_spinner=False)
def _decoded_reads(
    key: tuple[str, str],
    fingerprint: str,
    text: str,
    more: int,
    pos: int,
    site: str,
    edits: str,
    _source: Opened,
    _edited: Edited,
) -> Decoding:
    from inspector.analyses.decoding import decode, gate_at

    found, _ = _traced(key, fingerprint, text, more, edits, _source, _edited)
    slots = found.reads[site].slots[0, pos].flatten()
    return decode(_source.model, slots, site, gate_at(_source.model, found, site, pos))


def decoded_slot(source: Opened, slot: int, site: str, gate: str) -> Decoding:
    """One value, raw or with the site's static gate.

    Raises:
        SlotError: raw values of this site do not live in the residual stream.
    """
    return _decoded_slot(source.key, source.model.fingerprint, slot, site, gate, source)


@st.cache_resource(max_entries=512, show_spinner=False)
def _decoded_slot(
    key: tuple[str, str], fingerprint: str, slot: int, site: str, gate: str, _source: Opened
) -> Decoding:
    from inspector.analyses.decoding import decode

    return decode(_source.model, [slot], site, gate, gates=_source.gates)
