"""The second passes behind the slot page: run once per checkpoint in the background, then kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from inspector.errors import FactsError
from inspector.ui.cache import Opened
from inspector.ui.jobs import Cancelled, Job, jobs, watch

if TYPE_CHECKING:
    from inspector.analyses.facts import Fact
    from inspector.capture.usage import Usage


@dataclass(frozen=True)
class Pass:
    """One pass over a text or over facts; its job is started by itself, and never twice."""

    key: str
    name: str
    work: Callable[[Job], Any]

    @property
    def job(self) -> Job:
        """The job of this pass, going on or ended."""
        return jobs().get(self.key) or self.start()

    def start(self) -> Job:
        """Start it, also where it was stopped before."""
        return jobs().start(self.key, self.name, self.work)

    def result(self) -> Any:
        """What it found; None while it isn't done."""
        job = self.job
        return job.result if job.progress.state == "done" else None

    def show(self) -> bool:
        """How it stands, in place of what it will find; True if that is there."""
        job = self.job
        progress = job.progress
        if progress.active:
            watch(job)
        elif progress.error:
            st.error("This pass stopped.", icon="⚠️")
            st.text(progress.error)
        elif progress.state == "cancelled":
            st.caption("This pass was stopped.")
            if st.button("Start it again", key=f"again {self.key}"):
                self.start()
                st.rerun()
        return progress.state == "done"


def reads_pass(opened: Opened, usage: Usage) -> Pass:
    """Finds where slots are read in a sample of the scan's text: a ``ReadIndex``."""

    def work(job: Job) -> Any:
        from inspector.analyses.read_index import index_reads

        told = _told(job, "tokens")
        return _kept(index_reads(opened.model, usage, report=told, cancel=job.cancelled))

    key = f"reads {opened.key} {usage.identity}"
    return Pass(key, "Finding every slot's reads in a sample of the text", work)


def facts_pass(opened: Opened, facts: tuple[Fact, ...]) -> Pass:
    """Asks every fact and records what it reads: a ``FactReads``."""

    def work(job: Job) -> Any:
        from inspector.analyses.fact_reads import fact_reads

        told = _told(job, "facts")
        return _kept(fact_reads(opened.model, facts, told, job.cancelled))

    from inspector.analyses.facts import facts_digest

    key = f"facts {opened.key} {opened.model.fingerprint} {facts_digest(facts)}"
    return Pass(key, "Asking every fact", work)


def _told(job: Job, what: str) -> Callable[[int, int], None]:
    return lambda done, total: job.report(done, total, f"{done:,} of {total:,} {what}")


def _kept(found: Any) -> Any:
    if found is None:
        raise Cancelled
    return found


def facts_of(opened: Opened) -> tuple[Fact, ...]:
    """The facts that ship with the checkpoint; none where there are none or they're broken."""
    file = opened.model.path / "facts.jsonl"
    if not file.is_file():
        return ()
    return _facts(str(file), file.stat().st_mtime)


@st.cache_resource(max_entries=4, show_spinner=False)
def _facts(path: str, stamp: float) -> tuple[Fact, ...]:
    from inspector.analyses.facts import read_facts

    try:
        return read_facts(path)
    except FactsError:
        return ()
