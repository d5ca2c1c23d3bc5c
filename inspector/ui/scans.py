"""Starting a scan from a page, watching it, and finding it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import streamlit as st

from inspector.ui import state
from inspector.ui.cache import Opened
from inspector.ui.jobs import Job, jobs, watch

if TYPE_CHECKING:
    from inspector.capture.scan import ScanProgress
    from inspector.capture.usage import Usage

_OWN = "its own facts"
_FILE = "a file or folder"
_FACTS = "facts"  # in the URL: the checkpoint's own, wherever it lies
_BOX, _COLUMN, _LIMIT, _SOURCE = "corpus path", "corpus column", "scan tokens", "corpus source"


def control(opened: Opened) -> Usage | None:
    """What to scan, and how the scan stands; the scan once there is one."""
    corpus, column, limit = _asked(opened)
    key = f"scan {opened.key} {opened.model.fingerprint} {corpus} {column} {limit}"
    job = jobs().get(key)
    label = "Scan again" if job and not job.progress.active else "Scan"
    asked = st.button(
        label,
        type="primary",
        key="start scan",
        disabled=not corpus or bool(job and job.progress.active),
        help="Runs the model over the corpus in the background: you can leave this page. A scan "
        "that was finished before is taken from the cache, a stopped one goes on.",
    )
    named = _FACTS if corpus == str(opened.model.path) else corpus
    wanted = state.read(state.CORPUS) == named and job is None and bool(corpus)
    if corpus and (asked or wanted):
        state.write(corpus=named, column=column, tokens=limit)
        job = jobs().start(key, "Scanning", _work(opened, corpus, column, limit))
    if job is None:
        st.caption("Nothing scanned yet. The checkpoint's own facts take about a minute.")
        return None
    if job.progress.active:
        watch(job)
        return None
    if job.progress.error:
        st.error("The scan stopped.", icon="⚠️")
        st.text(job.progress.error)
        return None
    return cast("Usage | None", job.result)


def _asked(opened: Opened) -> tuple[str, str, int | None]:
    """The corpus, its column and the limit on tokens, as the page or the URL has them."""
    own = str(opened.model.path) if (opened.model.path / "facts.jsonl").is_file() else ""
    remembered = state.read(state.CORPUS)
    if _SOURCE not in st.session_state:
        st.session_state[_SOURCE] = _OWN if own and remembered in (None, _FACTS) else _FILE
        st.session_state[_BOX] = remembered if remembered and remembered != _FACTS else ""
        st.session_state[_COLUMN] = state.read(state.COLUMN) or "text"
        st.session_state[_LIMIT] = state.read_number(state.TOKENS)
    source, rest = st.columns([2, 5], vertical_alignment="bottom")
    options = [_OWN, _FILE] if own else [_FILE]
    if st.session_state[_SOURCE] not in options:
        st.session_state[_SOURCE] = _FILE
    chosen = source.segmented_control("Scan", options, key=_SOURCE, required=True)
    with rest:
        path, column, limit = st.columns([5, 2, 2], vertical_alignment="bottom")
    typed = path.text_input(
        "Path of the corpus",
        key=_BOX,
        disabled=chosen == _OWN,
        placeholder="corpus.txt, .md, .jsonl, .csv, .parquet, or a folder",
        help="On the computer that runs the app. A .txt file has a document a line, a .md file one "
        "a paragraph.",
    )
    named = column.text_input(
        "Column", key=_COLUMN, disabled=chosen == _OWN, help="Where the text is, in tables."
    )
    most = limit.number_input(
        "Tokens at most",
        min_value=1_000,
        step=100_000,
        key=_LIMIT,
        placeholder="all",
        help="Stop after so many tokens; empty reads the whole corpus.",
    )
    corpus = own if chosen == _OWN else typed.strip()
    return corpus, named, None if most is None else int(most)


def _work(opened: Opened, corpus: str, column: str, limit: int | None) -> Callable[[Job], Usage]:
    def run(job: Job) -> Usage:
        from inspector.capture.corpus import open_corpus
        from inspector.capture.scan import scan

        def report(progress: ScanProgress) -> None:
            job.report(progress.tokens, progress.total or 0, progress.in_words)

        source = open_corpus(corpus, column)
        return scan(opened.model, source, limit, report=report, cancel=job.cancelled)

    return run
