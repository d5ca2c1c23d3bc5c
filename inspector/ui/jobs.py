"""Long work in the background: one manager per server, pages look at jobs and never wait.

A job runs in a worker thread without any Streamlit in it. Pages find it again by its key, after a
page change, a reload or from another tab.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final

import streamlit as st

from inspector.errors import InspectorError

_LOG = logging.getLogger(__name__)
_KEPT = 20
WORKERS: Final = 2  # one long job, such as a safety view, must not keep all others waiting


class Cancelled(Exception):  # noqa: N818  a signal, not an error
    """Raised inside a job that was cancelled and has nothing to keep."""


@dataclass(frozen=True)
class Progress:
    """What a page shows of a job at one moment."""

    name: str
    state: str = "queued"  # queued, running, done, cancelled, failed
    done: int = 0
    total: int = 0  # 0: not known
    note: str = ""
    error: str = ""
    seconds: float = 0.0
    seconds_left: float | None = None

    @property
    def active(self) -> bool:
        """Whether it's still going on."""
        return self.state in ("queued", "running")


@dataclass
class Job:
    """One piece of long work. Its work calls ``report`` and asks ``cancelled``."""

    key: str
    _progress: Progress
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _started: float = 0.0
    result: Any = None

    def report(self, done: int, total: int = 0, note: str = "") -> None:
        """Say how far the work is; the time left follows from the pace so far."""
        seconds = time.monotonic() - self._started
        left = seconds / done * (total - done) if done and total >= done else None
        self._set(done=done, total=total, note=note, seconds=seconds, seconds_left=left)

    def cancel(self) -> None:
        """Ask the work to stop; it keeps what it has where it can."""
        self._stop.set()

    def cancelled(self) -> bool:
        """Whether it was asked to stop."""
        return self._stop.is_set()

    @property
    def progress(self) -> Progress:
        """Where it is now."""
        with self._lock:
            return self._progress

    def _set(self, **changes: Any) -> None:
        with self._lock:
            self._progress = replace(self._progress, **changes)

    def run(self, work: Callable[[Job], Any]) -> None:
        """Do the work; every outcome ends in a state that a page can show."""
        self._started = time.monotonic()
        self._set(state="running")
        try:
            self.result = work(self)
            self._set(state="cancelled" if self.cancelled() else "done")
        except Cancelled:
            self._set(state="cancelled")
        except InspectorError as error:
            self._set(state="failed", error=str(error))
        except Exception as error:  # noqa: BLE001  shown in place of a result, and logged
            _LOG.exception("job %s failed", self.key)
            self._set(state="failed", error=f"{type(error).__name__}: {error}")


class Jobs:
    """All jobs of this server, by key."""

    def __init__(self, workers: int = WORKERS) -> None:
        """``workers`` jobs at a time; others wait their turn."""
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="job")
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def start(self, key: str, name: str, work: Callable[[Job], Any]) -> Job:
        """Start ``work``, or return the job of that key that is still going on."""
        with self._lock:
            known = self._jobs.get(key)
            if known is not None and known.progress.active:
                return known
            job = Job(key, Progress(name))
            self._jobs.pop(key, None)
            self._jobs[key] = job
            ended = [k for k, other in self._jobs.items() if not other.progress.active]
            for old in ended[:-_KEPT]:
                del self._jobs[old]
        self._pool.submit(job.run, work)
        return job

    def get(self, key: str) -> Job | None:
        """The job of that key, going on or ended; None if there was none."""
        with self._lock:
            return self._jobs.get(key)


@st.cache_resource
def jobs() -> Jobs:
    """The one manager of this server."""
    return Jobs()


def watch(job: Job, beside: Callable[[], None] | None = None) -> None:
    """Show a job's progress, refreshed twice a second, with a button that cancels it.

    When it ends the whole page runs again. ``beside`` shows what the work has come to so far.
    """

    @st.fragment(run_every=0.5)
    def shown() -> None:
        progress = job.progress
        if not progress.active:
            st.rerun()
        share = progress.done / progress.total if progress.total else 0.0
        st.progress(min(share, 1.0), text=_line(progress))
        if beside is not None:
            beside()
        if st.button("Cancel", key=f"cancel {job.key}", disabled=job.cancelled()):
            job.cancel()

    shown()


def _line(progress: Progress) -> str:
    parts = [progress.name if progress.state == "running" else f"{progress.name}: waiting"]
    if progress.note:
        parts.append(progress.note)
    if progress.seconds_left is not None:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    return " · ".join(parts)
