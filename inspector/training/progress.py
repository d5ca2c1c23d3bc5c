"""How far a run has come: loss and speed."""

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

    @property
    def in_words(self) -> str:
        """Step, loss and speed, for one line."""
        steps = f"{self.step:,} of {self.steps:,} steps"
        return f"{steps} · loss {self.loss:.3f} · {self.tokens_per_s:,.0f} tokens/s"


class Meter:
    """Loss and speed, reported about twice a second and at the last step.

    The speed is that of this session: a resumed run starts measuring anew.
    """

    def __init__(self, steps: int, report: Callable[[Progress], None] | None) -> None:
        """Measure a run of ``steps`` steps from now on and tell ``report``."""
        self._steps, self._report = steps, report
        self._losses: list[float] = []
        self._tokens = 0
        self._start = self._last = time.monotonic()

    def add(self, step: int, loss: float, tokens: int) -> None:
        """Note that ``step`` steps are done, the last with ``loss`` on ``tokens`` tokens."""
        self._losses.append(loss)
        self._tokens += tokens
        now = time.monotonic()
        if self._report is None or (now - self._last < 0.5 and step < self._steps):
            return
        mean = sum(self._losses) / len(self._losses)
        speed = self._tokens / max(now - self._start, 1e-9)
        self._report(Progress(step, self._steps, mean, speed))
        self._losses, self._last = [], now
