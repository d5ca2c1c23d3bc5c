"""Opening a checkpoint and checking that what the inspector will show is what the model does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

import inspector.families.native  # noqa: F401  registers itself
from inspector.capture.contributions import relative_error, site_errors
from inspector.capture.session import install_hooks, logits, session
from inspector.errors import CheckpointNotFound, DeviceUnavailable
from inspector.families.base import MemoryModel
from inspector.families.registry import open_checkpoint

_PROBE_TOKENS = 24
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 5e-2}


@dataclass(frozen=True)
class SelfCheck:
    """How exactly the parts add up to what the model computes, on a probe of random tokens.

    Errors are the largest deviation over the largest magnitude. ``sites``: contributions plus
    remainder against each memory layer's own output; ``residual``: everything written against
    what the final norm saw; ``hooked``: recorded logits against those of an unhooked pass.
    """

    sites: Mapping[str, float]
    residual: float
    hooked: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether every error is within tolerance for the model's number format."""
        errors = (*self.sites.values(), self.residual, self.hooked)
        return all(error <= self.tolerance for error in errors)  # NaN fails, which max would lose


def choose_device(device: str) -> torch.device:
    """The device ``auto``, ``cpu`` or ``cuda`` means here.

    Raises:
        DeviceUnavailable: it isn't there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).item()  # "meta" gives tensors, but no numbers
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceUnavailable(
            f"The device {device!r} cannot be used here ({reason}). Try device='cpu'."
        ) from None
    return chosen


def load(path: str | Path, device: str = "auto", dtype: torch.dtype | None = None) -> MemoryModel:
    """Open the checkpoint at ``path``, ready to be traced.

    Value tables stay in their file on the CPU: only rows that are read are fetched.

    Args:
        path: a checkpoint's directory.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:1``.
        dtype: number format to compute in; None keeps the checkpoint's own.

    Raises:
        CheckpointError: it cannot be opened, or its tensors and its config disagree.
        DeviceUnavailable: there is no such device here.
    """
    try:
        folder = Path(path).expanduser()
    except RuntimeError:
        raise CheckpointNotFound(
            f"There is no home directory as in {str(path)!r}. Give the full path."
        ) from None
    model = open_checkpoint(folder, device=choose_device(device), dtype=dtype)
    install_hooks(model)
    return model


def self_check(model: MemoryModel, seed: int = 0) -> SelfCheck:
    """Hold the decomposition that the inspector shows against the model's own computation."""
    generator = torch.Generator().manual_seed(seed)
    length = min(_PROBE_TOKENS, model.positions)
    size = model.backbone.head.out_features
    ids = torch.randint(size, (1, length), generator=generator).to(model.device)
    plain = logits(model, ids)
    with session(record=True, residual=True) as recording:
        recorded = logits(model, ids)
    with torch.inference_mode():
        sites = site_errors(model, recording.reads, recording.inputs, recording.outputs)
        assert recording.embedding is not None
        assert recording.residual is not None
        written = recording.embedding + sum(
            part
            for parts in (recording.attentions, recording.feed_forwards, recording.outputs)
            for part in parts.values()
        )
        residual = relative_error(written, recording.residual)
    hooked = relative_error(recorded, plain)
    return SelfCheck(sites, residual, hooked, _TOLERANCE[model.dtype])
