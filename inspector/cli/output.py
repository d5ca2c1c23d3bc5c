"""Where the command line writes: tables and JSON on stdout, progress on stderr."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from inspector.errors import CacheError

_STANDARD_OUTPUT: Final = Path("-")
_PIPE_WIDTH: Final = 160  # in a pipe there is no terminal's width to keep to
_PIPE_EVERY_S: Final = 30.0
_SPEED_OVER_S: Final = 300.0  # the time left is told from so much of the past


class Report(Protocol):
    """Is told how far long work is."""

    def __call__(self, done: float, total: float | None, state: str = "") -> None:
        """Take how much is done, of how much (None: not known), and what is to be said of it."""


def show(table: RenderableType, payload: dict[str, Any], json_file: Path | None) -> None:
    """Print ``table`` and write ``payload`` to ``json_file``; ``-`` prints it instead of the table.

    Raises:
        CacheError: the file cannot be written.
    """
    if json_file == _STANDARD_OUTPUT:
        sys.stdout.write(json.dumps(payload, ensure_ascii=False) + "\n")
        return
    if json_file is not None:
        text = json.dumps(payload, ensure_ascii=False, indent=1) + "\n"
        try:
            json_file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise CacheError(f"{json_file} cannot be written: {error.strerror}.") from None
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def say(message: str) -> None:
    """One line for the person at the keyboard."""
    sys.stderr.write(message + "\n")


@contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """Tells what is being done, on one line that changes; in a pipe a line each."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield say
        return
    with console.status("starting") as line:
        yield line.update


@contextmanager
def progress(name: str) -> Iterator[Report]:
    """How far long work is, what it says of itself, and the time left; in a pipe now and then."""
    console = Console(stderr=True)
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()),
        *(TextColumn("{task.fields[state]}"), TimeRemainingColumn()),
    )
    silent = not console.is_terminal
    bar = Progress(
        *columns,
        console=console,
        get_time=time.monotonic,
        speed_estimate_period=_SPEED_OVER_S,
        disable=silent,
    )
    said = time.monotonic()
    with bar:
        bar.add_task(name, total=None, state="")
        task = bar.tasks[0]

        def report(done: float, total: float | None, state: str = "") -> None:
            nonlocal said
            ends = done == total and task.completed != done
            if not state and total is not None:
                state = f"{done:,} of {total:,}"
            if done < task.completed:  # the next of several runs
                bar.reset(task.id)
            task.total = total  # not by update(): an estimate that changes is no new beginning
            bar.update(task.id, completed=done, state=state)
            now = time.monotonic()
            if silent and (now - said >= _PIPE_EVERY_S or ends):
                said = now
                say(_line(name, task, state))

        yield report


def _line(name: str, task: Task, state: str) -> str:
    """What the bar would show."""
    share = "" if task.total is None else f"{task.percentage:.0f}%"
    left = task.time_remaining  # in seconds, rounded up
    took = "" if left is None else f"{timedelta(seconds=left)} left"
    return f"{name}: " + " · ".join(part for part in (share, state, took) if part)


@contextmanager
def stop_once() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed; a second time it interrupts as usual."""
    pressed = False

    def press(*_arguments: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
