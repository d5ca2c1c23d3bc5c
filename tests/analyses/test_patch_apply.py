"""Applying patches: a new checkpoint that does what the session did; the base stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from inspector.analyses.patch_apply import apply_patches
from inspector.analyses.patches import Patch, make_patch
from inspector.capture.load import load, self_check
from inspector.capture.session import logits, session
from inspector.capture.value_edits import NewValues
from inspector.errors import CheckpointError, PatchError
from tests.families.test_native_edit import contents

IDS = torch.tensor([[0, 41, 7, 299, 5], [0, 3, 260, 270, 8]])
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 0.1}


def patch_of(base: Path, slots: tuple[int, ...] = tuple(range(40)), seed: int = 0) -> Patch:
    model = load(base, "cpu")
    rows = torch.randn(len(slots), 32, generator=torch.Generator().manual_seed(seed))
    return make_patch(model, [NewValues(0, torch.tensor(slots), rows)], f"seed {seed}")


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_the_new_checkpoint_does_what_the_session_did(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path, dtype: torch.dtype
) -> None:
    base = tiny_checkpoint(memory_projection="swiglu", dtype=dtype)
    before, patch = contents(base), patch_of(base)
    model = load(base, "cpu")
    with session(patch.new_values()):
        expected = logits(model, IDS)
    apply_patches(base, [patch], tmp_path / "out")
    made = load(tmp_path / "out", "cpu")
    error = (logits(made, IDS) - expected).abs().max() / expected.abs().max()
    assert error <= TOLERANCE[dtype]
    assert (logits(model, IDS) - expected).abs().max() / expected.abs().max() > 0.15
    assert torch.equal(made.tables[0].rows(patch.tables[0].slots), patch.tables[0].values)
    untouched = torch.arange(40, 64)
    assert torch.equal(made.tables[0].rows(untouched), model.tables[0].rows(untouched))
    assert self_check(made).passed
    assert contents(base) == before
    told = json.loads((tmp_path / "out" / "patches.json").read_text())
    assert (told["base"], told["patches"][0]["what"]) == (model.fingerprint, "seed 0")


def test_several_patches_are_applied_in_their_order(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    base = tiny_checkpoint()
    first, second = patch_of(base, (1, 2, 3), 1), patch_of(base, (3, 4), 2)
    with pytest.raises(PatchError, match="both change 1 slots of table 0"):
        apply_patches(base, [first, second], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    apply_patches(base, [first, second], tmp_path / "out", later_wins=True)
    rows = load(tmp_path / "out", "cpu").tables[0].rows(torch.tensor([1, 2, 3, 4]))
    expected = torch.cat([first.tables[0].values[:2], second.tables[0].values])
    assert torch.equal(rows, expected)


def test_a_patch_for_another_checkpoint_is_refused(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    patch = patch_of(tiny_checkpoint())
    with pytest.raises(PatchError, match="was made for tiny with fingerprint"):
        apply_patches(tiny_checkpoint(seed=9), [patch], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_out_must_be_free_and_apart(tiny_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    base = tiny_checkpoint()
    before, patch = contents(base), patch_of(base)
    for out in (base, base / "below"):
        with pytest.raises(CheckpointError, match="never written to"):
            apply_patches(base, [patch], out)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="not an empty directory"):
        apply_patches(base, [patch], tmp_path / "used")
    assert contents(base) == before
    assert (tmp_path / "used" / "file").read_text() == "mine"
