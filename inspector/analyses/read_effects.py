"""What each read does to a fact's answer: directly, to first order, and exactly by ablation.

All three say what the read *adds*, so that a read without which the answer were less probable has
positive effects. Reads count at every position up to the one that gives the answer's last token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inspector.analyses.ablations import ROWS
from inspector.analyses.answers import (
    answer_margins,
    answer_scores,
    score_answers,
    take_rows,
)
from inspector.analyses.recall import QuestionBatch
from inspector.capture.contributions import read_contributions
from inspector.capture.edits import ScaleReads, ZeroReads
from inspector.capture.lookup_edits import Edit
from inspector.capture.session import Recording, logits, session
from inspector.families.base import MemoryModel


@dataclass(frozen=True, eq=False)
class ReadEffects:
    """Every read of some phrasings of one fact; all fields ``[read]`` but ``sites``.

    ``phrasing`` numbers the rows of the batch, ``site`` the names in ``sites``; ``answering`` is
    True at positions that produce the answer. ``norm``: of the contribution, in the residual
    stream. ``direct``: on the logit of the answer's token against the runner-up's at that
    position, in logits, the final norm's rms held fixed; 0 before the answer. Both are NaN where a
    site's output is no sum of its reads, ``direct`` also where the model's parts are not known.
    ``first_order``: coefficient times gradient of the log-probability of the whole answer, in nats;
    ``margin``: the same of the log-odds of its tokens, which do not level off where the model is
    sure. ``exact``: what the log-probability loses if this read alone is zeroed; NaN where it was
    not tried.
    """

    sites: tuple[str, ...]
    phrasing: np.ndarray
    pos: np.ndarray
    answering: np.ndarray
    site: np.ndarray
    head: np.ndarray
    rank: np.ndarray
    slot: np.ndarray
    coefficient: np.ndarray
    norm: np.ndarray
    direct: np.ndarray
    first_order: np.ndarray
    margin: np.ndarray
    exact: np.ndarray

    def __post_init__(self) -> None:
        """Refuse fields of unequal length."""
        lengths = {f.name: len(getattr(self, f.name)) for f in fields(self) if f.name != "sites"}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the fields of ReadEffects disagree in length: {lengths}")

    def __len__(self) -> int:
        """How many reads there are."""
        return len(self.slot)

    def to_frame(self) -> pd.DataFrame:
        """One row a read, largest first-order effect on the margin first; ``site`` by its name."""
        frame = pd.DataFrame({f.name: getattr(self, f.name) for f in fields(self)[1:]})
        frame["site"] = [self.sites[number] for number in self.site]
        order = np.argsort(-np.abs(self.margin), kind="stable")
        return frame.iloc[order].reset_index(drop=True)


def read_effects(model: MemoryModel, batch: QuestionBatch, *, exact: int = 64) -> ReadEffects:
    """The effects of all reads of ``batch``; exact ones for the ``exact`` strongest a phrasing."""
    if not model.sites:
        return _no_reads()
    with session(record=True, residual=True) as recording:
        scores = logits(model, batch.ids)
    direct, norms = _direct_effects(model, batch, recording, scores)
    total = {
        "direct": direct,
        "norm": norms,
        "first_order": first_order_effects(model, batch, _logprobs),
        "margin": first_order_effects(model, batch, answer_margins),
    }
    found = _flatten(batch, recording, total)
    return replace(found, exact=_exact_effects(model, batch, found, exact))


Measure = Callable[[MemoryModel, QuestionBatch, Sequence[Edit]], Tensor]


def _logprobs(model: MemoryModel, batch: QuestionBatch, edits: Sequence[Edit]) -> Tensor:
    return answer_scores(model, batch, edits).logprob


def first_order_effects(
    model: MemoryModel, batch: QuestionBatch, measure: Measure = _logprobs
) -> dict[str, Tensor]:
    """Coefficient times gradient of each row's answer, per site ``[batch pos head knn]``.

    One forward and one backward pass through a factor of one on every read. ``measure`` gives
    what is differentiated, ``[batch]``: by default the answer's log-probability, in nats.
    """
    factors = {
        name: torch.ones(
            *batch.ids.shape,
            site.info.heads,
            site.info.knn,
            device=model.device,
            dtype=torch.float64 if model.dtype == torch.float64 else torch.float32,
            requires_grad=True,
        )
        for name, site in model.sites.items()
    }
    with torch.enable_grad():
        total = measure(model, batch, [ScaleReads(factors)]).sum()
        gradients = torch.autograd.grad(total, list(factors.values()))
    return dict(zip(factors, gradients, strict=True))


def _direct_effects(
    model: MemoryModel, batch: QuestionBatch, recording: Recording, scores: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Per site direct effects and contribution norms, ``[batch pos head knn]``."""
    direct, norms = {}, {}
    with torch.inference_mode():
        direction = _answer_direction(model, batch, recording, scores)
        for name, site in model.sites.items():
            missing = recording.reads[name].coefficients.double() * torch.nan
            direct[name], norms[name] = missing, missing
            if not site.info.additive:
                continue
            vectors = read_contributions(site, recording.inputs[name], recording.reads[name])
            norms[name] = vectors.float().norm(dim=-1)
            if direction is not None:
                vectors = model.backbone.carried(vectors, site.info.layer, "feed_forward")
                direct[name] = torch.einsum("bphkd,bpd->bphk", vectors.to(direction), direction)
    return direct, norms


