"""Native checkpoints: what opens, what stays in its file, what a fingerprint tells."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from inspector.errors import CheckpointError
from inspector.families import fingerprint, native, weights
from tests.families.damage import TABLE, change_config, change_tensors, opened

# --- what opens ---------------------------------------------------------------------------------


def test_a_checkpoint_opens_with_all_it_holds(checkpoint: Path) -> None:
    model = opened(checkpoint)
    assert list(model.sites) == ["L0", "L2"]
    info = model.site("L2").info
    assert (info.heads, info.knn, info.half_keys, info.slots) == (2, 4, 8, 64)
    assert (info.d_model, info.d_key, info.d_value, info.gated) == (32, 16, 32, True)
    assert (model.name, model.path, model.positions) == ("copy", checkpoint, 64)
    assert model.tokenizer.decode(model.tokenizer("Lima speaks.").input_ids[1:]) == "Lima speaks."
    tensors = load_file(checkpoint / "model.safetensors")
    assert model.provenance.tensors_used == len(tensors)
    assert model.provenance.recognised_by == "config.json says model_type = memory_llama"
    state = model.module.state_dict()
    assert state.keys() == tensors.keys()
    assert [name for name in tensors if not torch.equal(state[name], tensors[name])] == []
    assert not model.module.training
    assert not any(p.requires_grad for p in model.module.parameters())


def test_it_computes_what_transformers_opens(checkpoint: Path) -> None:
    from transformers import AutoModelForCausalLM

    ids = torch.tensor([[0, 9, 200, 31, 4]])
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(checkpoint)(ids).logits
        assert torch.equal(opened(checkpoint).module(ids).logits, expected)


@pytest.mark.parametrize(
    ("tables", "of_l0", "of_l2"), [([0, 0], 0, 0), ([0, 1], 0, 1), ([1, 0], 1, 0)]
)
def test_sites_know_their_tables(
    tiny_checkpoint: Callable[..., Path], tables: list[int], of_l0: int, of_l2: int
) -> None:
    model = opened(tiny_checkpoint(memory_tables=tables))
    assert [site.info.table for site in model.sites.values()] == tables
    assert model.site("L0").table is model.tables[of_l0]
    assert model.site("L2").table is model.tables[of_l2]
    assert model.sites_of(0) == tuple(f"L{2 * m}" for m, t in enumerate(tables) if t == 0)


def test_shards_open_like_one_file(tiny_checkpoint: Callable[..., Path]) -> None:
    whole, sharded = tiny_checkpoint(), tiny_checkpoint(max_shard_size="20KB")
    assert len(list(sharded.glob("model-*.safetensors"))) > 2
    ids = torch.tensor([[0, 9, 200, 31, 4]])
    with torch.no_grad():
        logits = opened(sharded).module(ids).logits
        assert torch.equal(logits, opened(whole).module(ids).logits)


def test_a_tied_head_needs_no_tensor_of_its_own(tiny_checkpoint: Callable[..., Path]) -> None:
    model = opened(tiny_checkpoint(tie_word_embeddings=True))
    assert model.provenance.tied == ("lm_head.weight",)
    assert model.backbone.head.weight is model.backbone.embedding.weight
    assert not model.backbone.head.weight.is_meta


def test_a_model_without_memory_layers_opens(tiny_checkpoint: Callable[..., Path]) -> None:
    model = opened(tiny_checkpoint(memory_layers=[]))
    assert (dict(model.sites), model.tables) == ({}, ())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_checkpoint_keeps_its_number_format(
    tiny_checkpoint: Callable[..., Path], dtype: torch.dtype
) -> None:
    model = opened(tiny_checkpoint(dtype=dtype))
    assert model.dtype == model.tables[0].weight.dtype == dtype


# --- value tables stay in their file ------------------------------------------------------------


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float64])
def test_value_tables_are_mapped_and_not_read(
    tiny_checkpoint: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype | None,
) -> None:
    path = tiny_checkpoint(dtype=torch.bfloat16)
    read: list[str] = []
    reading = native._read

    def watched(file: Path, name: str, *rest: Any) -> Tensor:
        read.append(name)
        return reading(file, name, *rest)

    monkeypatch.setattr(native, "_read", watched)
    model = opened(path, dtype)
    assert read
    assert TABLE not in read
    assert [table.mapped for table in model.tables] == [True]
    assert model.tables[0].weight.dtype == torch.bfloat16
    assert model.dtype == (dtype or torch.bfloat16)


def test_a_converted_model_computes_with_the_values_as_stored(
    tiny_checkpoint: Callable[..., Path],
) -> None:
    path = tiny_checkpoint(dtype=torch.bfloat16)
    ids = torch.tensor([[0, 9, 200, 31, 4]])
    model = opened(path, torch.float32)
    resident = opened(path, torch.float32)
    resident.tables[0].mapped = False
    resident.tables[0].float()
    with torch.no_grad():
        torch.testing.assert_close(model.module(ids).logits, resident.module(ids).logits)


def test_opening_leaves_the_pages_of_a_large_table_alone(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # NaN in all rows but the few that are drawn opens: nobody looks at the others.
    monkeypatch.setattr(weights, "_WHOLE", 64)
    monkeypatch.setattr(weights, "_ROWS", 5)
    drawn = weights.some_rows(torch.arange(64)[:, None].expand(-1, 2))[:, 0]

    def change(tensors: dict[str, Tensor]) -> None:
        kept = tensors[TABLE][drawn].clone()
        tensors[TABLE].fill_(torch.nan)
        tensors[TABLE][drawn] = kept

    change_tensors(checkpoint, change)
    assert opened(checkpoint).tables[0].weight.isnan().any(-1).sum() == 64 - len(drawn.unique())


def test_a_table_that_holds_nan_is_refused(checkpoint: Path) -> None:
    change_tensors(checkpoint, lambda tensors: tensors[TABLE].view(-1)[70:71].fill_(torch.nan))
    with pytest.raises(CheckpointError, match=f"{TABLE} holds NaN or infinite numbers"):
        opened(checkpoint)


# --- the fingerprint ----------------------------------------------------------------------------


def test_the_fingerprint_is_that_of_the_contents(checkpoint: Path, tmp_path: Path) -> None:
    before = opened(checkpoint).fingerprint
    copy = Path(shutil.copytree(checkpoint, tmp_path / "elsewhere"))
    os.utime(copy / "model.safetensors", (1, 1))
    assert native.fingerprint(copy) == before
    (copy / "README.md").write_text("notes")
    assert native.fingerprint(copy) == before


@pytest.mark.parametrize("name", [TABLE, "model.norm.weight"])
def test_the_fingerprint_changes_with_one_number(checkpoint: Path, name: str) -> None:
    before = native.fingerprint(checkpoint)

    def change(tensors: dict[str, Tensor]) -> None:
        tensors[name].view(-1)[7] += 1e-6

    change_tensors(checkpoint, change)
    assert opened(checkpoint).fingerprint == native.fingerprint(checkpoint) != before


def test_the_fingerprint_changes_with_the_configuration(checkpoint: Path) -> None:
    before = native.fingerprint(checkpoint)
    change_config(checkpoint, memory_knn=3)
    assert native.fingerprint(checkpoint) != before


def test_of_a_large_file_the_fingerprint_samples_start_and_end(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "_WHOLE", 2**17)
    file = checkpoint / "model.safetensors"
    assert file.stat().st_size > 2**17
    seen = {native.fingerprint(checkpoint)}
    for place in (0, 1000, file.stat().st_size - 1):
        with file.open("r+b") as opened_file:
            opened_file.seek(place)
            byte = opened_file.read(1)[0]
            opened_file.seek(place)
            opened_file.write(bytes([byte ^ 1]))
        seen.add(native.fingerprint(checkpoint))
    assert len(seen) == 4
