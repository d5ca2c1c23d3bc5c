"""Where the command line writes: tables and JSON on stdout, progress on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from inspector.errors import CacheError

if TYPE_CHECKING:
    from inspector.training import progress

_STANDARD_OUTPUT: Final = Path("-")
_PIPE_WIDTH: Final = 160  # in a pipe there is no terminal's width to keep to
_PIPE_EVERY_S: Final = 30.0


def show(table: Table, payload: dict[str, Any], json_file: Path | None) -> None:
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
def progress_bar(steps: int) -> Iterator[Callable[[progress.Progress], None]]:
    """Shows a training run: steps, loss, tokens a second, time left; in a pipe twice a minute."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _line_by_line()
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("making facts, tokenizer and model", total=steps)

        def report(now: progress.Progress) -> None:
            bar.update(task, completed=now.step, description=_state(now))

        yield report


def _line_by_line() -> Callable[[progress.Progress], None]:
    last = -_PIPE_EVERY_S

    def report(now: progress.Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= _PIPE_EVERY_S or now.step == now.steps:
            last = time.monotonic()
            say(f"{now.step}/{now.steps} {_state(now)}")

    return report


def _state(now: progress.Progress) -> str:
    minutes, seconds = divmod(round(now.seconds_left), 60)
    hours, minutes = divmod(minutes, 60)
    left = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    return f"loss {now.loss:.3f} · {now.tokens_per_s:,.0f} tokens/s · {left} left"
