"""New rows in an opened model, and in a copy of a checkpoint."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from inspector.errors import CacheError, CheckpointError
from inspector.families import fingerprint
from inspector.families.native_edit import (
    NewRows,
    half_key_rows,
    put_rows,
    stored_half_keys,
    table_rows,
    write_edited,
)
from tests.families.damage import TABLE, opened

KEYS = "model.layers.2.mlp.half_key_scores.half_keys"


def contents(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {
        name: tensor
        for shard in folder.glob("model*.safetensors")
        for name, tensor in load_file(shard).items()
    }


def edits_of(path: Path) -> list[NewRows]:
    info = opened(path).site("L2").info
    head, half, item = torch.tensor([1, 0]), torch.tensor([0, 1]), torch.tensor([5, 7])
    return [
        half_key_rows(info, head, half, item, torch.full((2, 8), 0.5)),
        table_rows(0, torch.tensor([63, 3]), torch.full((2, 32), 0.25)),
    ]


def test_rows_are_put_into_the_opened_model_alone_and_taken_back(
    tiny_checkpoint: Callable[..., Path],
) -> None:
    path = tiny_checkpoint()
    before, model = contents(path), opened(path)
    keys, table = model.site("L2").half_keys().clone(), model.tables[0].weight.clone()
    former = put_rows(model, edits_of(path))
    changed = model.site("L2").half_keys()
    assert (changed[1, 0, 5] == 0.5).all()
    assert (changed[0, 1, 7] == 0.5).all()
    assert ((changed != keys).any(-1)).sum() == 2
    assert (model.tables[0].weight[[3, 63]] == 0.25).all()
    assert contents(path) == before
    put_rows(model, former)
    assert torch.equal(model.site("L2").half_keys(), keys)
    assert torch.equal(model.tables[0].weight, table)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shard", ["1GB", "20KB"])
def test_a_copy_differs_in_the_named_rows_alone(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path, dtype: torch.dtype, shard: str
) -> None:
    path = tiny_checkpoint(dtype=dtype, max_shard_size=shard)
    before = contents(path)
    write_edited(path, tmp_path / "out", edits_of(path), {"revived.json": "{}"})
    assert contents(path) == before
    assert set(contents(tmp_path / "out")) == {*before, "revived.json"}
    assert os.listdir(tmp_path) == ["out"]  # noqa: PTH208
    old, new = tensors(path), tensors(tmp_path / "out")
    assert old.keys() == new.keys()
    for name, tensor in old.items():
        rows = (tensor != new[name]).view(-1, tensor.shape[-1]).any(-1).nonzero().flatten()
        expected = {TABLE: [3, 63], KEYS: [15, (1 * 2 + 0) * 8 + 5]}.get(name, [])
        assert rows.tolist() == expected, name
    assert (new[TABLE][[3, 63]] == 0.25).all()
    assert (new[KEYS].view(-1, 8)[[15, 21]] == 0.5).all()
    assert opened(tmp_path / "out").fingerprint != opened(path).fingerprint


def test_a_copy_never_passes_for_its_original(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "_WHOLE", 2**14)  # as if the table were above 256 MB
    monkeypatch.setattr(fingerprint, "_BLOCK", 1)
    path = tiny_checkpoint()
    value = opened(path).tables[0].weight[3].clone()
    value[0] += 1e-3  # two bytes or so, that no block hits
    rows = [table_rows(0, torch.tensor([3]), value[None])]
    write_edited(path, tmp_path / "once", rows)
    write_edited(tmp_path / "once", tmp_path / "twice", rows)
    prints = [opened(each).fingerprint for each in (path, tmp_path / "once", tmp_path / "twice")]
    assert len(set(prints)) == 3


def test_nothing_of_others_is_removed_beside_it(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    other = tmp_path / f"out.{os.getpid()}.part"
    other.mkdir()
    (other / "mine").write_text("mine")
    write_edited(tiny_checkpoint(), tmp_path / "out", [])
    assert (other / "mine").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", other.name]


def test_what_tells_of_the_original_alone_is_not_copied(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    source = Path(shutil.copytree(tiny_checkpoint(), tmp_path / "source"))
    for name in ("metrics.json", "training_state.pt", "facts.jsonl"):
        (source / name).write_text("x")
    (source / "facts.jsonl").chmod(0o444)
    write_edited(source, tmp_path / "out", [])
    assert set(contents(source)) - set(contents(tmp_path / "out")) == {
        "metrics.json",
        "training_state.pt",
    }
    (tmp_path / "out" / "facts.jsonl").write_text("it can be written to")


@pytest.mark.parametrize("norm", ["none", "rms", "layer"])
def test_stored_half_keys_are_scored_in_the_direction_asked_for(
    tiny_checkpoint: Callable[..., Path], norm: str
) -> None:
    path = tiny_checkpoint(memory_key_norm=norm)
    model = opened(path)
    site = model.site("L2")
    wanted = site.half_keys()[0, 0, :3] * 1.0  # what can be reached, whatever the norm
    stored = stored_half_keys(model, site.info, wanted)
    places = torch.tensor([1, 1, 1]), torch.tensor([1, 1, 1]), torch.tensor([0, 4, 7])
    put_rows(model, [half_key_rows(site.info, *places, stored)])
    torch.testing.assert_close(site.half_keys()[1, 1, [0, 4, 7]], wanted, rtol=1e-3, atol=1e-3)


def test_no_place_is_written_to_that_holds_something(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    path = tiny_checkpoint()
    before = contents(path)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(path)
    for out, reason in (
        (path, "never written to"),
        (link, "never written to"),
        (path / "below", "never written to"),
        (taken, "not an empty directory"),
        (taken / "mine", "not an empty directory"),
    ):
        with pytest.raises(CheckpointError, match=reason):
            write_edited(path, out, edits_of(path))
    assert contents(path) == before
    assert contents(taken).keys() == {"mine"}


def test_nothing_is_left_of_a_copy_that_failed(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tiny_checkpoint(), tmp_path / "out"
    wrong = [
        (NewRows("model.nothing", torch.tensor([0]), torch.zeros(1, 32)), "no tensor"),
        (table_rows(0, torch.tensor([64]), torch.zeros(1, 32)), "no row 64"),
        (table_rows(0, torch.tensor([0]), torch.zeros(1, 31)), "rows of 31"),
    ]
    for edit, reason in wrong:
        with pytest.raises(CheckpointError, match=reason):
            write_edited(path, out, [edit])
        assert list(tmp_path.iterdir()) == []

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(CacheError, match=r"out cannot be written: No space left on device\."):
        write_edited(path, out, [])
    assert list(tmp_path.iterdir()) == []


def test_an_empty_directory_may_be_written_to(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    write_edited(tiny_checkpoint(), tmp_path / "out", [])
    assert contents(tmp_path / "out") == contents(tiny_checkpoint())


def test_rows_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        table_rows(0, torch.tensor([1, 1]), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="1 rows"):
        table_rows(0, torch.tensor([1]), torch.zeros(2, 4))
