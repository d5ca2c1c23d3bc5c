"""Fair controls for an ablation: as many other reads that fired in the same prompt, as strong.

Ablating slots that a prompt never read changes nothing and proves nothing. So each read that an
ablation takes is matched with another read of the same prompt whose contribution has about the same
norm, at the same site and position unless one elsewhere comes clearly closer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from inspector.analyses.ablations import Ablation, Scope, SlotTarget, slots_to_ablate
from inspector.analyses.answers import AnswerScores, score_answers, take_rows
from inspector.analyses.recall import QuestionBatch
from inspector.capture.contributions import read_contributions
from inspector.capture.edits import MaskSlots, ZeroReads
from inspector.capture.lookup_edits import Edit
from inspector.capture.session import Recording, logits, session
from inspector.families.base import MemoryModel

_CHOICE: Final = 3  # one of so many nearest is drawn
_ELSEWHERE: Final = 0.25  # what another position, or site, costs beside the norm's relative error


@dataclass(frozen=True, eq=False)
class Controls:
    """The answer with other reads ablated: ``scores`` are ``[draw phrasing]``.

    ``reads [phrasing]``: how many reads the ablation took, and the control as many, unless the
    prompt has too few (``short`` says how many are missing, over all). ``norm_ratio``: summed
    norm of the control's contributions over that of the reads they stand for. ``same_place``: the
    share that lies at the same site and position.
    """

    scores: AnswerScores
    reads: np.ndarray
    short: int
    norm_ratio: float
    same_place: float


@dataclass(frozen=True, eq=False)
class _Fired:
    """The reads of one prompt, each field ``[read]``; ``core`` is what the ablation takes."""

    site: np.ndarray
    pos: np.ndarray
    head: np.ndarray
    rank: np.ndarray
    norm: np.ndarray
    core: np.ndarray


def matched_controls(
    model: MemoryModel,
    batch: QuestionBatch,
    members: Sequence[SlotTarget],
    kind: Ablation,
    scope: Scope,
    *,
    draws: int,
    seed: int,
) -> Controls:
    """Ablate matched reads in the rows of ``batch``, ``draws`` times, all in few passes."""
    with session(record=True) as recording:
        logits(model, batch.ids)
    fired = _fired(model, batch, recording, members, scope)
    rng = np.random.default_rng(seed)
    picks = [[_match(row, rng) for row in fired] for _ in range(draws)]
    rows = take_rows(batch, [row for _ in range(draws) for row in range(len(fired))])
    chosen = [pick for draw in picks for pick in draw]
    masks = _masks(model, rows, [*fired] * draws, chosen)
    scores = score_answers(model, rows, _take_away(recording, masks, kind, draws))
    shape = (draws, len(fired))
    shaped = AnswerScores(
        *(part.view(shape) for part in (scores.logprob, scores.kept, scores.lead))
    )
    return _summed_up(shaped, fired, picks)


def _fired(
    model: MemoryModel,
    batch: QuestionBatch,
    recording: Recording,
    members: Sequence[SlotTarget],
    scope: Scope,
) -> list[_Fired]:
    """Per row every read up to the last position that produces the answer."""
    upto = batch.answering.flip(-1).cumsum(-1).flip(-1) > 0  # [batch pos]
    taken = slots_to_ablate(model, batch, [members] * len(batch.ids), scope)
    columns: list[list[np.ndarray]] = []
    for number, (name, site) in enumerate(model.sites.items()):
        reads = recording.reads[name]
        core = torch.zeros_like(reads.slots, dtype=torch.bool)
        if name in taken:
            core = (reads.slots[..., None] == taken[name][..., None, :]).any(-1)
        norms = reads.coefficients.abs()
        if site.info.additive:
            with torch.inference_mode():
                vectors = read_contributions(site, recording.inputs[name], reads)
                norms = vectors.float().norm(dim=-1)
        inside = upto[..., None, None].expand_as(reads.slots)
        places = inside.nonzero().T  # [4 read]
        parts = [places[0], torch.full_like(places[0], number), *places[1:], norms[inside]]
        columns.append([part.float().cpu().numpy() for part in (*parts, core[inside])])
    row, *rest = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    return [_row([part[row == number] for part in rest]) for number in range(len(batch.ids))]


def _row(parts: Sequence[np.ndarray]) -> _Fired:
    site, pos, head, rank = (part.astype(np.int64) for part in parts[:4])
    return _Fired(site, pos, head, rank, parts[4], parts[5].astype(bool))


def _match(fired: _Fired, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Pairs of a core read and its control, matched in random order, each control once."""
    free = ~fired.core
    pairs: list[tuple[int, int]] = []
    for own in rng.permutation(np.flatnonzero(fired.core)):
        cost = np.abs(fired.norm - fired.norm[own]) / max(float(fired.norm[own]), 1e-12)
        cost += _ELSEWHERE * (fired.pos != fired.pos[own])
        cost += _ELSEWHERE * (fired.site != fired.site[own])
        cost[~free] = np.inf
        left = min(_CHOICE, int(free.sum()))
        if not left:
            break
        near = np.argpartition(cost, left - 1)[:left]
        other = int(rng.choice(near))
        free[other] = False
        pairs.append((int(own), other))
    return pairs


def _masks(
    model: MemoryModel,
    rows: QuestionBatch,
    fired: Sequence[_Fired],
    chosen: Sequence[Sequence[tuple[int, int]]],
) -> dict[str, Tensor]:
    """Per site ``[batch pos head knn]``, True at the controls of each row."""
    masks = {
        name: torch.zeros(*rows.ids.shape, site.info.heads, site.info.knn, dtype=torch.bool)
        for name, site in model.sites.items()
    }
    names = list(masks)
    for place, (reads, pairs) in enumerate(zip(fired, chosen, strict=True)):
        for _, other in pairs:
            where = (place, reads.pos[other], reads.head[other], reads.rank[other])
            masks[names[reads.site[other]]][where] = True
    return {name: mask.to(rows.ids.device) for name, mask in masks.items()}


def _take_away(
    recording: Recording, masks: dict[str, Tensor], kind: Ablation, draws: int
) -> list[Edit]:
    if kind == "zero":
        return [ZeroReads(masks)]
    edits: list[Edit] = []
    for name, mask in masks.items():
        read = recording.reads[name].slots.repeat(draws, 1, 1, 1)[:, : mask.shape[1]]
        edits.append(MaskSlots(read.where(mask, -1), sites=frozenset({name})))
    return edits


def _summed_up(
    scores: AnswerScores, fired: Sequence[_Fired], picks: Sequence[Sequence[list[tuple[int, int]]]]
) -> Controls:
    reads = np.array([int(row.core.sum()) for row in fired])
    own_norm = other_norm = 0.0
    same = pairs = 0
    for draw in picks:
        for row, matched in zip(fired, draw, strict=True):
            own, other = np.array(matched, dtype=np.int64).reshape(-1, 2).T
            own_norm += float(row.norm[own].sum())
            other_norm += float(row.norm[other].sum())
            there = (row.site[own] == row.site[other]) & (row.pos[own] == row.pos[other])
            same, pairs = same + int(there.sum()), pairs + len(own)
    return Controls(
        scores=scores,
        reads=reads,
        short=int(reads.sum()) * len(picks) - pairs,
        norm_ratio=float(other_norm / own_norm) if own_norm else float("nan"),
        same_place=same / pairs if pairs else float("nan"),
    )
