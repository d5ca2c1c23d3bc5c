"""The other checkpoint of a comparison, and the scans and recall of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import streamlit as st

from inspector.errors import Cancelled as Stopped
from inspector.errors import InspectorError
from inspector.ui import cache, frame, samples, state
from inspector.ui.cache import Opened
from inspector.ui.jobs import Cancelled, Job, jobs, watch

if TYPE_CHECKING:
    import pandas as pd

    from inspector.analyses.comparability import Comparability
    from inspector.analyses.slot_changes import SlotChanges
    from inspector.capture.scan import ScanProgress
    from inspector.capture.usage import Usage

_PICKED = "other checkpoint"


@dataclass(frozen=True, eq=False)
class Pair:
    """Two opened checkpoints, and what of them can be held side by side."""

    first: Opened
    second: Opened
    sizes: Comparability

    @property
    def key(self) -> str:
        """What caches and jobs of this pair go by."""
        parts = (self.first.key, self.first.model.fingerprint)
        return f"{parts} {self.second.key} {self.second.model.fingerprint}"

    @property
    def names(self) -> tuple[str, str]:
        """What both are called; told apart where they share a name."""
        first, second = self.first.model.name, self.second.model.name
        return (f"{first} (1)", f"{second} (2)") if first == second else (first, second)


def choose(first: Opened) -> Pair | None:
    """The picker of the other checkpoint, and both opened; None until one is picked."""
    own = state.read(state.CHECKPOINT)
    offered = [name for name in (*samples.samples(), *samples.recent()) if name != own]
    asked = state.read(state.OTHER)
    if asked is not None and asked not in offered:
        offered.append(asked)
    st.session_state[_PICKED] = asked
    st.selectbox(
        "Compare with",
        offered,
        key=_PICKED,
        accept_new_options=True,
        placeholder="Pick a checkpoint, or type a path",
        on_change=lambda: state.write(other=st.session_state[_PICKED]),
        help="What is open at the left is the first, this is the second: a twin without memory, a "
        "later snapshot, a patched or revived copy.",
    )
    if asked is None:
        return None
    try:
        with st.spinner("Opening the other checkpoint …"):
            path = str(samples.resolve(asked))
            second = cache.opened(path, state.read(state.DEVICE) or "auto")
    except InspectorError as error:
        frame.problem("The other checkpoint could not be opened.", error)
        return None
    return Pair(first, second, _sizes(first, second))


def _sizes(first: Opened, second: Opened) -> Comparability:
    keys = (*first.key, first.model.fingerprint, *second.key, second.model.fingerprint)
    return _compared(keys, first, second)


@st.cache_resource(max_entries=16, show_spinner=False)
def _compared(keys: tuple[str, ...], _first: Opened, _second: Opened) -> Comparability:
    from inspector.analyses.comparability import compare_sizes

    return compare_sizes(_first.model, _second.model)


def job_of(pair: Pair, what: str, label: str, work: Callable[[Job], object], hint: str) -> object:
    """Start, watch or find the background job ``what`` of this pair; its result once it is done."""
    key = f"compare {what} {pair.key}"
    job = jobs().get(key)
    if job is not None and job.progress.active:
        watch(job)
        return None
    if job is None or job.result is None:
        if job is not None and job.progress.error:
            st.error("It stopped.", icon="⚠️")
            st.text(job.progress.error)
        elif job is not None:
            st.caption("It was cancelled.")
        if not st.button(label, key=f"start {label}", help=hint):
            return None
        jobs().start(key, label, work)
        st.rerun()
    return job.result


def facts_folder(pair: Pair) -> Path | None:
    """The first of both checkpoints that brings facts of its own."""
    folders = (opened.model.path for opened in (pair.first, pair.second))
    return next((folder for folder in folders if (folder / "facts.jsonl").is_file()), None)


def scans(pair: Pair) -> tuple[Usage, Usage] | None:
    """A scan of each over one corpus, from the cache where they were made before."""
    own = facts_folder(pair)
    typed = st.text_input(
        "Corpus that both read",
        key="compare corpus",
        placeholder="path of a text file" if own is None else f"the facts of {own.name}",
        help="A file or folder on the computer that runs the app, as on the usage page.",
    ).strip()
    if not typed and own is None:
        st.caption("Neither checkpoint brings facts: type the path of a corpus.")
        return None
    corpus = typed or str(own)

    def work(job: Job) -> tuple[Usage, Usage] | None:
        found = tuple(_scan(opened, corpus, job) for opened in (pair.first, pair.second))
        return None if job.cancelled() else cast("tuple[Usage, Usage]", found)

    hint = "Runs both over the corpus in the background; scans made before are found again."
    result = job_of(pair, f"scans {corpus}", "Scan both", work, hint)
    return cast("tuple[Usage, Usage] | None", result)


def _scan(opened: Opened, corpus: str, job: Job) -> Usage:
    from inspector.capture.corpus import open_corpus
    from inspector.capture.scan import scan

    def report(progress: ScanProgress) -> None:
        note = f"{opened.model.name}, {progress.tokens:,} tokens"
        job.report(progress.tokens, progress.total or 0, note)

    return scan(opened.model, open_corpus(corpus), report=report, cancel=job.cancelled)


def recalls(pair: Pair, folder: Path) -> pd.DataFrame | None:
    """Recall by both of the facts in ``folder``, per relation."""

    def work(job: Job) -> pd.DataFrame:
        from inspector.analyses.facts import read_facts
        from inspector.analyses.recall_changes import compare_recall

        facts = read_facts(folder / "facts.jsonl")

        def report(done: int, total: int) -> None:
            job.report(done, total, f"{done:,} of {total:,} questions")

        job.report(0, 0, f"asking both {len(facts):,} facts")
        both = pair.first.model, pair.second.model
        try:
            return compare_recall(*both, facts, report=report, cancel=job.cancelled).to_frame()
        except Stopped:
            raise Cancelled from None

    result = job_of(
        pair, "recall", "Ask both the facts", work, "Whole answers, exact match, per relation."
    )
    return cast("pd.DataFrame | None", result)


def changes(pair: Pair, table: int, usages: tuple[Usage, Usage] | None) -> SlotChanges:
    """What changed in one table."""
    scanned = "" if usages is None else f"{usages[0].corpus} {usages[0].tokens} {usages[1].tokens}"
    return _changes(pair.key, table, scanned, pair, usages)


@st.cache_resource(max_entries=8, show_spinner="Comparing every slot …")
def _changes(
    key: str, table: int, scanned: str, _pair: Pair, _usages: tuple[Usage, Usage] | None
) -> SlotChanges:
    from inspector.analyses.slot_changes import slot_changes

    return slot_changes(_pair.first.model, _pair.second.model, table, _usages)
