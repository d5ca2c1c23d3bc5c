"""What a slot does: predictions with it removed where it's read, against fair controls.

Three groups, each with the slot's value silenced (*zero*: the read's coefficient becomes 0 and the
other weights stay) and with it removed before the top k (*mask*: others take its place), at all
positions and at all sites that read its table:

- *strongest*: the contexts that read it most strongly;
- *random*: contexts drawn at random from the others that read it;
- *another read*: the strongest contexts again, but instead of the slot another one that fired at
  the same token and site, that whose contribution is nearest in norm.

A slot that isn't read changes nothing, so that only reads that fired are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inspector.analyses.slot_contexts import ReadContext
from inspector.capture.contributions import read_contributions
from inspector.capture.edits import MaskSlots, ZeroSlots
from inspector.capture.lookup_edits import Edit
from inspector.capture.session import Recording, run_sites, session
from inspector.families.base import MemoryModel
from inspector.memory.product_keys import SiteReads

Group = Literal["strongest", "random", "another read"]
Meaning = Literal["zero", "mask"]
MEANINGS: Final[tuple[Meaning, ...]] = ("zero", "mask")


@dataclass(frozen=True, eq=False)
class Ablated:
    """One group under one meaning of ablation, all ``[context]``.

    ``kl`` is KL(intact || ablated) of the next-token prediction in nats; ``change`` that in the
    log-probability of the token that really followed, NaN where none does; ``slots`` what was
    ablated.
    """

    group: Group
    meaning: Meaning
    slots: np.ndarray
    kl: np.ndarray
    change: np.ndarray

    def __post_init__(self) -> None:
        """Refuse parts that disagree in length."""
        if not len(self.slots) == len(self.kl) == len(self.change):
            raise ValueError("a group of ablations has parts of other lengths")


@dataclass(frozen=True, eq=False)
class SlotAblation:
    """The effect of ablating one slot; ``norm_ratio`` is the summed contribution norm of the
    control's reads over that of the slot's own (NaN where there is no control).
    """

    table: int
    slot: int
    sites: tuple[str, ...]  # where the ablation acts
    groups: tuple[Ablated, ...]
    norm_ratio: float

    def to_frame(self) -> pd.DataFrame:
        """One row for each group and meaning: counts, means and medians."""
        return pd.DataFrame(
            [
                {
                    "group": each.group,
                    "ablation": each.meaning,
                    "contexts": len(each.kl),
                    "kl": float(each.kl.mean()),
                    "kl_median": float(np.median(each.kl)),
                    "with_next": int(np.isfinite(each.change).sum()),
                    "change": _mean(each.change),
                    "change_median": _median(each.change),
                }
                for each in self.groups
                if len(each.kl)
            ]
        )


def _mean(numbers: np.ndarray) -> float:
    known = numbers[np.isfinite(numbers)]
    return float(known.mean()) if len(known) else float("nan")


def _median(numbers: np.ndarray) -> float:
    known = numbers[np.isfinite(numbers)]
    return float(np.median(known)) if len(known) else float("nan")


def ablation(meaning: Meaning, slots: Tensor, sites: frozenset[str]) -> Edit:
    """The edit that takes ``slots [batch]`` out, each in its own row."""
    if meaning == "zero":
        return ZeroSlots(slots[:, None], sites)
    return MaskSlots(slots[:, None], None, sites)


def meanings(model: MemoryModel, table: int) -> tuple[Meaning, ...]:
    """How a slot of ``table`` can be ablated: not by mask where every lookup reads all slots."""
    infos = [model.site(name).info for name in model.sites_of(table)]
    return MEANINGS if all(info.knn < info.slots for info in infos) else ("zero",)


def ablate_slot(
    model: MemoryModel,
    table: int,
    slot: int,
    strongest: Sequence[ReadContext],
    random: Sequence[ReadContext],
) -> SlotAblation:
    """Ablate ``slot`` of ``table`` in contexts that read it, and another slot as a control."""
    sites, ways = model.sites_of(table), meanings(model, table)
    groups: list[Ablated] = []
    ratio = float("nan")
    if strongest:
        passes = _Passes(model, strongest, frozenset(sites))
        own = torch.full((len(strongest),), slot, device=model.device)
        groups += [passes.ablate("strongest", meaning, own) for meaning in ways]
        control, norms, own_norms = _controls(model, passes, sites, slot)
        chosen = (control >= 0).nonzero().flatten()
        if len(chosen):
            ratio = float(norms[chosen].sum() / own_norms[chosen].sum().clamp_min(1e-12))
            kept = [strongest[place] for place in chosen.tolist()]
            passes = _Passes(model, kept, frozenset(sites))
            groups += [passes.ablate("another read", m, control[chosen]) for m in ways]
    if random:
        passes = _Passes(model, random, frozenset(sites))
        own = torch.full((len(random),), slot, device=model.device)
        groups += [passes.ablate("random", meaning, own) for meaning in ways]
    order = ("strongest", "random", "another read")
    groups.sort(key=lambda each: order.index(each.group))
    return SlotAblation(table, slot, sites, tuple(groups), ratio)


class _Passes:
    """Some contexts as one batch: run as they are, then with edits."""

    def __init__(
        self, model: MemoryModel, contexts: Sequence[ReadContext], sites: frozenset[str]
    ) -> None:
        self._model, self._sites = model, sites
        lengths = [len(each.prefix) for each in contexts]
        ids = torch.zeros(len(contexts), max(lengths), dtype=torch.int64)
        for row, each in enumerate(contexts):
            ids[row, : len(each.prefix)] = torch.tensor(each.prefix)
        self._ids = ids.to(model.device)
        self.last = torch.tensor(lengths, device=model.device) - 1
        self.rows = torch.arange(len(contexts), device=model.device)
        following = [each.following[0] if each.following else -1 for each in contexts]
        self._following = torch.tensor(following, device=model.device)
        self.recording, self._intact = self._run(())

    def _run(self, edits: Sequence[Edit]) -> tuple[Recording, Tensor]:
        """What was read, and log-probabilities after each context ``[batch d_vocab]``."""
        with session(edits, record=True, residual=True) as recording:
            run_sites(self._model, self._ids)
        assert recording.residual is not None
        backbone = self._model.backbone
        with torch.inference_mode():
            final = recording.residual[self.rows, self.last]
            logits: Tensor = backbone.head(backbone.final_norm(final))
            return recording, logits.float().log_softmax(-1)

    def ablate(self, group: Group, meaning: Meaning, slots: Tensor) -> Ablated:
        _, changed = self._run([ablation(meaning, slots, self._sites)])
        kl = (self._intact.exp() * (self._intact - changed)).sum(-1).clamp_min(0)
        has = self._following >= 0
        gap = changed - self._intact
        change = gap[self.rows, self._following.clamp_min(0)].masked_fill(~has, torch.nan)
        return Ablated(group, meaning, slots.cpu().numpy(), kl.cpu().numpy(), change.cpu().numpy())


def _controls(
    model: MemoryModel, passes: _Passes, sites: Sequence[str], slot: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Per context another slot that fired there, its contribution's norm, and the slot's own.

    Taken from the site where the slot's own contribution is largest. -1: there is no other.
    """
    rows, last = passes.rows, passes.last
    best = torch.full((len(rows),), -1, device=model.device)
    norms, own_norms = (torch.zeros(len(rows), device=model.device) for _ in range(2))
    for name in sites:
        if not model.site(name).info.additive:
            continue  # a single read has no contribution there, and so no norm
        reads = passes.recording.reads[name]
        parts = (reads.slots, reads.scores, reads.weights, reads.coefficients)
        here = SiteReads(*(part[rows, last] for part in parts))  # [batch head knn]
        with torch.inference_mode():
            written = read_contributions(
                model.site(name), passes.recording.inputs[name][rows, last], here
            )
        size = written.float().norm(dim=-1).flatten(1)  # [batch read]
        slots = here.slots.flatten(1)
        own = size.masked_fill(slots != slot, -1).amax(-1)
        gap = (size - own[:, None]).abs().masked_fill(slots == slot, torch.inf)
        nearest = gap.argmin(-1)
        better = (own > own_norms) & gap.isfinite().any(-1)
        best = torch.where(better, slots[rows, nearest], best)
        norms = torch.where(better, size[rows, nearest], norms)
        own_norms = torch.where(better, own, own_norms)
    return best, norms, own_norms
