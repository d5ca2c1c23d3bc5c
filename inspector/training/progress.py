"""How far a run has come: loss, speed and time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Where a run is: shown while it trains."""

    step: int
    steps: int
    loss: float  # nats per weighted token, mean since the last report
    tokens_per_s: float
    seconds_left: float


class Meter:
    """Loss, speed and time left, reported about twice a second and at the last step.

    Speed and time left are those of this session: a resumed run starts measuring anew.
    """

    def __init__(self, steps: int, report: Callable[[Progress], None] | None) -> None:
        """Measure a run of ``steps`` steps from now on and tell ``report``."""
        self._steps, self._report = steps, report
        self._losses: list[float] = []
        self._tokens = self._done = 0
        self._start = self._last = time.monotonic()

    def add(self, step: int, loss: float, tokens: int) -> None:
        """Note that ``step`` steps are done, the last with ``loss`` on ``tokens`` tokens."""
        self._losses.append(loss)
        self._tokens += tokens
        self._done += 1
        now = time.monotonic()
        if self._report is None or (now - self._last < 0.5 and step < self._steps):
            return
        per_step = (now - self._start) / self._done
        mean = sum(self._losses) / len(self._losses)
        speed = self._tokens / max(now - self._start, 1e-9)
        self._report(Progress(step, self._steps, mean, speed, per_step * (self._steps - step)))
        self._losses, self._last = [], now
