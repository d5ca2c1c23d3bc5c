"""What values say: the tokens each promotes and suppresses, and whether that means anything."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inspector.analyses.gates import MeanGates
from inspector.analyses.unembedding import Unembedding, null_vectors, unembedding_of
from inspector.capture.trace import Trace
from inspector.errors import SlotError
from inspector.families.base import MemoryModel, Site
from inspector.memory.values import ValueTable

GATES = ("raw", "static", "context")
_NULLS = 400
_TESTED_AT = 0.05
_ROUNDING = 1e-5  # where all vectors say the same, float32 must not tell them apart


@dataclass(frozen=True, eq=False)
class Decoding:
    """Tokens that values promote and suppress.

    ``slots [slot]``; ``promoted`` and ``suppressed`` token ids ``[slot top]`` with their logits
    ``[slot top]`` (inner products with the unembedding, final norm's scale applied, not divided by
    the rms); ``standing [slot]`` the top logit standardised over the vocabulary; ``p_value
    [slot]`` the share of null vectors (the table's covariance, same gate and projection) that
    stand at least as high. ``gate`` names how values reached the residual stream; ``fallback
    [slot]`` is True where a static gate had no reads and the site's mean stood in.
    """

    site: str
    gate: str
    slots: np.ndarray
    promoted: np.ndarray
    promoted_logits: np.ndarray
    suppressed: np.ndarray
    suppressed_logits: np.ndarray
    standing: np.ndarray
    p_value: np.ndarray
    fallback: np.ndarray
    vocabulary: tuple[str, ...]  # texts of the tokens that occur, by position in ``token_ids``
    token_ids: np.ndarray

    def __post_init__(self) -> None:
        """Refuse parts that disagree in length."""
        count = len(self.slots)
        parts = (self.promoted, self.suppressed, self.standing, self.p_value, self.fallback)
        if any(len(part) != count for part in parts):
            raise ValueError(f"a decoding of {count} slots has parts of other lengths")

    @property
    def passes(self) -> np.ndarray:
        """Whether a value stands out from null vectors at 5 %, ``[slot]`` bool."""
        return self.p_value <= _TESTED_AT

    def texts(self, ids: np.ndarray) -> list[str]:
        """Texts of token ``ids``."""
        return [self.vocabulary[i] for i in np.searchsorted(self.token_ids, ids)]

    def to_frame(self) -> pd.DataFrame:
        """One row a slot: tokens as lists, best first."""
        return pd.DataFrame(
            {
                "site": self.site,
                "gate": self.gate,
                "slot": self.slots,
                "promoted": [self.texts(row) for row in self.promoted],
                "promoted_logits": self.promoted_logits.tolist(),
                "suppressed": [self.texts(row) for row in self.suppressed],
                "suppressed_logits": self.suppressed_logits.tolist(),
                "standing": self.standing,
                "p_value": self.p_value,
                "passes": self.passes,
                "fallback": self.fallback,
            }
        )


def decode(
    model: MemoryModel,
    slots: Sequence[int] | Tensor,
    site: str | None = None,
    gate: str | Tensor = "raw",
    *,
    top: int = 5,
    gates: MeanGates | None = None,
) -> Decoding:
    """Decode the values of ``slots`` as ``site`` would write them.

    Args:
        model: an opened checkpoint.
        slots: slot numbers ``[slot]``.
        site: name of a site; the first one by default. A shared value decodes differently at each.
        gate: ``raw`` (the value itself times the unembedding), ``static`` (through the site's
            projection with the mean gate of the tokens that read the slot; needs ``gates``), or
            the gate of one token, ``[d_value]``: the value *in context*.
        top: tokens per value.
        gates: mean gates from a scan (``mean_gates``).

    Raises:
        SlotError: no such site or slot, or raw values do not live in the residual stream.
        ValueError: ``static`` without ``gates``, or an unknown gate.
    """
    chosen = model.site(site or next(iter(model.sites), "L0"))
    index = torch.as_tensor(slots, dtype=torch.long, device=model.device).reshape(-1)
    if len(index) and not 0 <= int(index.min()) <= int(index.max()) < chosen.info.slots:
        raise SlotError(
            f"Slots of {chosen.info.name} are 0 to {chosen.info.slots - 1}; found "
            f"{int(index.min())} to {int(index.max())}."
        )
    applied, name, fallback = _gate_rows(chosen, index, gate, gates)
    with torch.inference_mode():
        values = chosen.table.rows(index).float()
        vectors = _write(chosen, values, applied, raw=name == "raw")
        quality = _quality(model, chosen, vectors, applied, raw=name == "raw")
    return _assemble(model, (chosen.info.name, name), index, vectors, quality, fallback, top)


def gate_at(model: MemoryModel, trace: Trace, site: str, pos: int, row: int = 0) -> Tensor | str:
    """What ``decode`` takes as ``gate`` to decode values in the context of one traced token.

    Where nothing gates the values, that is ``static``: they mean the same for every token.
    """
    chosen = model.site(site)
    with torch.inference_mode():
        gate = chosen.gate(trace.inputs[site][row, pos])
    return "static" if gate is None else gate


def _gate_rows(
    site: Site, slots: Tensor, gate: str | Tensor, gates: MeanGates | None
) -> tuple[Tensor | None, str, np.ndarray]:
    """The gate per slot (or one for all), what it is called, and where it is a stand-in."""
    none = np.zeros(len(slots), dtype=bool)
    if isinstance(gate, Tensor):
        return gate.float(), "context", none
    if gate == "raw":
        if site.info.d_value != site.info.d_model:
            raise SlotError(
                f"Values of {site.info.name} have {site.info.d_value} dimensions and the residual "
                f"stream {site.info.d_model}: raw values cannot be decoded, only projected ones."
            )
        return None, "raw", none
    if gate != "static":
        raise ValueError(f"gate = {gate!r} must be one of {', '.join(GATES)} or a gate vector")
    if not site.info.gated:
        return None, "static", none
    if gates is None:
        raise ValueError("a static decoding needs the mean gates of a scan: see mean_gates")
    rows, seen = gates.rows(site.info.name, slots.cpu())
    return rows.to(slots.device), "static", ~seen.numpy()


def _write(site: Site, values: Tensor, gate: Tensor | None, *, raw: bool) -> Tensor:
    if raw:
        return values
    weight = next(site.module.parameters())
    gate = None if gate is None else gate.to(weight.dtype)
    return site.project(values.to(weight.dtype), gate).float()


def _quality(
    model: MemoryModel, site: Site, vectors: Tensor, gate: Tensor | None, *, raw: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Standing of each vector, and its rank among null vectors through the same gate."""
    index = unembedding_of(model)
    standing = index.standing(vectors)
    noise = nulls_of(site.table).to(vectors.device).float()
    if gate is None or gate.ndim == 1:
        null = np.sort(index.standing(_write(site, noise, gate, raw=raw)))[None, :]
    else:
        null = _null_per_gate(index, site, noise, gate)
    at_least = (null >= standing[:, None] * (1 - _ROUNDING)).sum(-1)
    return standing, (1 + at_least) / (1 + null.shape[-1])


def _null_per_gate(index: Unembedding, site: Site, noise: Tensor, gates: Tensor) -> np.ndarray:
    """Null standings ``[slot null]``: each slot has a gate, and so a null, of its own."""
    rows = []
    for gate in gates:
        rows.append(index.standing(_write(site, noise, gate, raw=False)))
    return np.stack(rows)


_NULL_VECTORS: weakref.WeakKeyDictionary[ValueTable, Tensor] = weakref.WeakKeyDictionary()


def nulls_of(table: ValueTable) -> Tensor:
    """Null values of a table, made once: ``[null d_value]``."""
    if table not in _NULL_VECTORS:
        _NULL_VECTORS[table] = null_vectors(table.weight, _NULLS, seed=0)
    return _NULL_VECTORS[table]


def _assemble(
    model: MemoryModel,
    site_and_gate: tuple[str, str],
    slots: Tensor,
    vectors: Tensor,
    quality: tuple[np.ndarray, np.ndarray],
    fallback: np.ndarray,
    top: int,
) -> Decoding:
    index = unembedding_of(model)
    promoted, suppressed = index.promoted(vectors, top), index.suppressed(vectors, top)
    token_ids = np.unique(np.concatenate([promoted.ids.ravel(), suppressed.ids.ravel()]))
    site, gate = site_and_gate
    standing, p_value = quality
    return Decoding(
        site=site,
        gate=gate,
        slots=slots.cpu().numpy(),
        promoted=promoted.ids,
        promoted_logits=promoted.logits,
        suppressed=suppressed.ids,
        suppressed_logits=suppressed.logits,
        standing=standing,
        p_value=p_value,
        fallback=fallback,
        vocabulary=tuple(model.token_text(int(token)) for token in token_ids),
        token_ids=token_ids,
    )
