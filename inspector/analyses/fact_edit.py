"""What came of changing a fact: the new values, and how well they work, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from inspector.analyses.edit_list import SlotEdit
from inspector.analyses.edit_loss import Outcome
from inspector.analyses.edit_measures import EditFigures, Goal
from inspector.analyses.specific_slots import SpecificSlots
from inspector.capture.value_edits import NewValues


@dataclass(frozen=True)
class EditSettings:
    """How a fact is changed: by at most ``steps`` steps of Adam on at most ``slots`` values.

    It ends once every phrasing reaches the goal by ``margin`` and other facts' answers diverge by
    at most ``hold``, or ``settle`` steps after the first.
    """

    slots: int = 64
    steps: int = 150
    rate: float = 0.05
    margin: float = 2.0  # nats by which every token of the answer must lead
    keep: float = 3.0  # weight of other facts in the loss
    hold: float = 0.01  # nats a token
    settle: int = 10
    anchors: int = 48  # other facts whose answers are held
    seed: int = 0


@dataclass(frozen=True)
class EditStep:
    """How far it is after a step. ``figures`` are measured every so often, else the last ones."""

    step: int
    steps: int
    loss: float
    divergence: float  # of other facts' answers, in nats a token
    said: int  # phrasings that reach the goal with its margin
    phrasings: int
    figures: EditFigures

    @classmethod
    def of(cls, step: int, steps: int, outcome: Outcome, figures: EditFigures) -> EditStep:
        """The step that ``outcome`` came of."""
        loss = float(outcome.loss.detach())
        return cls(step, steps, loss, outcome.divergence, outcome.said, outcome.phrasings, figures)


@dataclass(frozen=True, eq=False)
class FactEdit:
    """New values that change a fact, and what they do.

    ``slots`` says which and why; ``values [slot d_value]`` and ``old`` are in the order of its
    rows, in the element type of their tables: what a patch holds, and what ``figures`` measure.
    If ``reached`` is False, ``message`` says what fell short, and the values are the best attempt.
    """

    goal: Goal
    slots: SpecificSlots
    values: Tensor
    old: Tensor
    before: EditFigures
    figures: EditFigures
    history: tuple[EditStep, ...]
    reached: bool
    cancelled: bool
    message: str

    def new_values(self) -> tuple[NewValues, ...]:
        """The edits, by table: for ``trace(edits=)`` and ``session``."""
        return by_table(self.slots, self.values)

    def slot_edits(self) -> tuple[SlotEdit, ...]:
        """The same as records for a list of edits."""
        note = self.message
        found = []
        for new in self.new_values():
            rows = tuple(tuple(row) for row in new.values.double().tolist())
            slots = tuple(new.slots.tolist())
            found.append(SlotEdit("replace", slots, new.table, values=rows, note=note))
        return tuple(found)

    def to_frame(self) -> pd.DataFrame:
        """One row a changed slot: how specific it is, and how far its value moved."""
        moved = (self.values.float() - self.old.float()).norm(dim=-1)
        frame = self.slots.to_frame()
        frame["old_norm"] = self.old.float().norm(dim=-1).cpu().numpy()
        frame["moved"] = moved.cpu().numpy()
        return frame

    def to_json(self) -> dict[str, Any]:
        """What was asked for and what came of it, without the values."""
        fact = self.goal.fact
        return {
            "relation": fact.relation,
            "subject": fact.subject,
            "object": fact.object,
            "answer": self.goal.answer,
            "reached": self.reached,
            "cancelled": self.cancelled,
            "message": self.message,
            "slots": self.slots.slot.tolist(),
            "tables": self.slots.table.tolist(),
            "steps": self.history[-1].step if self.history else 0,
            "before": self.before.to_json(),
            "after": self.figures.to_json(),
        }


def by_table(slots: SpecificSlots, values: Tensor) -> tuple[NewValues, ...]:
    """``values [slot d_value]`` of ``slots`` as edits, one a table."""
    found = []
    for table in sorted(set(slots.table.tolist())):
        here = torch.from_numpy(slots.table == table).to(values.device)
        found.append(NewValues(table, slots.of_table(table).to(values.device), values[here]))
    return tuple(found)


def message(
    goal: Goal,
    before: EditFigures,
    after: EditFigures,
    slots: int,
    history: Sequence[EditStep],
    cancelled: bool,
) -> str:
    """One sentence on what came of it, for people."""
    fact = goal.fact
    about = f"{fact.relation} of {fact.subject}"
    done = f"no longer {fact.object}" if goal.answer is None else goal.answer.strip()
    share = round(after.efficacy * after.phrasings)
    if after.efficacy == 1.0 and not slots:
        return (
            f"The {about} is {done} already, in all {after.phrasings} phrasings: no value changed."
        )
    if after.efficacy == 1.0:
        return (
            f"The {about} is {done}, in all {after.phrasings} phrasings: {slots} values changed in "
            f"{history[-1].step} steps."
        )
    why = "Stopped" if cancelled else "This edit did not succeed"
    return (
        f"{why} after {history[-1].step} steps: the {about} is {done} in {share} of "
        f"{after.phrasings} phrasings, {round(before.efficacy * before.phrasings)} before. What "
        "is kept is the best attempt; more slots or steps, or less weight on other facts, may help."
    )
