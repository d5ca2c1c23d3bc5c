"""Do the facts live in the memory? Recall with reads zeroed, swapped, and under fair controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from inspector.analyses.recall import (
    Question,
    QuestionBatch,
    Recall,
    measure_recall,
    question_batches,
)
from inspector.capture.contributions import read_contributions
from inspector.capture.edits import MaskSlots, SwapReads, ZeroPositions, ZeroReads
from inspector.capture.session import Recording, logits, session
from inspector.families.base import MemoryModel
from inspector.memory.product_keys import SiteReads

_MASKED_AT_ONCE = 16  # questions: looking past many masked slots takes memory


@dataclass(frozen=True, eq=False)
class Dependence:
    """Recall of the same questions under each condition.

    ``all_zero``: every read's coefficient is 0. ``answer_zero``: those at the positions that
    produce the answer. ``answer_masked``: the slots read there are removed before the top k, so
    that others take their place. ``control``: as many reads at *other*
    positions, matched one to one on the norm of their contribution (``norm_ratio``: matched over
    original, mean).
    """

    intact: Recall
    all_zero: Recall
    answer_zero: Recall
    answer_masked: Recall
    control: Recall
    norm_ratio: float


def measure_dependence(model: MemoryModel, questions: Sequence[Question]) -> Dependence:
    """Ask ``questions`` with the memory intact, silenced, and silenced elsewhere."""
    ratios: list[float] = []

    def elsewhere(batch: QuestionBatch) -> list[ZeroReads]:
        masks, ratio = matched_reads(model, batch)
        ratios.append(ratio)
        return [ZeroReads(masks)]

    return Dependence(
        intact=measure_recall(model, questions),
        all_zero=measure_recall(model, questions, lambda batch: [ZeroPositions()]),
        answer_zero=measure_recall(model, questions, lambda b: [ZeroPositions(b.answering)]),
        answer_masked=measure_recall(
            model, questions, lambda batch: mask_own_slots(model, batch), size=_MASKED_AT_ONCE
        ),
        control=measure_recall(model, questions, elsewhere),
        norm_ratio=float(np.mean(ratios)),
    )


def record(model: MemoryModel, batch: QuestionBatch) -> Recording:
    """What the sites read on one batch."""
    with session(record=True) as recording:
        logits(model, batch.ids)
    return recording


def mask_own_slots(model: MemoryModel, batch: QuestionBatch) -> list[MaskSlots]:
    """Per site an edit that masks, at the answering positions, the slots that were read there."""
    recording = record(model, batch)
    edits = []
    for name, reads in recording.reads.items():
        own = [row[here].unique() for row, here in zip(reads.slots, batch.answering, strict=True)]
        slots = pad_sequence(own, batch_first=True, padding_value=-1)
        edits.append(MaskSlots(slots, batch.answering, frozenset({name})))
    return edits


def matched_reads(model: MemoryModel, batch: QuestionBatch) -> tuple[dict[str, Tensor], float]:
    """Reads that fired at other positions of the same prompts, matched on contribution norm.

    Per row and site each read at an answering position is paired with one read elsewhere, such
    that the summed difference in norm is smallest.

    Returns:
        Per site a mask ``[batch pos head knn]``, and the summed norm of the chosen reads over
        that of the reads they stand for.
    """
    recording = record(model, batch)
    elsewhere = ~batch.answering & (torch.cumsum(batch.answering, -1) == 0)  # before the answer
    masks: dict[str, Tensor] = {}
    chosen_norm = answer_norm = 0.0
    for name, site in model.sites.items():
        with torch.inference_mode():
            norms = read_contributions(site, recording.inputs[name], recording.reads[name]).norm(
                dim=-1
            )
        mask = torch.zeros_like(norms, dtype=torch.bool)
        flat_norms, flat_mask = norms.flatten(2), mask.flatten(2)  # [batch pos read]
        for row in range(len(norms)):
            own = flat_norms[row][batch.answering[row]].flatten()
            others = flat_norms[row][elsewhere[row]]
            cost = (own[:, None] - others.flatten()[None, :]).abs().cpu().numpy()
            pairs = linear_sum_assignment(cost)
            picked = torch.zeros(others.numel(), dtype=torch.bool)
            picked[torch.from_numpy(pairs[1])] = True
            flat_mask[row, elsewhere[row]] = picked.view_as(others).to(mask.device)
            chosen_norm += float(others.flatten()[picked].sum())
            answer_norm += float(own.sum())
        masks[name] = flat_mask.view_as(mask)
    return masks, chosen_norm / max(answer_norm, 1e-12)


def measure_swap(
    model: MemoryModel, pairs: Sequence[tuple[Question, Question]]
) -> tuple[Recall, Recall]:
    """Give each receiver the reads of its donor where the answer is produced.

    For every ``(receiver, donor)`` the receiver's prompt is read with the reads at its answering
    positions replaced by those that the donor's prompt made at its own. The first result says
    whether the model then writes the *donor's* answer, the second whether it did so before.
    """
    receivers = [replace(own, answer=donor.answer) for own, donor in pairs]
    donors = [donor for _, donor in pairs]
    recorded = _answering_reads(model, donors)

    def swap(batch: QuestionBatch) -> list[SwapReads]:
        return [SwapReads(batch.answering, _lay_out(recorded, batch))]

    return measure_recall(model, receivers, swap), measure_recall(model, receivers)


def _answering_reads(
    model: MemoryModel, questions: Sequence[Question]
) -> list[dict[str, SiteReads]]:
    """Per question and site the reads at its answering positions, ``[answer head knn]``."""
    found: list[dict[str, SiteReads]] = [{} for _ in questions]
    for batch in question_batches(model, questions):
        recording = record(model, batch)
        for place, row in enumerate(batch.rows):
            here = batch.answering[place]
            for name, reads in recording.reads.items():
                found[row][name] = SiteReads(
                    *(
                        part[place, here]
                        for part in (reads.slots, reads.scores, reads.weights, reads.coefficients)
                    )
                )
    return found


def _lay_out(recorded: list[dict[str, SiteReads]], batch: QuestionBatch) -> dict[str, SiteReads]:
    """The recorded reads of a batch's questions at that batch's answering positions."""
    laid: dict[str, SiteReads] = {}
    for name, sample in recorded[batch.rows[0]].items():
        parts = []
        for part in ("slots", "scores", "weights", "coefficients"):
            shape = (*batch.ids.shape, *getattr(sample, part).shape[1:])
            whole = torch.zeros(shape, dtype=getattr(sample, part).dtype, device=batch.ids.device)
            for place, row in enumerate(batch.rows):
                whole[place, batch.answering[place]] = getattr(recorded[row][name], part)
            parts.append(whole)
        laid[name] = SiteReads(*parts)
    return laid
