"""Mean gates: what a static decoding needs to know of the tokens that read each slot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from inspector.capture.session import logits, session
from inspector.errors import CacheError
from inspector.families.base import MemoryModel

FILE = "mean_gates.safetensors"


@dataclass(frozen=True, eq=False)
class SiteGates:
    """Mean gates of one site: ``slots [read_slot]`` ascending, ``gates [read_slot d_value]``.

    A slot's gate is the mean over the tokens that read it, weighted by the size of the read's
    coefficient; ``mean [d_value]`` is that over all reads of the site.
    """

    slots: Tensor
    gates: Tensor
    mean: Tensor

    def __post_init__(self) -> None:
        """Refuse parts that disagree."""
        if len(self.slots) != len(self.gates) or self.gates.shape[1:] != self.mean.shape:
            raise ValueError("mean gates disagree in shape")


@dataclass(frozen=True, eq=False)
class MeanGates:
    """Mean gates of all gated sites, and on what they were measured."""

    sites: Mapping[str, SiteGates]
    fingerprint: str  # of the checkpoint
    corpus: str
    tokens: int

    def rows(self, site: str, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Gates ``[slot d_value]`` for ``slots [slot]``, and whether each was ever read."""
        own = self.sites[site]
        if not len(own.slots):
            return own.mean.expand(len(slots), -1).float(), torch.zeros(
                len(slots), dtype=torch.bool
            )
        place = torch.searchsorted(own.slots, slots).clamp_max(len(own.slots) - 1)
        seen = own.slots[place] == slots
        return torch.where(seen[:, None], own.gates[place].float(), own.mean.float()), seen


def measure_mean_gates(model: MemoryModel, batches: Iterable[Tensor], corpus: str) -> MeanGates:
    """Scan ``batches`` of ids ``[batch pos]`` (no padding) for the mean gate of every slot."""
    gated = {name: site for name, site in model.sites.items() if site.info.gated}
    sums = {n: torch.zeros(s.info.slots, s.info.d_value) for n, s in gated.items()}
    weights = {n: torch.zeros(s.info.slots) for n, s in gated.items()}
    tokens = 0
    for ids in batches:
        with session(record=True) as recording:
            logits(model, ids.to(model.device))
        tokens += ids.numel()
        for name, site in gated.items():
            with torch.inference_mode():
                gate = site.gate(recording.inputs[name])
                assert gate is not None
                reads = recording.reads[name]
                slots = reads.slots.flatten(0, 1).flatten(1).cpu()  # [token read]
                weight = reads.coefficients.flatten(0, 1).flatten(1).abs().float().cpu()
                rows = gate.flatten(0, 1).float().cpu()
                for read in range(slots.shape[1]):
                    sums[name].index_add_(0, slots[:, read], rows * weight[:, read, None])
                    weights[name].index_add_(0, slots[:, read], weight[:, read])
    return MeanGates(
        {name: _means(sums[name], weights[name]) for name in gated},
        model.fingerprint,
        corpus,
        tokens,
    )


def _means(sums: Tensor, weights: Tensor) -> SiteGates:
    slots = weights.nonzero().flatten()
    mean = sums.sum(0) / weights.sum().clamp_min(1e-12)
    return SiteGates(slots, sums[slots] / weights[slots, None], mean)


def write_mean_gates(path: Path, gates: MeanGates) -> None:
    """Write ``gates`` to a safetensors file, in float16 (relative rounding of 5e-4)."""
    tensors = {}
    for name, site in gates.sites.items():
        tensors[f"{name}.slots"] = site.slots.int()
        tensors[f"{name}.gates"] = site.gates.half().contiguous()
        tensors[f"{name}.mean"] = site.mean.half().contiguous()
    part = path.with_suffix(".part")
    save_file(
        tensors,
        part,
        {"fingerprint": gates.fingerprint, "corpus": gates.corpus, "tokens": str(gates.tokens)},
    )
    part.replace(path)


def read_mean_gates(path: Path) -> MeanGates:
    """Read what ``write_mean_gates`` wrote.

    Raises:
        CacheError: the file is broken or something else.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            about = opened.metadata() or {}
            names = sorted({key.split(".")[0] for key in opened.keys()})  # noqa: SIM118
            sites = {
                name: SiteGates(
                    opened.get_tensor(f"{name}.slots").long(),
                    opened.get_tensor(f"{name}.gates"),
                    opened.get_tensor(f"{name}.mean"),
                )
                for name in names
            }
        return MeanGates(sites, about["fingerprint"], about["corpus"], int(about["tokens"]))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CacheError(
            f"{path} holds no mean gates ({error}). Delete it and scan again."
        ) from None


def mean_gates(model: MemoryModel) -> MeanGates | None:
    """The mean gates shipped with a checkpoint; None where it has none or they are not its own."""
    path = model.path / FILE
    if not path.is_file():
        return None
    gates = read_mean_gates(path)
    return gates if gates.fingerprint == model.fingerprint else None
