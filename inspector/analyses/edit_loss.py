"""What an edit of a fact is optimised for: its answer in all phrasings, and all else as it was."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from inspector.analyses.edit_measures import Goal
from inspector.analyses.facts import Fact
from inspector.analyses.recall import Question, QuestionBatch, question_batches
from inspector.capture.lookup_edits import Edit
from inspector.capture.session import logits_where, run_sites, session
from inspector.families.base import MemoryModel

_CANDIDATES: Final = 256  # facts among which those are looked for that read the edited slots most
_OF_RELATION: Final = 0.75  # of the anchors


@dataclass(frozen=True, eq=False)
class Outcome:
    """How well new values do. ``loss`` is a scalar that gradients flow from."""

    loss: Tensor
    divergence: float  # mean KL of the anchors' answers from what they were, in nats a token
    led: int  # phrasings that reach it at all
    said: int  # phrasings that reach it with the margin
    phrasings: int

    @property
    def reached(self) -> bool:
        """Whether all phrasings reach it with the margin."""
        return self.said == self.phrasings


class EditLoss:
    """The loss of new values, on the phrasings of one fact and on anchors.

    To say an answer: the mean negative log-probability of its tokens and of the end. To forget it:
    KL from the mean prediction for other subjects of the relation, less the answer's first token,
    to the prediction of that token. Plus ``keep`` times the mean KL of the anchors' answers.

    Anchors are other facts: three quarters are, of a random sample of the relation, those that read
    the edited slots most, the rest are random.
    """

    def __init__(
        self,
        model: MemoryModel,
        goal: Goal,
        facts: Sequence[Fact],
        slots: Mapping[int, Tensor],
        *,
        anchors: int,
        margin: float,
        keep: float,
        seed: int,
    ) -> None:
        """``facts`` are those that anchors may be drawn from, ``slots`` the edited by table."""
        self._model, self._goal, self._margin, self._keep = model, goal, margin, keep
        rng = random.Random(f"{seed} anchors")
        rest = [fact for fact in facts if fact.subject != goal.fact.subject]
        same = [fact for fact in rest if fact.relation == goal.fact.relation]
        wanted = round(anchors * _OF_RELATION)
        chosen = _nearest(model, same, slots, wanted, rng)
        others = rng.sample(rest, min(anchors - len(chosen), len(rest)))
        chosen += [Question(rng.choice(fact.prompts), fact.object) for fact in others]
        self._answers = list(question_batches(model, goal.questions(goal.fact.prompts)))
        self._anchors = list(question_batches(model, chosen))
        with torch.inference_mode():
            held = [self._scores(batch, ()) for batch in self._anchors]
        self._held = [each.clone() for each in held]  # no inference tensors: gradients pass them
        self._general = self._mean_prediction(same, rng) if goal.answer is None else None

    def __call__(self, edits: Sequence[Edit]) -> Outcome:
        """The loss under ``edits``, and how far the goal is reached."""
        total, led, said, phrasings = torch.zeros((), device=self._model.device), 0, 0, 0
        for batch in self._answers:
            loss, lead = self._own(self._scores(batch, edits), batch)
            total = total + loss
            led += int((lead > 0).sum())
            said += int((lead > self._margin).sum())
            phrasings += len(batch.rows)
        divergence = self._divergence(edits) if self._anchors else torch.zeros_like(total)
        loss = total / len(self._answers) + self._keep * divergence
        return Outcome(loss, float(divergence.detach()), led, said, phrasings)

    def _scores(self, batch: QuestionBatch, edits: Sequence[Edit]) -> Tensor:
        """Log-probabilities where it answers, ``[answering d_vocab]``."""
        with session(edits):
            scores = logits_where(self._model, batch.ids, batch.answering)
        return scores.float().log_softmax(-1)

    def _own(self, exact: Tensor, batch: QuestionBatch) -> tuple[Tensor, Tensor]:
        """The loss of the fact's phrasings, and by how much each leads: ``[batch]``."""
        row = batch.answering.nonzero()[:, 0]
        targets = batch.targets[batch.answering]
        lead = _lead(exact, targets)
        if self._general is None:
            leads = lead.new_full((len(batch.rows),), torch.inf).scatter_reduce(
                0, row, lead, "amin"
            )
            return -exact.gather(-1, targets[:, None]).mean(), leads
        first = torch.cat([row.new_ones(1), row.diff()]) > 0  # of each phrasing's answer
        expected = self._general.index_fill(0, targets[first][:1], 0.0)
        expected = expected / expected.sum().clamp_min(1e-9)
        return -(expected * exact[first]).sum(-1).mean(), -lead[first]

    def _divergence(self, edits: Sequence[Edit]) -> Tensor:
        parts = []
        for batch, held in zip(self._anchors, self._held, strict=True):
            now = self._scores(batch, edits)
            parts.append((held.exp() * (held - now)).sum(-1))
        return torch.cat(parts).mean()

    def _mean_prediction(self, same: Sequence[Fact], rng: random.Random) -> Tensor:
        """Mean probability of the answer's first token over other subjects, ``[d_vocab]``."""
        others = rng.sample(same, min(_CANDIDATES, len(same)))
        asked = [Question(rng.choice(fact.prompts), fact.object) for fact in others]
        total = torch.zeros(self._model.backbone.head.out_features, device=self._model.device)
        for batch in question_batches(self._model, asked):
            positions = torch.arange(batch.ids.shape[1], device=total.device)
            first = positions == batch.first()[:, None]
            with torch.inference_mode():
                scores = logits_where(self._model, batch.ids, first)
                total += scores.float().softmax(-1).sum(0)
        if not asked:  # the only fact of its relation: any other token is as good
            return torch.full_like(total, 1 / len(total))
        return total / len(asked)


def _lead(exact: Tensor, targets: Tensor) -> Tensor:
    """By how much ``targets [...]`` lead all other tokens of ``exact [... d_vocab]``."""
    own = exact.gather(-1, targets[..., None])
    others = exact.scatter(-1, targets[..., None], -torch.inf).amax(-1)
    return own[..., 0] - others


def _nearest(
    model: MemoryModel,
    facts: Sequence[Fact],
    slots: Mapping[int, Tensor],
    wanted: int,
    rng: random.Random,
) -> list[Question]:
    """Of a random sample of ``facts``, those whose answers read ``slots`` most."""
    sample = rng.sample(facts, min(_CANDIDATES, len(facts)))
    asked = [Question(rng.choice(fact.prompts), fact.object) for fact in sample]
    found: list[tuple[float, int]] = []
    for batch in question_batches(model, asked):
        with session(record=True) as recording:
            run_sites(model, batch.ids)
        total = torch.zeros(len(batch.rows), device=model.device)
        for name, reads in recording.reads.items():
            edited = slots.get(model.sites[name].info.table)
            if edited is not None:
                hit = torch.isin(reads.slots, edited.to(model.device))
                hit &= batch.answering[..., None, None]
                total += (reads.coefficients.abs().float() * hit).sum((1, 2, 3))
        found += zip((-total).tolist(), batch.rows, strict=True)
    return [asked[row] for _, row in sorted(found)[:wanted]]
