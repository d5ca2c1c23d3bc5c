"""How probable a whole answer is, row by row, under edits: the yardstick of locating and proving.

Rows are independent: row b of a batch may ask another phrasing, and carry another edit, than row
b + 1, so that many ablations are one forward pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inspector.analyses.recall import QuestionBatch
from inspector.capture.lookup_edits import Edit
from inspector.capture.session import session
from inspector.families.base import MemoryModel


@dataclass(frozen=True, eq=False)
class AnswerScores:
    """Per row of a batch: ``logprob [batch]`` of the whole answer in nats, ``kept [batch]`` bool.

    An answer is kept if each of its tokens is the most probable one given those before it: what
    greedy decoding would write, word for word. ``lead [batch]``: how many nats its weakest token
    is ahead of the best other one there; negative where the answer is lost.
    """

    logprob: Tensor
    kept: Tensor
    lead: Tensor

    def __post_init__(self) -> None:
        """Refuse parts that disagree in shape."""
        shapes = [tuple(part.shape) for part in (self.logprob, self.kept, self.lead)]
        if len(set(shapes)) > 1:
            raise ValueError(f"logprob, kept and lead disagree in shape: {shapes}")


def take_rows(batch: QuestionBatch, rows: Sequence[int]) -> QuestionBatch:
    """The given rows of ``batch``, each as often as it is named, cut to the longest of them."""
    index = torch.tensor(rows, dtype=torch.long, device=batch.ids.device)
    answering = batch.answering[index]
    length = int(answering.any(0).nonzero().max()) + 1
    return replace(
        batch,
        ids=batch.ids[index, :length],
        targets=batch.targets[index, :length],
        answering=answering[:, :length],
        phrasing=batch.phrasing[index, :length],
        rows=tuple(batch.rows[row] for row in rows),
    )


def score_answers(
    model: MemoryModel, batch: QuestionBatch, edits: Sequence[Edit] = ()
) -> AnswerScores:
    """One forward pass over ``batch`` with ``edits``, and what it makes of the answers."""
    with torch.inference_mode():
        return answer_scores(model, batch, edits)


def answer_scores(model: MemoryModel, batch: QuestionBatch, edits: Sequence[Edit]) -> AnswerScores:
    """As ``score_answers``, but under the caller's gradient mode: differentiable in the edits."""
    start = int(batch.first().min())
    scores = _logits_from(model, batch.ids, start, edits)
    targets, answering = batch.targets[:, start:], batch.answering[:, start:]
    exact = scores if scores.dtype == torch.float64 else scores.float()
    own = exact.gather(-1, targets[..., None])[..., 0]
    best = exact.topk(2, dim=-1)
    right = best.indices[..., 0] == targets
    lead = own - torch.where(right, best.values[..., 1], best.values[..., 0])
    return AnswerScores(
        logprob=((own - exact.logsumexp(-1)) * answering).sum(-1),
        kept=(right | ~answering).all(-1),
        lead=lead.masked_fill(~answering, torch.inf).amin(-1),
    )


def answer_margins(model: MemoryModel, batch: QuestionBatch, edits: Sequence[Edit] = ()) -> Tensor:
    """Log-odds of the answer's tokens against all others, summed: ``[batch]``, differentiable.

    Unlike the log-probability it doesn't level off where the model is sure of its answer.
    """
    start = int(batch.first().min())
    scores = _logits_from(model, batch.ids, start, edits)
    exact = scores if scores.dtype == torch.float64 else scores.float()
    targets = batch.targets[:, start:, None]
    others = exact.scatter(-1, targets, -torch.inf).logsumexp(-1)
    margins = (exact.gather(-1, targets)[..., 0] - others) * batch.answering[:, start:]
    return margins.sum(-1)


def _logits_from(model: MemoryModel, ids: Tensor, start: int, edits: Sequence[Edit]) -> Tensor:
    """Logits ``[batch pos d_vocab]`` at the positions from ``start`` on.

    Most of a small model's work is its head, which transformers' models leave out on request.
    """
    wanted = torch.arange(start, ids.shape[1], device=ids.device)
    skips = "logits_to_keep" in inspect.signature(model.module.forward).parameters
    kept = {"logits_to_keep": wanted} if skips else {}
    with session(edits):
        output = model.module(input_ids=ids, use_cache=False, **kept)
    result: Tensor = output.logits
    return result if skips else result[:, start:]