def _answer_direction(
    model: MemoryModel, batch: QuestionBatch, recording: Recording, scores: Tensor
) -> Tensor | None:
    """What adds to the answer's token against the runner-up: ``[batch pos d_model]``, or None.

    It is 0 where no answer is due, and None for a model of which not all parts are known.
    """
    if not model.backbone.complete or recording.residual is None:
        return None
    others = scores.scatter(-1, batch.targets[..., None], -torch.inf).argmax(-1)
    scale, head = model.backbone.final_norm.weight, model.backbone.head.weight
    assert isinstance(scale, Tensor)
    direction = (head[batch.targets] - head[others]) * scale
    direction = direction / model.backbone.rms(recording.residual)[..., None]
    wide = direction if direction.dtype == torch.float64 else direction.float()
    return wide * batch.answering[..., None]


def _flatten(
    batch: QuestionBatch,
    recording: Recording,
    effects: Mapping[str, Mapping[str, Tensor]],
) -> ReadEffects:
    """All reads up to each row's last answering position, site by site.

    ``effects``: for each field its values per site, ``[batch pos head knn]``.
    """
    upto = batch.answering.flip(-1).cumsum(-1).flip(-1) > 0  # [batch pos]
    columns: dict[str, list[np.ndarray]] = {}
    for number, (name, reads) in enumerate(recording.reads.items()):
        inside = upto[..., None, None].expand_as(reads.slots)
        places = inside.nonzero().cpu().numpy()
        parts = {
            **dict(zip(("phrasing", "pos", "head", "rank"), places.T, strict=True)),
            "answering": batch.answering.cpu().numpy()[places[:, 0], places[:, 1]],
            "site": np.full(len(places), number),
            "slot": reads.slots[inside].cpu().numpy(),
            "coefficient": _plain(reads.coefficients[inside]),
            **{field: _plain(values[name][inside]) for field, values in effects.items()},
        }
        for field, part in parts.items():
            columns.setdefault(field, []).append(part)
    joined = {field: np.concatenate(parts) for field, parts in columns.items()}
    return ReadEffects(tuple(recording.reads), **joined, exact=np.full(len(joined["slot"]), np.nan))


def _plain(values: Tensor) -> np.ndarray:
    found: np.ndarray = values.detach().double().cpu().numpy()
    return found


def _exact_effects(
    model: MemoryModel, batch: QuestionBatch, found: ReadEffects, exact: int
) -> np.ndarray:
    """What zeroing each of the strongest reads of every phrasing takes away; else NaN."""
    strength = -np.abs(found.margin)
    chosen: list[int] = []
    for row in range(len(batch.ids)):
        own = np.flatnonzero(found.phrasing == row)
        chosen += own[np.argsort(strength[own], kind="stable")[:exact]].tolist()
    before = score_answers(model, batch).logprob.double().cpu().numpy()
    effects = np.full(len(found), np.nan)
    for start in range(0, len(chosen), ROWS):
        reads = chosen[start : start + ROWS]
        rows = take_rows(batch, found.phrasing[reads].tolist())
        masks = _one_read_each(model, rows, found, reads)
        after = score_answers(model, rows, [ZeroReads(masks)]).logprob.double().cpu().numpy()
        effects[reads] = before[found.phrasing[reads]] - after
    return effects


def _one_read_each(
    model: MemoryModel, rows: QuestionBatch, found: ReadEffects, reads: Sequence[int]
) -> dict[str, Tensor]:
    """Per site a mask ``[batch pos head knn]`` that is True at read ``reads[b]`` of row b."""
    masks = {
        name: torch.zeros(*rows.ids.shape, site.info.heads, site.info.knn, dtype=torch.bool)
        for name, site in model.sites.items()
    }
    for row, read in enumerate(reads):
        mask = masks[found.sites[found.site[read]]]
        mask[row, found.pos[read], found.head[read], found.rank[read]] = True
    return {name: mask.to(rows.ids.device) for name, mask in masks.items()}


def _no_reads() -> ReadEffects:
    """Of a model without memory."""
    whole, real = np.zeros(0, dtype=np.int64), np.zeros(0)
    return ReadEffects(
        (), whole, whole, whole.astype(bool), whole, whole, whole, whole, *[real] * 6
    )
