"""Opening through the public door, and a self-check that notices when something lies."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inspector.capture.contributions import relative_error
from inspector.capture.edits import ZeroPositions
from inspector.capture.load import SelfCheck, choose_device, load, self_check
from inspector.capture.session import session
from inspector.errors import CheckpointNotFound, DeviceUnavailable, InspectorError
from inspector.families.base import MemoryModel

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"memory_projection": "none"},
    "linear": {"memory_projection": "linear", "memory_d_value": 20},
    "swiglu": {},
    "sigmoid": {"memory_sigmoid_gate": True},
    "norms": {"memory_query_norm": "layer", "memory_key_norm": "rms"},
    "separate": {"memory_tables": [0, 1]},
    "tied": {"tie_word_embeddings": True},
    "bf16": {"dtype": torch.bfloat16},
    "fp16": {"dtype": torch.float16},
    "none": {"memory_layers": []},
}


@pytest.fixture
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(memory_sigmoid_gate=True), device="cpu")


# --- opening ------------------------------------------------------------------------------------


def test_a_path_may_be_text(tiny_checkpoint: Callable[..., Path]) -> None:
    model = load(str(tiny_checkpoint()))
    assert model.name == "tiny"
    assert str(model.device) == ("cuda:0" if torch.cuda.is_available() else "cpu")


def test_a_path_may_start_at_home(
    tiny_checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_checkpoint()
    monkeypatch.setenv("HOME", str(path.parent))
    assert load("~/tiny", device="cpu").path == path


def test_a_number_format_can_be_chosen(tiny_checkpoint: Callable[..., Path]) -> None:
    assert load(tiny_checkpoint(), device="cpu", dtype=torch.bfloat16).dtype == torch.bfloat16
    assert load(tiny_checkpoint(), device="cpu").dtype == torch.float32


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound, match="There is nothing at"):
        load(tmp_path / "gone", device="cpu")


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "hpu", "nonsense", ""])
def test_a_device_that_is_not_here(device: str) -> None:
    with pytest.raises(DeviceUnavailable, match=r"Try device='cpu'") as caught:
        choose_device(device)
    assert repr(device) in str(caught.value)
    assert isinstance(caught.value, InspectorError)
    assert "\n" not in str(caught.value)


def test_devices_that_are_always_here() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in {"cpu", "cuda"}


# --- the self-check passes ----------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_honest_model_passes(tiny_checkpoint: Callable[..., Path], variant: str) -> None:
    model = load(tiny_checkpoint(**VARIANTS[variant]), device="cpu")
    check = self_check(model)
    assert check.passed, check
    assert list(check.sites) == list(model.sites)
    assert check.hooked == 0
    assert check.tolerance == {torch.bfloat16: 5e-2, torch.float16: 2e-2}.get(model.dtype, 1e-5)


def test_layers_that_give_nothing_pass_in_half_precision(
    tiny_checkpoint: Callable[..., Path],
) -> None:
    path = tiny_checkpoint(dtype=torch.float16, memory_projection="none")
    model = load(path, device="cpu")
    model.tables[0].weight.zero_()
    check = self_check(model)
    assert check.sites == {"L0": 0, "L2": 0}
    assert check.passed


def test_a_check_is_the_same_every_time(model: MemoryModel) -> None:
    assert self_check(model) == self_check(model)


def test_a_model_with_few_positions_can_be_checked(tiny_checkpoint: Callable[..., Path]) -> None:
    assert self_check(load(tiny_checkpoint(max_position_embeddings=5), device="cpu")).passed


# --- and fails where something lies -------------------------------------------------------------


@pytest.mark.parametrize("name", ["L0", "L2"])
@pytest.mark.parametrize("part", ["project", "gate", "remainder"])
def test_a_site_that_lies_about_a_part_is_named(
    model: MemoryModel, monkeypatch: pytest.MonkeyPatch, name: str, part: str
) -> None:
    truth = getattr(model.sites[name], part)
    monkeypatch.setattr(model.sites[name], part, lambda *given: truth(*given) * 1.001)
    check = self_check(model)
    assert not check.passed
    assert {site for site, error in check.sites.items() if error > check.tolerance} == {name}
    assert check.residual <= check.tolerance


@pytest.mark.parametrize("name", ["L0", "L2"])
def test_a_site_that_gives_no_number_fails(
    model: MemoryModel, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    nothing = torch.full((), torch.nan)
    monkeypatch.setattr(model.sites[name], "remainder", nothing.expand_as)
    assert not self_check(model).passed


def test_a_site_that_hides_a_read_fails(
    model: MemoryModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = model.sites["L2"].table
    rows = table.rows

    def without_the_last(slots: Tensor) -> Tensor:
        values = rows(slots).clone()
        values[..., -1, :] = 0
        return values

    monkeypatch.setattr(table, "rows", without_the_last)
    assert not self_check(model).passed


def test_a_part_of_the_backbone_that_nobody_recorded_is_noticed(model: MemoryModel) -> None:
    block = model.module.get_submodule("model.layers.1")
    hook = block.register_forward_hook(lambda _m, _i, output: output * 1.01)
    check = self_check(model)
    hook.remove()
    assert not check.passed
    assert check.residual > check.tolerance
    assert max(check.sites.values()) <= check.tolerance
    assert self_check(model).passed


def test_watching_that_changes_the_logits_is_noticed(
    model: MemoryModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    meddled = partial(session, [ZeroPositions()])
    monkeypatch.setattr("inspector.capture.load.session", meddled)
    check = self_check(model)
    assert not check.passed
    assert check.hooked > check.tolerance
    assert max(check.residual, *check.sites.values()) <= check.tolerance


@pytest.mark.parametrize(
    ("sites", "residual", "hooked", "passed"),
    [
        ({"L0": 1e-6, "L1": 1e-5}, 0.0, 0.0, True),
        ({}, 1e-5, 1e-5, True),
        ({"L0": 0.0, "L1": 2e-5}, 0.0, 0.0, False),
        ({"L0": 0.0}, 2e-5, 0.0, False),
        ({"L0": 0.0}, 0.0, 2e-5, False),
        ({"L0": 0.0, "L1": float("nan")}, 0.0, 0.0, False),
        ({"L0": 0.0}, float("nan"), 0.0, False),
        ({"L0": 0.0}, 0.0, float("nan"), False),
    ],
)
def test_every_error_must_be_within_tolerance(
    sites: dict[str, float], residual: float, hooked: float, passed: bool
) -> None:
    assert SelfCheck(sites, residual, hooked, tolerance=1e-5).passed == passed


def test_errors_are_relative_to_the_largest_number() -> None:
    expected = torch.tensor([-8.0, 1.0])
    assert relative_error(torch.tensor([-8.0, 2.0]), expected) == 1 / 8
    assert relative_error(expected.half() * 0, expected.half() * 0) == 0
    assert relative_error(torch.ones(2).half(), torch.zeros(2).half()) > 1e9
