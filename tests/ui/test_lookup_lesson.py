"""The lesson says of each layer what that layer does: not every one has softmax, gate or sum."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from inspector.ui.lookup_lesson import LESSON, Step


def step(says: str) -> Step:
    (found,) = [each for each in LESSON if each.title == says]
    return found


def text(stage: Any, title: str) -> str:
    return "".join(part if isinstance(part, str) else part[0] for part in step(title).says(stage))


def stage(normalisation: str = "softmax", activation: str = "none", **fields: Any) -> Any:
    info = SimpleNamespace(normalisation=normalisation, activation=activation)
    walk = SimpleNamespace(weights=np.array([9.04, 0.5]))
    return SimpleNamespace(**{"info": info, "walk": walk, "heads": 1} | fields)


@pytest.mark.parametrize(
    ("normalisation", "activation", "said", "unsaid"),
    [
        ("softmax", "none", "add up to one", "coefficient"),
        ("softmax", "gelu", "multiplied by gelu", "ReLU"),
        ("relu", "none", "ReLU", "Softmax"),
        ("none", "none", "scores themselves", "Softmax"),
    ],
)
def test_weights_are_made_as_the_layer_makes_them(
    normalisation: str, activation: str, said: str, unsaid: str
) -> None:
    told = text(stage(normalisation, activation), "Weigh and add")
    assert said in told
    assert unsaid not in told


def test_weights_that_have_no_bounds_are_not_guessed() -> None:
    asked = step("Weigh and add").ask
    assert asked(stage("relu")) is None
    known = stage("softmax", walk=SimpleNamespace(weights=np.array([0.6, 0.4])))
    question = asked(known)
    assert question is not None
    assert question.options[question.answer] == "50% to 75%"


@pytest.mark.parametrize(
    ("gate", "written", "said"),
    [
        (np.ones(3), np.ones(3), "gate"),
        (None, np.arange(3.0), "goes on as it is"),
        (None, np.ones(3), "fixed linear map"),
        (None, np.ones(5), "fixed linear map"),
    ],
)
def test_what_stands_between_the_sum_and_the_stream(
    gate: np.ndarray | None, written: np.ndarray, said: str
) -> None:
    effect = SimpleNamespace(gate=gate, summed=np.arange(3.0), written=written)
    assert said in text(stage(effect=effect), "Gate and project")
