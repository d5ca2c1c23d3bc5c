"""What values say: the tokens each promotes and suppresses, and whether that means anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inspector.analyses.gates import MeanGates
from inspector.analyses.slot_decoder import SlotDecoder, check_additive
from inspector.analyses.value_quality import TESTED_AT
from inspector.capture.trace import Trace
from inspector.errors import SlotError
from inspector.families.base import MemoryModel


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
        return self.p_value <= TESTED_AT

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
        NotShown: what the site writes is no sum over its reads, so that only raw values decode.
        ValueError: ``static`` without ``gates``, or an unknown gate.
    """
    chosen = model.site(site or next(iter(model.sites), "L0"))
    index = torch.as_tensor(slots, dtype=torch.long, device=model.device).reshape(-1)
    if len(index) and not 0 <= int(index.min()) <= int(index.max()) < chosen.info.slots:
        raise SlotError(
            f"Slots of {chosen.info.name} are 0 to {chosen.info.slots - 1}; found "
            f"{int(index.min())} to {int(index.max())}."
        )
    decoder = SlotDecoder(model, chosen, gate, gates)
    rows = decoder.rows(index, top)
    promoted, suppressed = rows.ends.promoted.numpy(), rows.ends.suppressed.numpy()
    token_ids = np.unique(np.concatenate([promoted.ravel(), suppressed.ravel()]))
    return Decoding(
        site=chosen.info.name,
        gate=decoder.gate,
        slots=index.cpu().numpy(),
        promoted=promoted,
        promoted_logits=rows.ends.promoted_logits.numpy(),
        suppressed=suppressed,
        suppressed_logits=rows.ends.suppressed_logits.numpy(),
        standing=rows.standing,
        p_value=rows.p_value,
        fallback=rows.fallback,
        vocabulary=tuple(model.token_text(int(token)) for token in token_ids),
        token_ids=token_ids,
    )


def gate_at(model: MemoryModel, trace: Trace, site: str, pos: int, row: int = 0) -> Tensor | str:
    """What ``decode`` takes as ``gate`` to decode values in the context of one traced token.

    Where nothing gates the values, that is ``static``: they mean the same for every token.

    Raises:
        NotShown: what the site writes is no sum over its reads, so it has no gate for one value.
    """
    chosen = model.site(site)
    check_additive(chosen.info)
    with torch.inference_mode():
        gate = chosen.gate(trace.inputs[site][row, pos])
    return "static" if gate is None else gate
