"""The monitor for transformers' Trainer: ``Trainer(..., callbacks=[MonitorCallback(folder)])``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerCallback

from inspector.training.monitor import Monitor


class MonitorCallback(TrainerCallback):  # type: ignore[misc]
    """Records how the memory of the model that a Trainer trains is used.

    The record goes to ``monitor`` in the Trainer's output directory, or to ``folder``; the options
    are those of ``Monitor``. Prefixes are told apart by the batch's ``input_ids``, and padding is
    left out by its ``attention_mask``.
    """

    def __init__(self, folder: Path | None = None, **options: Any) -> None:
        """Nothing is watched before the training begins."""
        self._folder, self._options = folder, options
        self.monitor: Monitor | None = None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **_other: Any
    ) -> None:
        """Watch ``model`` from here on, or go on with the record of an interrupted run.

        Raises:
            TrainingError: it has no memory layer.
        """
        assert model is not None
        folder = self._folder or Path(args.output_dir) / "monitor"
        self.monitor = Monitor(model, folder, **self._options)
        self.monitor.begin(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_other: Any) -> None:
        """One step of the optimizer is done."""
        if self.monitor is not None:
            self.monitor.step(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_other: Any) -> None:
        """The training is over."""
        if self.monitor is not None:
            self.monitor.close()
            self.monitor = None
