"""Give a fact another answer, or take its answer away, by changing the values of a few slots.

The slots are those that answering the fact reads and other text seldom does; their values are
optimised by gradient, all else stays ("Continual Learning via Sparse Memory Finetuning", Lin et al.
2025, section 3, for a single fact). Nothing of the model is touched: the result is an edit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from inspector.analyses.edit_loss import EditLoss, Outcome
from inspector.analyses.edit_measures import EditMeter, Goal, Surroundings
from inspector.analyses.fact_edit import EditSettings, EditStep, FactEdit, by_table, message
from inspector.analyses.facts import Fact
from inspector.analyses.specific_slots import SpecificSlots, background_usage, specific_slots
from inspector.errors import NotShown
from inspector.families.base import MemoryModel

_FIGURES_EVERY: Final = 10  # steps between two measurements that are shown on the way

Report = Callable[[EditStep], None]


def make_it_say(
    model: MemoryModel,
    fact: Fact,
    answer: str,
    around: Surroundings,
    *,
    settings: EditSettings | None = None,
    report: Report | None = None,
    cancel: Callable[[], bool] | None = None,
) -> FactEdit:
    """Find values with which the model gives ``answer`` for ``fact``, in all its phrasings.

    Args:
        model: an opened checkpoint; it isn't touched.
        fact: its ``prompts`` are optimised on, its ``heldout_prompts`` only measured.
        answer: what it's to say instead, of any number of tokens.
        around: what should stay as it is.
        settings: how it's done.
        report: told after every step how far it is.
        cancel: asked before every step; the best attempt so far is then the result.

    Raises:
        EditError: the answer is empty, or the background is another checkpoint's.
        PromptTooLong: a phrasing with its answer doesn't fit into the model's positions.
        NotShown: the model's sites are no sums of reads.
        CorpusError: there is no background, and the checkpoint has no facts of its own.
    """
    goal = Goal(fact, answer)
    return _Editing(model, goal, around, settings or EditSettings()).run(report, cancel)


def forget(
    model: MemoryModel,
    fact: Fact,
    around: Surroundings,
    *,
    settings: EditSettings | None = None,
    report: Report | None = None,
    cancel: Callable[[], bool] | None = None,
) -> FactEdit:
    """Find values with which the model no longer gives ``fact``'s answer, in any of its phrasings.

    What it says instead is what it says of the relation in general: the mean of its predictions for
    other subjects, without the first token of this answer. See ``make_it_say`` for the rest.
    """
    goal = Goal(fact, None)
    return _Editing(model, goal, around, settings or EditSettings()).run(report, cancel)


class _Editing:
    """One edit on its way."""

    def __init__(
        self,
        model: MemoryModel,
        goal: Goal,
        around: Surroundings,
        settings: EditSettings,
    ) -> None:
        if plain := [name for name, site in model.sites.items() if not site.info.additive]:
            raise NotShown(
                f"The output of {', '.join(plain)} is not a sum of its reads, so values cannot be "
                f"fitted to an answer in {model.name}."
            )
        self._model, self._goal, self._settings = model, goal, settings
        self._meter = EditMeter(model, goal, around, settings.seed)
        self._before = self._meter.measure()
        background = around.background or background_usage(model)
        questions = goal.questions(goal.fact.prompts)
        self._slots = specific_slots(model, questions, background, settings.slots)
        self._old = _rows(model, self._slots)
        apart = {f for group in self._meter.unrelated.values() for f in group}
        self._loss = EditLoss(
            model,
            goal,
            [f for f in around.facts if f not in apart],
            {table: self._slots.of_table(table) for table in set(self._slots.table.tolist())},
            anchors=settings.anchors,
            margin=settings.margin,
            keep=settings.keep,
            seed=settings.seed,
        )

    def run(self, report: Report | None, cancel: Callable[[], bool] | None) -> FactEdit:
        """Adam on the change of the rows until the goal is reached, or there is no step left."""
        settings, history = self._settings, list[EditStep]()
        change = torch.zeros_like(self._old, requires_grad=True)
        adam = torch.optim.Adam([change], lr=settings.rate)
        best, figures, cancelled, settling = _Attempt(self._old, None), self._before, False, 0
        for step in range(settings.steps + 1):
            values = _rounded(self._old + change, self._model)
            now = self._loss(by_table(self._slots, values))
            best = best.better(values, now)
            settling += best.reached
            done = settling > settings.settle or (now.reached and now.divergence <= settings.hold)
            last = done or step == settings.steps or (cancel is not None and cancel())
            if step and step % _FIGURES_EVERY == 0 and not last:
                figures = self._meter.measure(by_table(self._slots, best.values))
            history.append(EditStep.of(step, settings.steps, now, figures))
            if last:
                cancelled = not done and step < settings.steps
                break
            if report is not None:
                report(history[-1])
            adam.zero_grad()
            now.loss.backward()
            adam.step()
        found = self._result(best, history, cancelled)
        if report is not None:
            report(found.history[-1])
        return found

    def _result(self, best: _Attempt, history: list[EditStep], cancelled: bool) -> FactEdit:
        model, slots = self._model, self._slots
        stored = best.values.to(_stored(model))
        old = self._old.to(_stored(model))
        moved = (stored != old).any(-1).cpu().numpy()
        slots = replace(slots, **{name: part[moved] for name, part in vars(slots).items()})
        keep = torch.from_numpy(moved).to(stored.device)
        stored, old = stored[keep], old[keep]
        figures = self._meter.measure(by_table(slots, stored))
        reached = figures.efficacy == 1.0
        steps = (*history[:-1], replace(history[-1], figures=figures))
        said = message(self._goal, self._before, figures, len(slots), steps, cancelled)
        return FactEdit(
            self._goal,
            slots,
            stored,
            old,
            self._before,
            figures,
            steps,
            reached,
            cancelled,
            said,
        )


@dataclass(frozen=True, eq=False)
class _Attempt:
    """Values ``[slot d_value]`` and how they did; None before the first."""

    values: Tensor
    outcome: Outcome | None

    @property
    def reached(self) -> bool:
        """Whether it does all that was asked for."""
        return self.outcome is not None and self.outcome.reached

    def better(self, values: Tensor, outcome: Outcome) -> _Attempt:
        """The better of this attempt and another: first by phrasings, then by loss."""
        if self.outcome is not None and _rank(self.outcome) >= _rank(outcome):
            return self
        return _Attempt(values.detach(), outcome)


def _rank(outcome: Outcome) -> tuple[int, int, float]:
    return outcome.led, outcome.said, -float(outcome.loss.detach())


def _rounded(values: Tensor, model: MemoryModel) -> Tensor:
    """Values as their table would store them, with the gradient of those that aren't rounded."""
    stored = values.detach().to(_stored(model)).to(values.dtype)
    return values + (stored - values).detach()


def _stored(model: MemoryModel) -> torch.dtype:
    return model.tables[0].weight.dtype


def _rows(model: MemoryModel, slots: SpecificSlots) -> Tensor:
    """Values of ``slots`` in their order, ``[slot d_value]``, in float32 at least."""
    kind = torch.promote_types(_stored(model), torch.float32)
    rows = torch.zeros(len(slots), model.tables[0].d_value, dtype=kind, device=model.device)
    for table in set(slots.table.tolist()):
        here = torch.from_numpy(slots.table == table).to(model.device)
        index = slots.of_table(table).to(model.device)
        rows[here] = model.tables[table].rows(index).to(rows)
    return rows
