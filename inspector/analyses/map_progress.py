"""Saying how far long work is, and stopping it when asked."""

from __future__ import annotations

from collections.abc import Callable

from inspector.errors import Cancelled

Report = Callable[[str, float], None]  # what is being done, and the share of all work that's done
Tell = Callable[[float], None]  # the share of one stage that's done; may raise to stop


def untold(_share: float) -> None:
    """For work that nobody watches."""


class Watched:
    """Reports the stages of a piece of work as shares of the whole, and stops it when asked."""

    def __init__(self, report: Report | None, cancel: Callable[[], bool] | None) -> None:
        """``report`` and ``cancel`` may be None: then nobody is told, or it can't be stopped."""
        self._report = report
        self._cancel = cancel

    def stage(self, name: str, start: float, end: float) -> Tell:
        """What a stage tells its share done to; it takes the work from ``start`` to ``end``.

        Telling raises ``Cancelled`` once the work was asked to stop. The start is told at once.
        """

        def tell(share: float) -> None:
            if self._cancel is not None and self._cancel():
                raise Cancelled("It was stopped before it was done; nothing of it was kept.")
            if self._report is not None:
                self._report(name, start + (end - start) * min(max(share, 0.0), 1.0))

        tell(0.0)
        return tell
