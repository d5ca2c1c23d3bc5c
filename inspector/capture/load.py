"""Opening a checkpoint and checking that what the inspector will show is what the model does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import inspector.families.doge
import inspector.families.meta
import inspector.families.native
import inspector.families.re133  # noqa: F401  families register themselves
from inspector.capture.contributions import relative_error, site_errors
from inspector.capture.loaders import is_loader, open_loader
from inspector.capture.session import install_hooks, logits, session
from inspector.capture.trace import written_parts
from inspector.errors import CheckpointNotFound, DeviceUnavailable
from inspector.families.base import MemoryModel
from inspector.families.hub import fetch, fetched_whole, hub_id
from inspector.families.registry import open_checkpoint

_PROBE_TOKENS = 24
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 5e-2}


@dataclass(frozen=True)
class SelfCheck:
    """How exactly the parts add up to what the model computes, on a probe of random tokens.

    Errors are the largest deviation over the largest magnitude. ``sites``: contributions plus
    remainder against each memory layer's own output, where that is a sum of reads; ``residual``:
    everything written against what the final norm saw, None where the model's parts could not be
    told apart; ``hooked``: recorded logits against those of an unhooked pass.
    """

    sites: Mapping[str, float]
    residual: float | None
    hooked: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether every error is within tolerance for the model's number format."""
        residual = () if self.residual is None else (self.residual,)
        errors = (*self.sites.values(), *residual, self.hooked)
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
    except (RuntimeError, AssertionError, ImportError) as error:  # its module may be missing
        reason = str(error).splitlines()[0]
        raise DeviceUnavailable(
            f"The device {device!r} cannot be used here ({reason}). Try device='cpu'."
        ) from None
    return chosen


def load(
    path: str | Path,
    device: str = "auto",
    dtype: torch.dtype | None = None,
    tokenizer: str | Path | None = None,
    routing: str | None = None,
    *,
    offline: bool = False,
) -> MemoryModel:
    """Open the checkpoint at ``path``, ready to be traced.

    Value tables stay in their file on the CPU: only rows that are read are fetched.

    Args:
        path: a checkpoint's directory or file; a name on the Hugging Face Hub, ``org/name`` or
            ``org/name@revision``, where nothing lies at that path; or ``module:function``, a
            loader of your own (see ``inspector.capture.loaders``), where that is allowed.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:1``.
        dtype: number format to compute in; None keeps the checkpoint's own.
        tokenizer: its tokenizer's file, where the checkpoint doesn't bring one.
        routing: of Doge, ``token`` (every position by itself, as it writes; the default) or
            ``full`` (transformers' full pass over one text).
        offline: open a name on the Hub only from what was fetched before, and ask nobody.

    Raises:
        UnsafeCheckpoint: it is a loader of your own, and those aren't allowed here.
        CheckpointError: it cannot be opened, or its tensors and its config disagree.
        TokenizerNeeded: it doesn't bring its tokenizer, and ``tokenizer`` doesn't say where it is.
        DeviceUnavailable: there is no such device here.
    """
    chosen = choose_device(device)
    if is_loader(path):
        return open_loader(str(path), chosen, dtype)
    name = hub_id(path)
    model = open_checkpoint(
        _expanded(path) if name is None else fetched_whole(name) if offline else fetch(name),
        device=chosen,
        dtype=dtype,
        tokenizer=None if tokenizer is None else _expanded(tokenizer),
        routing=routing,
    )
    if name is not None:
        model = replace(model, name=str(name))
    install_hooks(model)
    return model


def _expanded(path: str | Path) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise CheckpointNotFound(
            f"There is no home directory as in {str(path)!r}. Give the full path."
        ) from None


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
        sites = site_errors(
            model, recording.reads, recording.inputs, recording.outputs, recording.values
        )
        residual = None
        if model.backbone.complete:
            parts = written_parts(model, recording)
            residual = relative_error(sum(parts.all(), parts.embedding), parts.final)
    hooked = relative_error(recorded, plain)
    return SelfCheck(sites, residual, hooked, _TOLERANCE[model.dtype])
