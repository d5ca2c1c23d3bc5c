"""The loss of an edit, against one worked out token by token."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inspector.analyses.edit_loss import EditLoss
from inspector.analyses.edit_measures import Goal
from inspector.analyses.facts import Fact, read_facts
from inspector.analyses.recall import question_batches
from inspector.capture.load import load
from inspector.capture.session import logits
from inspector.capture.value_edits import NewValues
from inspector.families.base import MemoryModel

SLOTS = torch.arange(0, 64, 3)


@pytest.fixture(scope="module")
def model(little_world: Path) -> MemoryModel:
    return load(little_world, device="cpu")


@pytest.fixture(scope="module")
def facts(little_world: Path) -> tuple[Fact, ...]:
    return read_facts(little_world / "facts.jsonl")


def loss_of(model: MemoryModel, goal: Goal, facts: tuple[Fact, ...], keep: float) -> EditLoss:
    return EditLoss(model, goal, facts, {0: SLOTS}, anchors=6, margin=0.5, keep=keep, seed=0)


def test_it_is_the_mean_over_the_tokens_of_the_answer(
    model: MemoryModel, facts: tuple[Fact, ...]
) -> None:
    goal = Goal(facts[0], facts[5].object)
    found = loss_of(model, goal, facts, 1.0)([])
    losses, leads = [], []
    for question in goal.questions(facts[0].prompts):
        [batch] = question_batches(model, [question])
        exact = logits(model, batch.ids)[0].log_softmax(-1)
        own_leads = []
        for pos in batch.answering[0].nonzero().flatten().tolist():
            token = int(batch.targets[0, pos])
            losses.append(-float(exact[pos, token]))
            rest = [float(x) for t, x in enumerate(exact[pos]) if t != token]
            own_leads.append(float(exact[pos, token]) - max(rest))
        leads.append(min(own_leads))
    assert float(found.loss) == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    assert found.led == sum(lead > 0 for lead in leads)
    assert found.said == sum(lead > 0.5 for lead in leads)
    assert found.phrasings == len(leads)
    assert found.divergence == pytest.approx(0, abs=1e-6)  # nothing is edited


def test_what_edits_do_to_other_facts_weighs_as_much_as_was_asked(
    model: MemoryModel, facts: tuple[Fact, ...]
) -> None:
    goal = Goal(facts[0], facts[5].object)
    edit = NewValues(0, SLOTS, model.tables[0].rows(SLOTS) * 0.5)
    free, held = (loss_of(model, goal, facts, keep)([edit]) for keep in (0.0, 2.0))
    assert free.divergence == held.divergence > 0.01
    expected = float(free.loss) + 2 * held.divergence
    assert float(held.loss) == pytest.approx(expected, rel=1e-5)


def test_to_forget_it_asks_for_what_is_said_of_others_without_the_answer(
    model: MemoryModel, facts: tuple[Fact, ...]
) -> None:
    goal = Goal(facts[0], None)
    loss = loss_of(model, goal, facts, 0.0)
    general = loss._general
    assert general is not None
    assert float(general.sum()) == pytest.approx(1, rel=1e-4)
    [batch] = question_batches(model, goal.questions(facts[0].prompts))
    first = batch.first()
    rows = torch.arange(len(first))
    exact = logits(model, batch.ids)[rows, first].log_softmax(-1)
    expected = general.clone()
    expected[batch.targets[rows, first]] = 0
    expected /= expected.sum()
    found = loss([])
    assert float(found.loss) == pytest.approx(float(-(expected * exact).sum(-1).mean()), rel=1e-4)


def test_gradients_flow_to_the_values(model: MemoryModel, facts: tuple[Fact, ...]) -> None:
    values = model.tables[0].rows(SLOTS).clone().requires_grad_()
    loss = loss_of(model, Goal(facts[0], "x"), facts, 1.0)
    loss([NewValues(0, SLOTS, values)]).loss.backward()
    assert values.grad is not None
    read = values.grad.norm(dim=-1) > 0
    assert read.any()
    step = 1e-2 * values.grad / values.grad.norm()
    with torch.no_grad():
        up, down = (
            float(loss([NewValues(0, SLOTS, values + sign * step)]).loss) for sign in (1, -1)
        )
    slope = float(values.grad.norm()) * 2e-2
    assert up - down == pytest.approx(slope, rel=0.05)
