"""Checkpoints of other families as native ones: the same logits, or refused by what doesn't fit."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from inspector.capture.load import load, self_check
from inspector.capture.session import logits
from inspector.errors import Cancelled, CheckpointError
from inspector.families import convert as convert_module
from inspector.families.base import MemoryModel
from inspector.families.convert import convert, misfits
from inspector.memory.packed import PackedRows
from tests.families import tiny_meta, tiny_re133
from tests.families.conformance import CASES, Case, random_ids

FITTING = [c for c in CASES if c.name.split("-")[0] in ("native", "meta", "re133")]
OTHERS = [c for c in CASES if c.name.split("-")[0] == "doge"]


def no_gradients(model: MemoryModel, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return logits(model, ids)


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(file.relative_to(folder)): (file.stat().st_mtime_ns, file.read_bytes())
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.mark.parametrize("case", FITTING, ids=lambda case: case.name)
def test_a_round_trip_changes_no_logit(case: Case, tmp_path: Path) -> None:
    path = case.write(tmp_path / "original", 0)
    before = snapshot(path)
    model = load(path, device="cpu")
    made = convert(model, tmp_path / "native")
    copy = load(tmp_path / "native", device="cpu")
    assert copy.provenance.family == "native"
    ids = random_ids(model)
    expected, found = no_gradients(model, ids), no_gradients(copy, ids)
    if any(isinstance(table.weight, PackedRows) for table in model.tables):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    else:
        assert torch.equal(found, expected)
        assert made.error == 0
    assert self_check(copy).passed
    assert [s.info for s in copy.sites.values()] == [s.info for s in model.sites.values()]
    text = "Lima is the capital of Peru."
    assert copy.tokenizer(text)["input_ids"] == model.tokenizer(text)["input_ids"]
    for own, theirs in zip(copy.tables, model.tables, strict=True):
        assert own.weight.dtype == theirs.weight.dtype
        assert torch.equal(own.weight, theirs.weight)
    assert snapshot(path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["native", "original"]
    assert made.size == sum(
        t.numel() * t.element_size() for t in copy.module.state_dict().values()
    ) - (copy.backbone.head.weight.nbytes if copy.provenance.tied else 0)


def test_it_opens_with_transformers_alone(tmp_path: Path) -> None:
    path = tiny_re133.write_run(
        tmp_path / "run", tiny_re133.OPTIONS, tiny_re133.random_state(tiny_re133.OPTIONS, 0)
    )
    model = load(path, device="cpu")
    convert(model, tmp_path / "native")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "native").eval()
    ids = random_ids(model)
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, no_gradients(model, ids))
    config = json.loads((tmp_path / "native" / "config.json").read_text())
    assert config["converted_from"] == {"family": "re133", "fingerprint": model.fingerprint}


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.name)
def test_what_doesnt_fit_is_named(case: Case, tmp_path: Path) -> None:
    model = load(case.write(tmp_path / "original", 0), device="cpu")
    with pytest.raises(CheckpointError, match="scale the residual stream") as caught:
        convert(model, tmp_path / "native")
    assert "not of Llama" in str(caught.value)
    assert not (tmp_path / "native").exists()


def test_a_tokenizer_that_doesnt_fit_is_named(tmp_path: Path) -> None:
    config = tiny_meta.params()
    path = tiny_meta.write_consolidated(tmp_path / "m", config, tiny_meta.random_state(config, 0))
    model = load(path, device="cpu")
    assert misfits(model) == ()
    object.__setattr__(model, "tokenizer", object())
    assert misfits(model) == ("its tokenizer cannot be written as a tokenizer.json",)


def test_nothing_that_is_there_is_written_over(tmp_path: Path, checkpoint: Path) -> None:
    model = load(checkpoint, device="cpu")
    before = snapshot(checkpoint)
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("years of work")
    for out, told in (
        (full, "not an empty directory"),
        (full / "thesis.txt", "not an empty directory"),
        (checkpoint, "never written to"),
        (checkpoint / "native", "never written to"),
    ):
        with pytest.raises(CheckpointError, match=told):
            convert(model, out)
    assert snapshot(checkpoint) == before
    assert (full / "thesis.txt").read_text() == "years of work"


def test_an_empty_directory_is_filled(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "empty").mkdir()
    convert(load(checkpoint, device="cpu"), tmp_path / "empty")
    assert (tmp_path / "empty" / "config.json").is_file()


def test_stopped_or_failed_it_leaves_nothing(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(checkpoint, device="cpu")

    def stop(done: int, total: int) -> None:
        raise Cancelled("It was stopped.")

    with pytest.raises(Cancelled):
        convert(model, tmp_path / "native", stop)
    monkeypatch.setattr(convert_module, "_SLACK", 0.0)
    monkeypatch.setattr(convert_module, "_difference", _raise_that_they_differ)
    with pytest.raises(CheckpointError, match="computes other"):
        convert(model, tmp_path / "native")
    assert [p.name for p in tmp_path.iterdir()] == [checkpoint.name]


def _raise_that_they_differ(_model: MemoryModel, _folder: Path) -> float:
    raise CheckpointError("It computes other logits.")


def test_a_copy_that_computes_something_else_is_refused(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(checkpoint, device="cpu")
    whole = convert_module._shards

    def damaged(module: object) -> list[dict[str, Tensor]]:
        shards = whole(module)  # type: ignore[arg-type]
        shards[0]["model.norm.weight"] = shards[0]["model.norm.weight"] * 1.001
        return shards

    monkeypatch.setattr(convert_module, "_shards", damaged)
    with pytest.raises(CheckpointError, match="computes other logits"):
        convert(model, tmp_path / "native")
    assert not (tmp_path / "native").exists()


def test_a_disk_that_is_too_small_is_told_before_writing(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(convert_module.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(CheckpointError, match=r"only 0\.0 GB free.*Nothing was written"):
        convert(load(checkpoint, device="cpu"), tmp_path / "native")
    assert [p.name for p in tmp_path.iterdir()] == [checkpoint.name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_cant_be_written_is_told(tmp_path: Path, checkpoint: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(CheckpointError, match="cannot be written"):
        convert(load(checkpoint, device="cpu"), closed / "native")


def test_blocks_make_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_re133.write_packed(
        tmp_path / "run", tiny_re133.OPTIONS, tiny_re133.random_state(tiny_re133.OPTIONS, 0)
    )
    model = load(path, device="cpu")
    convert(model, tmp_path / "whole")
    monkeypatch.setattr(convert_module, "_BLOCK", 100)
    told: list[tuple[int, int]] = []
    convert(model, tmp_path / "blocks", lambda *state: told.append(state))
    for file in (tmp_path / "whole").glob("*.safetensors"):
        assert (tmp_path / "blocks" / file.name).read_bytes() == file.read_bytes()
    assert told[-1][0] == told[-1][1]
    assert len(told) > 100
