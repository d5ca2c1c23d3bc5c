"""Can single values be read? How often a strong read promotes the answer's first token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from inspector.analyses.dependence import record
from inspector.analyses.recall import Question, question_batches
from inspector.capture.contributions import read_contributions
from inspector.families.base import MemoryModel
from inspector.memory.product_keys import SiteReads


def measure_readability(
    model: MemoryModel, questions: Sequence[Question], reads: int = 5, top: int = 5
) -> np.ndarray:
    """Whether the answer's first token is among the ``top`` that one of the strongest promotes.

    At the position that predicts the answer's first token, the ``reads`` reads with the largest
    contribution norm, over all sites and heads, are decoded in context (through this token's own
    gate, with the final norm's scale).

    Returns:
        ``[question]`` bool.
    """
    readable = np.zeros(len(questions), dtype=bool)
    unembedding = model.backbone.unembedding().float()
    for batch in question_batches(model, questions):
        recording = record(model, batch)
        rows, first = torch.arange(len(batch.ids), device=batch.ids.device), batch.first()
        vectors = []
        with torch.inference_mode():
            for name, site in model.sites.items():
                own = recording.reads[name]
                here = SiteReads(
                    *(
                        part[rows, first]
                        for part in (own.slots, own.scores, own.weights, own.coefficients)
                    )
                )
                x = recording.inputs[name][rows, first]
                vectors.append(read_contributions(site, x, here).flatten(1, 2))
            every = torch.cat(vectors, dim=1).float()  # [batch read d_model]
            strongest = every.norm(dim=-1).topk(reads, dim=-1).indices
            chosen = every.gather(1, strongest[..., None].expand(-1, -1, every.shape[-1]))
            promoted = (chosen @ unembedding.T).topk(top, dim=-1).indices  # [batch read token]
        target = batch.targets[rows, first]
        hits = (promoted == target[:, None, None]).any(-1).any(-1)
        readable[list(batch.rows)] = hits.cpu().numpy()
    return readable
