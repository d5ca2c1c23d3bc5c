"""How one site writes the values of slots, and what they then say: the work behind a decoding."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from inspector.analyses.gates import MeanGates
from inspector.analyses.token_ranking import TokenEnds
from inspector.analyses.unembedding import unembedding_of
from inspector.analyses.value_quality import (
    CONTEXT_NULLS,
    NULLS,
    finer_p_values,
    nulls_of,
    own_p_values,
    shared_p_values,
)
from inspector.capture.session import standing_rows
from inspector.errors import NotShown, SlotError
from inspector.families.base import MemoryModel, Site, SiteInfo

GATES: Final = ("raw", "static", "context")
_NUMBERS: Final = 1 << 22  # of null vectors, written at once

Watch = Callable[[], None]  # called now and then; may raise to stop


def unwatched() -> None:
    """For work that nobody stops."""


def check_additive(info: SiteInfo) -> None:
    """Refuse to decode single values as a site writes them, where it writes no sum over reads.

    Raises:
        NotShown: such a site.
    """
    if not info.additive:
        raise NotShown(
            f"What {info.name} writes is no sum over its reads, so a single value has no "
            "contribution that could be decoded there; raw values can be."
        )


@dataclass(frozen=True, eq=False)
class DecodedRows:
    """What some slots say: ``ends [slot top]``, ``standing``, ``p_value``, ``fallback [slot]``."""

    ends: TokenEnds
    standing: np.ndarray
    p_value: np.ndarray
    fallback: np.ndarray


class SlotDecoder:
    """Decodes the values of slots as one site writes them through one kind of gate.

    What it says of a slot depends on that slot alone, not on the others it is asked with.
    """

    def __init__(
        self, model: MemoryModel, site: Site, gate: str | Tensor, gates: MeanGates | None
    ) -> None:
        """Decode at ``site`` through ``gate``: see ``decode``, whose errors this raises."""
        self.model = model
        self.site = site
        self.gate = "context" if isinstance(gate, Tensor) else gate
        self._one_gate = gate.float() if isinstance(gate, Tensor) else None
        self._gates = gates if self.gate == "static" and site.info.gated else None
        self._check(gates)
        self._index = unembedding_of(model)
        self._projection = None if self.gate == "raw" else _projection(model, site)

    def _check(self, gates: MeanGates | None) -> None:
        info = self.site.info
        if self.gate not in GATES or (self.gate == "context" and self._one_gate is None):
            raise ValueError(
                f"gate = {self.gate!r} must be one of {', '.join(GATES)} or a gate vector"
            )
        if self.gate == "raw" and info.d_value != info.d_model:
            raise SlotError(
                f"Values of {info.name} have {info.d_value} dimensions and the residual stream "
                f"{info.d_model}: raw values cannot be decoded, only projected ones."
            )
        if self.gate != "raw":
            check_additive(info)
        if self.gate == "static" and info.gated and gates is None:
            raise ValueError("a static decoding needs the mean gates of a scan: see mean_gates")

    @torch.inference_mode()
    def rows(self, slots: Tensor, top: int, watch: Watch = unwatched) -> DecodedRows:
        """Decode ``slots [slot]``, on the model's device; ``watch`` may stop it by raising."""
        values = standing_rows(self.site, slots).float()
        gate, fallback = self._one_gate, np.zeros(len(slots), dtype=bool)
        if self._gates is not None:
            gate, seen = self._gates.rows(self.site.info.name, slots.cpu())
            gate, fallback = gate.to(slots.device), ~seen.numpy()
        vectors = self._write(values, gate)
        ends = self._index.ends(vectors, top)
        watch()
        standing = self._index.standardise(vectors, ends.promoted_logits[:, 0])
        if self._gates is None:
            p_value = shared_p_values(standing, self._null_standings())
        else:
            assert gate is not None
            p_value = own_p_values(standing, partial(self._drawn, gate, watch))
        return DecodedRows(ends, standing.numpy(), p_value.numpy(), fallback)

    @property
    def own_nulls(self) -> bool:
        """Whether each slot has null vectors through a gate of its own."""
        return self._gates is not None

    @torch.inference_mode()
    def finer(
        self, p_value: np.ndarray, standing: np.ndarray, watch: Callable[[float], None]
    ) -> np.ndarray:
        """``p_value [slot]`` of all slots, made finer: see ``finer_p_values``.

        ``watch`` is told the share done of what may be needed, and may stop it by raising.
        """
        gates, site = self._gates, self.site
        assert gates is not None

        def draw(slots: Tensor, part: slice) -> Tensor:
            gate, _ = gates.rows(site.info.name, slots)
            watch(part.start / NULLS)
            tell = partial(watch, part.start / NULLS)
            return self._drawn(
                gate.to(self._index.tokens.device), tell, torch.arange(len(slots)), part
            )

        found = finer_p_values(torch.from_numpy(p_value), torch.from_numpy(standing).double(), draw)
        return np.asarray(found.numpy())

    def _write(self, values: Tensor, gate: Tensor | None) -> Tensor:
        """Values in the residual stream, rounded once so that a block writes what a row does."""
        if self._projection is None:
            return values
        gated = values if gate is None else values * gate
        return (gated.double() @ self._projection).float()

    def _null_standings(self) -> Tensor:
        """Standings ``[null]`` where one set of null vectors does for all slots."""
        nulls = nulls_of(self.site.table).to(self._index.tokens.device)
        if self.gate == "context":
            nulls = nulls[:CONTEXT_NULLS]
            return self._index.quick_standing(self._write(nulls, self._one_gate))
        known = _NULL_STANDINGS.setdefault(self.model.module, {})
        key = (self.site.info.table, None if self.gate == "raw" else self.site.info.name)
        if key not in known:
            known[key] = self._index.quick_standing(self._write(nulls, None))
        return known[key]

    def _drawn(self, gates: Tensor, watch: Watch, slots: Tensor, part: slice) -> Tensor:
        """Standings ``[slot null]`` of some null vectors through the gates of some slots."""
        nulls = nulls_of(self.site.table)[part].to(gates.device)
        found = []
        for some in slots.to(gates.device).split(max(1, _NUMBERS // nulls.numel())):
            watch()
            written = self._write(nulls, gates[some][:, None]).flatten(0, 1)
            found.append(self._index.quick_standing(written).view(len(some), len(nulls)))
        return torch.cat(found) if found else torch.empty(0, len(nulls), dtype=torch.float64)


# Null standings of values that no gate tells apart, once per table and site.
_NULL_STANDINGS: weakref.WeakKeyDictionary[nn.Module, dict[tuple[int, str | None], Tensor]] = (
    weakref.WeakKeyDictionary()
)


@torch.inference_mode()
def _projection(model: MemoryModel, site: Site) -> Tensor:
    """What gated values are multiplied with to be in the residual stream at its end.

    ``[d_value d_model]`` float64. A projection is linear in values, so where it takes the unit
    vectors says all of it.
    """
    weight = next(site.module.parameters())
    units = torch.eye(site.info.d_value, device=weight.device, dtype=weight.dtype)
    written = site.project(units, torch.ones_like(units) if site.info.gated else None)
    return model.backbone.carried(written.double(), site.info.layer, "feed_forward")
