"""What every part of the model, and every read, adds directly to one token's logit.

Direct effect of a vector v written at position p on token t: v . (final-norm scale * unembedding
of t) / rms, with the rms of the final norm's input at p held fixed. The rows of all parts sum to
the logit. Effects through later layers are not in it: those take an ablation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inspector.capture.contributions import read_contributions
from inspector.capture.trace import Trace
from inspector.errors import NotShown
from inspector.families.base import MemoryModel
from inspector.memory.product_keys import SiteReads

MEAN = -1  # as ``against``: the mean logit over the vocabulary


@dataclass(frozen=True)
class PartEffect:
    """One part's direct effect, in logits."""

    label: str
    kind: str  # embedding, attention, feed-forward, reads, remainder; site: no sum of its reads
    layer: int  # block; -1 for the embedding
    effect: float


@dataclass(frozen=True, eq=False)
class DirectEffect:
    """Direct effects on the contrast ``token - against`` at one position, in logits.

    ``parts`` sum to ``total`` up to rounding (``error`` is how far they are off); ``reads`` per
    site ``[head knn]`` sum to that site's part of kind reads; sites that are none have no entry.
    """

    pos: int
    token: int
    against: int  # a token, or MEAN
    parts: tuple[PartEffect, ...]
    reads: Mapping[str, np.ndarray]
    total: float
    error: float

    def to_frame(self) -> pd.DataFrame:
        """One row a part, in the order the parts write."""
        return pd.DataFrame([vars(part) for part in self.parts])


def direct_effect(
    model: MemoryModel, trace: Trace, pos: int, token: int, against: int = MEAN, row: int = 0
) -> DirectEffect:
    """Split the contrast between two tokens' logits at ``pos`` over everything that was written.

    Args:
        model: the model that made the trace.
        trace: a trace of it.
        pos: position in the input whose prediction is explained.
        token: the token whose logit is explained.
        against: the token it's contrasted with, or MEAN: shifts common to all tokens cancel.
        row: batch row.

    Raises:
        NotShown: not all parts of the model are known.
    """
    if not model.backbone.complete:
        raise NotShown(
            f"Not all parts of {model.name} that write to its residual stream could be told apart, "
            "so its logits cannot be split over them. Ablation measures what a read does."
        )
    with torch.inference_mode():
        unembedding = model.backbone.unembedding().double()
        other = unembedding.mean(0) if against == MEAN else unembedding[against]
        final = trace.residual.final[row, pos]
        direction = (unembedding[token] - other) / model.backbone.rms(final).double()
        parts: list[PartEffect] = []
        reads: dict[str, np.ndarray] = {}

        def add(label: str, kind: str, layer: int, vector: Tensor) -> None:
            effect = float(vector.double() @ direction)
            parts.append(PartEffect(label, kind, layer, effect))

        add("Embedding", "embedding", -1, trace.residual.embedding[row, pos])
        by_layer = {site.layer: name for name, site in trace.sites.items()}
        for layer, attention in sorted(trace.residual.attentions.items()):
            add(f"Attention {layer}", "attention", layer, attention[row, pos])
            if layer in trace.residual.feed_forwards:
                written = trace.residual.feed_forwards[layer][row, pos]
                add(f"Feed-forward {layer}", "feed-forward", layer, written)
            if layer in by_layer:
                name = by_layer[layer]
                if not trace.sites[name].additive:
                    add(f"{name} output", "site", layer, trace.residual.sites[name][row, pos])
                    continue
                vectors, remainder = _site_parts(model, trace, name, row, pos)
                reads[name] = (vectors.double() @ direction).cpu().numpy()
                add(f"{name} reads", "reads", layer, vectors.sum((0, 1)))
                if bool(remainder.any()):
                    add(f"{name} remainder", "remainder", layer, remainder)
        logits = trace.logits[row, pos].double()
        total = float(logits[token] - (logits.mean() if against == MEAN else logits[against]))
    error = abs(sum(part.effect for part in parts) - total)
    return DirectEffect(pos, token, against, tuple(parts), reads, total, error)


def _site_parts(
    model: MemoryModel, trace: Trace, name: str, row: int, pos: int
) -> tuple[Tensor, Tensor]:
    """Contributions ``[head knn d_model]`` and remainder ``[d_model]`` of a site at a position."""
    site, x = model.sites[name], trace.inputs[name][row, pos]
    reads = reads_at(trace, name, pos, row)
    vectors = read_contributions(site, x, reads, trace.overlay(name, row))
    carried, layer = model.backbone.carried, site.info.layer
    return carried(vectors, layer, "feed_forward"), carried(
        site.remainder(x), layer, "feed_forward"
    )


def reads_at(trace: Trace, site: str, pos: int, row: int = 0) -> SiteReads:
    """The reads of one site at one position, ``[head knn]``."""
    own = trace.reads[site]
    return SiteReads(
        own.slots[row, pos],
        own.scores[row, pos],
        own.weights[row, pos],
        own.coefficients[row, pos],
    )
