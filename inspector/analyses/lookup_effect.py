"""What one lookup comes to: from the sum of values to the residual stream and the next token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from inspector.analyses.direct_effect import reads_at
from inspector.analyses.prediction_changes import best_predictions
from inspector.analyses.unembedding import unembedding_of
from inspector.capture.contributions import read_contributions
from inspector.capture.edits import ZeroReads
from inspector.capture.session import logits, session
from inspector.capture.trace import Trace
from inspector.families.base import MemoryModel


@dataclass(frozen=True, eq=False)
class LookupEffect:
    """One site at one token, from its values to the prediction.

    ``summed [d_value]`` over all heads; ``gate [d_value]``, None where nothing gates the sum;
    ``written [d_model]`` by all reads, and ``head [d_model]`` the part of one head; ``rms`` of the
    residual stream before the final norm. ``promoted`` and ``suppressed`` are the tokens whose
    logits all reads of the site move most, directly, as ``(text, logits)``. ``with_reads`` and
    ``without_reads`` are the best predictions ``(text, probability)``, as they are and once this
    site's reads at this token are zeroed: exact, by a second forward pass.
    """

    summed: np.ndarray
    gate: np.ndarray | None
    written: np.ndarray
    head: np.ndarray
    rms: float
    promoted: tuple[tuple[str, float], ...]
    suppressed: tuple[tuple[str, float], ...]
    with_reads: tuple[tuple[str, float], ...]
    without_reads: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        """Refuse vectors that disagree in length."""
        if self.written.shape != self.head.shape:
            raise ValueError(f"written {self.written.shape}, by the head {self.head.shape}")
        if self.gate is not None and self.gate.shape != self.summed.shape:
            raise ValueError(f"a sum of {self.summed.shape} through a gate of {self.gate.shape}")


def lookup_effect(
    model: MemoryModel, trace: Trace, site: str, pos: int, head: int, top: int = 5
) -> LookupEffect:
    """What all reads of ``site`` at ``pos`` write, and how the prediction fares without them."""
    chosen, reads = model.site(site), trace.reads[site]
    with torch.inference_mode():
        x, here = trace.inputs[site][0, pos], reads_at(trace, site, pos)
        contributions = read_contributions(chosen, x, here)  # [head knn d_model]
        values = chosen.table.rows(here.slots).float()
        summed = (values * here.coefficients[..., None].float()).sum((0, 1))
        gate = chosen.gate(x)
        written = contributions.sum((0, 1)).float()
        rms = float(model.backbone.rms(trace.residual.final[0, pos]))
        masks = {site: torch.zeros_like(reads.slots, dtype=torch.bool)}
        masks[site][0, pos] = True
        with session([ZeroReads(masks)]):
            without = logits(model, trace.ids)[0, pos]
        ends = unembedding_of(model).ends(written[None], top)
        promoted, suppressed = (
            tuple(
                (model.token_text(int(token)), float(logit) / rms)
                for token, logit in zip(tokens[0], scores[0], strict=True)
            )
            for tokens, scores in (
                (ends.promoted, ends.promoted_logits),
                (ends.suppressed, ends.suppressed_logits),
            )
        )
    return LookupEffect(
        summed=summed.cpu().numpy(),
        gate=None if gate is None else gate.float().cpu().numpy(),
        written=written.cpu().numpy(),
        head=contributions[head].sum(0).float().cpu().numpy(),
        rms=rms,
        promoted=promoted,
        suppressed=suppressed,
        with_reads=best_predictions(model, trace.logits[0, pos], top),
        without_reads=best_predictions(model, without, top),
    )
