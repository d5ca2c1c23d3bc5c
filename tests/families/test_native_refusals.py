"""Native checkpoints that are refused, each by the names of what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inspector.errors import (
    CheckpointError,
    CheckpointMismatch,
    CheckpointNotFound,
    UnknownFamily,
)
from tests.families.damage import TABLE, change_config, change_tensors, opened


def test_missing_tensors_are_named(checkpoint: Path) -> None:
    gone = ["model.layers.1.mlp.up_proj.weight", "model.layers.2.mlp.half_key_scores.half_keys"]

    def change(tensors: dict[str, Tensor]) -> None:
        for name in gone:
            del tensors[name]

    change_tensors(checkpoint, change)
    with pytest.raises(CheckpointMismatch) as caught:
        opened(checkpoint)
    assert sorted(caught.value.names) == gone
    assert all(f"{name} is missing" in str(caught.value) for name in gone)
    assert str(checkpoint) in str(caught.value)


def test_a_missing_value_table_is_named(checkpoint: Path) -> None:
    change_tensors(checkpoint, lambda tensors: tensors.pop(TABLE))
    with pytest.raises(CheckpointMismatch, match=f"{TABLE} is missing") as caught:
        opened(checkpoint)
    assert caught.value.names == (TABLE,)


def test_tensors_that_nobody_asked_for_are_named(checkpoint: Path) -> None:
    name = "model.layers.0.mlp.extra.weight"
    change_tensors(checkpoint, lambda tensors: tensors.update({name: torch.ones(2)}))
    with pytest.raises(CheckpointMismatch, match=f"{name} is not expected") as caught:
        opened(checkpoint)
    assert caught.value.names == (name,)


@pytest.mark.parametrize(
    ("name", "tensor", "told"),
    [
        ("model.norm.weight", torch.ones(31), r"is \[31\], expected \[32\]"),
        (TABLE, torch.ones(49, 32), r"is \[49, 32\], expected \[64, 32\]"),
        ("lm_head.weight", torch.ones(32, 300), r"is \[32, 300\], expected \[300, 32\]"),
    ],
)
def test_tensors_of_another_shape_are_named(
    checkpoint: Path, name: str, tensor: Tensor, told: str
) -> None:
    change_tensors(checkpoint, lambda tensors: tensors.update({name: tensor}))
    with pytest.raises(CheckpointMismatch, match=f"{name} {told}") as caught:
        opened(checkpoint)
    assert caught.value.names == (name,)


def test_a_long_list_of_names_is_cut_in_the_message_alone(checkpoint: Path) -> None:
    change_tensors(checkpoint, lambda tensors: [tensors.pop(n) for n in list(tensors)[:20]])
    with pytest.raises(CheckpointMismatch, match="and 12 more") as caught:
        opened(checkpoint)
    assert len(caught.value.names) == 20


@pytest.mark.parametrize("kept", [0, 4, 300, 50_000])
def test_a_file_that_was_cut_short_is_named(checkpoint: Path, kept: int) -> None:
    file = checkpoint / "model.safetensors"
    os.truncate(file, kept)
    with pytest.raises(CheckpointError, match="cut short") as caught:
        opened(checkpoint)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_weight_that_is_no_number_is_named(checkpoint: Path, value: float) -> None:
    name = "model.layers.1.mlp.up_proj.weight"

    def change(tensors: dict[str, Tensor]) -> None:
        tensors[name][3, 5] = value

    change_tensors(checkpoint, change)
    with pytest.raises(CheckpointError, match=f"model.safetensors: {name} holds NaN or infinite"):
        opened(checkpoint)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"memory_knn": 65}, "knn = 65 reads per head, but 8 half-keys make only 64 keys"),
        ({"memory_layers": [0, 7]}, "must be distinct blocks of 0 to 2"),
        ({"memory_projection": "swilu"}, "'swilu' is none of none, linear, swiglu"),
        ({"num_attention_heads": "many"}, "num_attention_heads"),
    ],
)
def test_a_configuration_of_no_model_is_refused(
    checkpoint: Path, fields: dict[str, Any], told: str
) -> None:
    change_config(checkpoint, **fields)
    with pytest.raises(CheckpointError, match=told) as caught:
        opened(checkpoint)
    assert str(checkpoint / "config.json") in str(caught.value)


def test_a_configuration_of_another_model_is_refused(checkpoint: Path) -> None:
    change_config(checkpoint, memory_half_keys=16, hidden_size=32)
    with pytest.raises(CheckpointMismatch, match=r"weight is \[64, 32\], expected \[256, 32\]"):
        opened(checkpoint)


@pytest.mark.parametrize("text", ["{", "", "[1, 2", "\x00"])
def test_a_configuration_that_is_not_json_is_named(checkpoint: Path, text: str) -> None:
    (checkpoint / "config.json").write_text(text)
    with pytest.raises(UnknownFamily, match=r"config\.json is not JSON") as caught:
        opened(checkpoint)
    assert str(checkpoint) in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "3", '{"model_type": "llama"}', "{}"])
def test_a_configuration_of_another_family_is_refused(checkpoint: Path, text: str) -> None:
    (checkpoint / "config.json").write_text(text)
    with pytest.raises(UnknownFamily, match="no family that can be opened") as caught:
        opened(checkpoint)
    assert "not JSON" not in str(caught.value)


def test_a_tokenizer_that_is_missing_or_broken_is_told(checkpoint: Path) -> None:
    file = checkpoint / "tokenizer.json"
    file.write_text("{}")
    with pytest.raises(CheckpointError, match=r"The tokenizer of .* cannot be read"):
        opened(checkpoint)
    file.unlink()
    with pytest.raises(CheckpointNotFound, match=r"holds no tokenizer\.json") as caught:
        opened(checkpoint)
    assert str(checkpoint) in str(caught.value)


def test_weights_that_are_missing_are_told(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(CheckpointNotFound, match=r"holds no model\*.safetensors"):
        opened(checkpoint)


def test_pickled_weights_are_never_opened(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(CheckpointNotFound, match=r"holds no model\*.safetensors"):
        opened(checkpoint)


def test_nothing_there_and_nothing_known(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound, match=r"There is nothing at .*gone"):
        opened(tmp_path / "gone")
    with pytest.raises(CheckpointNotFound):
        opened(tmp_path / ("x" * 5000))
    with pytest.raises(UnknownFamily, match="no family"):
        opened(tmp_path)
    (tmp_path / "file").write_text("not a checkpoint")
    with pytest.raises(UnknownFamily, match="no family"):
        opened(tmp_path / "file")
