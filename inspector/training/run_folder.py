"""The directory of one training run: whose it is, its saved state, and what it was made from."""

from __future__ import annotations

import json
import pickle
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from inspector.errors import TrainingError
from inspector.training.config import TrainingConfig

RECORD: Final = "training.json"
_STATE: Final = "training_state.pt"


class RunFolder:
    """One run's directory: claimed by its first write, and refused to any other configuration.

    ``training.json`` says from the start whose directory it is: the settings, and the step of the
    weights in it (0 until the run is finished). ``training_state.pt`` is there while it trains.
    """

    def __init__(self, out: Path, config: TrainingConfig) -> None:
        """The directory ``out`` of a run of ``config``; nothing is written yet."""
        self.out, self._config = out, config
        self._state = out / _STATE

    @property
    def finished(self) -> bool:
        """Whether this very run was carried to its end here."""
        record = read_record(self.out)
        return (
            record is not None
            and record["settings"] == self._config.to_dict()
            and record["step"] == self._config.optimisation.steps
        )

    def check(self) -> None:
        """Find the directory this run's or free, and those of its snapshots.

        Raises:
            TrainingError: one holds another run or something else.
        """
        record = read_record(self.out)
        if record is not None:
            if record["settings"] != self._config.to_dict():
                raise TrainingError(
                    f"{self.out} holds a run with another configuration; name another directory, "
                    "or delete it to start anew."
                )
            return
        for folder in (self.out, *map(self.snapshot, self._config.snapshots)):
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise TrainingError(
                    f"{folder} is not empty and holds no run of this configuration to go on with; "
                    "name another directory."
                )

    def claim(self) -> None:
        """Make a free directory this run's.

        Raises:
            TrainingError: it cannot be written to.
        """
        if read_record(self.out) is None:
            self.write_record(self.out, 0, {})

    def snapshot(self, step: int) -> Path:
        """Where the copy after ``step`` steps goes: beside the directory, ``NAME-step-N``."""
        return self.out.with_name(f"{self.out.name}-step-{step}")

    def write_record(self, folder: Path, step: int, made_from: Mapping[str, Any]) -> None:
        """Write ``training.json``: settings, step, and what the weights were made from."""
        record = {"settings": self._config.to_dict(), "step": step, **made_from}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / f"{RECORD}.part"
            part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
            part.replace(folder / RECORD)
        except OSError as error:
            raise TrainingError(f"{folder} cannot be written to: {error.strerror}.") from None

    def save(self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Keep all that the next step depends on; a run killed meanwhile keeps the state before."""
        state = {
            "step": step,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        }
        part = self._state.with_suffix(".part")
        torch.save(state, part)
        part.replace(self._state)

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Take up the saved state, if there is one, and return how many steps are done.

        Raises:
            TrainingError: the state is broken.
        """
        if not self._state.exists():
            return 0
        try:
            state = torch.load(self._state, weights_only=True, map_location="cpu")
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["rng"])
            if state["cuda_rng"] is not None and torch.cuda.is_available():
                torch.cuda.set_rng_state(state["cuda_rng"])
            return int(state["step"])
        except (OSError, EOFError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
            raise TrainingError(
                f"{self._state} is broken ({error}); delete it to start the run anew."
            ) from None

    def forget_state(self) -> None:
        """Remove what only a run in progress needs."""
        self._state.unlink(missing_ok=True)
        self._state.with_suffix(".part").unlink(missing_ok=True)


def read_record(folder: Path) -> dict[str, Any] | None:
    """What ``training.json`` says; None where there is none or it is something else."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(record, dict) and {"settings", "step"} <= set(record)
    return record if known else None


@contextmanager
def interrupted_only_after() -> Iterator[None]:
    """Ctrl-C within the block takes effect at its end, so that a step is done whole or not at all.

    Only the main thread is ever interrupted; in others this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: asked.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)
    if asked:
        raise KeyboardInterrupt
