"""Jobs: every outcome is a state a page can show, and a key names one job at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from inspector.errors import CacheError
from inspector.ui.jobs import Cancelled, Job, Jobs, Progress, _line


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def ended(job: Job) -> Progress:
    wait_until(lambda: not job.progress.active)
    return job.progress


def test_a_job_ends_with_its_result() -> None:
    job = Jobs().start("scan", "Scan", lambda _job: 42)
    assert ended(job).state == "done"
    assert job.result == 42


def test_a_job_says_how_far_it_is_and_how_long_it_takes() -> None:
    go, reported = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        time.sleep(0.02)
        job.report(1, 4, "corpus")
        reported.set()
        go.wait(20)

    job = Jobs().start("scan", "Scan", work)
    assert reported.wait(20)
    progress = job.progress
    assert (progress.state, progress.done, progress.total) == ("running", 1, 4)
    assert progress.seconds >= 0.02
    assert progress.seconds_left == progress.seconds * 3
    assert _line(progress).startswith("Scan · corpus · 0:0")
    go.set()
    ended(job)


def test_failures_are_sentences() -> None:
    def refused(_job: Job) -> None:
        raise CacheError("The disk is full.")

    def broken(_job: Job) -> None:
        raise KeyError("x")

    jobs = Jobs()
    assert ended(jobs.start("a", "A", refused)).error == "The disk is full."
    progress = ended(jobs.start("b", "B", broken))
    assert (progress.state, progress.error) == ("failed", "KeyError: 'x'")


def test_a_cancelled_job_stops_and_keeps_what_it_has() -> None:
    started = threading.Event()

    def work(job: Job) -> str:
        started.set()
        wait_until(job.cancelled)
        return "half"

    def dropping(job: Job) -> None:
        wait_until(job.cancelled)
        raise Cancelled

    jobs = Jobs(workers=2)
    kept, dropped = jobs.start("a", "A", work), jobs.start("b", "B", dropping)
    assert started.wait(20)
    kept.cancel()
    dropped.cancel()
    assert (ended(kept).state, kept.result) == ("cancelled", "half")
    assert (ended(dropped).state, dropped.result) == ("cancelled", None)


def test_a_key_names_one_job_at_a_time() -> None:
    go = threading.Event()
    jobs = Jobs(workers=1)
    first = jobs.start("scan", "Scan", lambda _job: go.wait(20))
    second = jobs.start("other", "Other", lambda _job: None)
    assert jobs.start("scan", "Scan", lambda _job: None) is first
    assert jobs.get("scan") is first
    assert second.progress.state == "queued"
    assert _line(second.progress) == "Other: waiting"
    go.set()
    ended(first)
    ended(second)
    assert jobs.start("scan", "Scan", lambda _job: None) is not first
    assert jobs.get("nothing") is None


def test_a_long_job_does_not_keep_the_next_one_waiting() -> None:
    go = threading.Event()
    jobs = Jobs()
    long = jobs.start("safety", "Safety view", lambda _job: go.wait(20))
    assert ended(jobs.start("proof", "Proof", lambda _job: 42)).state == "done"
    assert long.progress.state == "running"
    other = jobs.start("map", "Map", lambda _job: go.wait(20))
    wait_until(lambda: other.progress.state == "running")
    third = jobs.start("recall", "Recall", lambda _job: None)
    assert third.progress.state == "queued"
    go.set()
    for job in (long, other, third):
        assert ended(job).state == "done"


def test_old_jobs_are_forgotten_and_running_ones_kept() -> None:
    go = threading.Event()
    jobs = Jobs(workers=2)
    running = jobs.start("running", "Running", lambda _job: go.wait(20))
    for number in range(40):
        ended(jobs.start(f"job {number}", "Job", lambda _job: None))
    assert jobs.get("running") is running
    assert jobs.get("job 0") is None
    assert jobs.get("job 39") is not None
    go.set()
    ended(running)
