"""Checkpoints of re133's code: what the load report says, and the tokenizer they don't bring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from inspector.capture.load import load, self_check
from inspector.capture.session import logits
from inspector.errors import CheckpointError, TokenizerNeeded, UnknownFamily
from inspector.memory.packed import PackedRows
from tests.families.tiny_re133 import (
    OPTIONS,
    random_state,
    write_packed,
    write_run,
    write_tokenizer,
)

TEXT = "this is the answer: Zürich"


def written(folder: Path, write: Any = write_packed, **options: Any) -> Path:
    chosen = {**OPTIONS, **options}
    path: Path = write(folder, chosen, random_state(chosen, 0))
    return path


def test_the_report_of_four_bits(tmp_path: Path) -> None:
    model = load(written(tmp_path / "packed", mem_score_scale="learned"), device="cpu")
    found = model.provenance
    assert (model.name, found.family) == ("packed", "re133")
    assert "values_q4.bin" in found.recognised_by
    assert set(found.tied) == {"lm_head.weight", "layers.2.ffn.values.weight"}
    assert found.ignored == tuple(
        f"layers.{layer}.ffn.query_norm.num_batches_tracked" for layer in (0, 2)
    )
    told = " ".join(found.notes)
    for words in ("batch norm", "learned number", "four bits", "hot_rows.npy", "is not used"):
        assert words in told
    assert found.tokenizer.endswith("vocab.json")
    (table,) = model.tables
    assert isinstance(table.weight, PackedRows)
    assert table.mapped
    assert model.sites_of(0) == ("L0", "L2")


def test_a_runs_tables_are_shared_where_it_saved_one(tmp_path: Path) -> None:
    shared = load(written(tmp_path / "shared", write_run), device="cpu")
    apart = load(written(tmp_path / "apart", write_run, mem_share_values=False), device="cpu")
    assert len(shared.tables) == 1
    assert len(apart.tables) == 2
    assert shared.provenance.tied == ("lm_head.weight", "layers.2.ffn.values.weight")


def test_four_bits_are_near_the_run_they_were_made_of(tmp_path: Path) -> None:
    run = load(written(tmp_path / "run", write_run), device="cpu")
    packed = load(written(tmp_path / "packed"), device="cpu")
    ids = torch.arange(20)[None]
    with torch.no_grad():
        error = (logits(run, ids) - logits(packed, ids)).abs().max() / logits(run, ids).abs().max()
    assert 1e-4 < error < 0.2


def test_a_table_in_sixteen_bits(tmp_path: Path) -> None:
    path = written(tmp_path / "wide")
    table = random_state(OPTIONS, 0)["layers.0.ffn.values.weight"].bfloat16()
    table.view(torch.int16).numpy().tofile(path / "values_bf16.bin")
    for name in ("values_q4.bin", "scales_q4.bin"):
        (path / name).unlink()
    model = load(path, device="cpu")
    assert torch.equal(model.tables[0].weight, table)
    assert self_check(model).passed


def test_a_dense_run_opens_with_zero_sites(tmp_path: Path) -> None:
    model = load(written(tmp_path / "dense", write_run, mem_layers=[]), device="cpu")
    assert not model.sites
    assert self_check(model).passed


@pytest.mark.parametrize("name", ["rest.pt", "values_q4.bin", "scales_q4.bin"])
def test_any_of_its_files_opens_it(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "packed")
    assert load(path / name, device="cpu").fingerprint == load(path, device="cpu").fingerprint


def test_other_files_of_torch_are_not_taken_for_it(tmp_path: Path) -> None:
    torch.save({"weights": torch.ones(2)}, tmp_path / "model.pt")
    with pytest.raises(UnknownFamily, match=r"re133's code has a model\.pt"):
        load(tmp_path, device="cpu")


# --- its tokenizer ------------------------------------------------------------------------------


def forget_tokenizer(path: Path) -> Path:
    for name in ("vocab.json", "merges.txt"):
        (path / name).unlink()
    return path


def test_the_tokenizer_is_asked_for(tmp_path: Path) -> None:
    path = forget_tokenizer(written(tmp_path / "packed"))
    with pytest.raises(TokenizerNeeded, match=r"tokenizer of GPT-2.*--tokenizer FILE"):
        load(path, device="cpu")
    with pytest.raises(TokenizerNeeded, match="no tokenizer at"):
        load(path, device="cpu", tokenizer=tmp_path / "gone")


@pytest.mark.parametrize("kind", ["vocab.json", "encoder.json", "tokenizer.json"])
@pytest.mark.parametrize("given", ["beside", "file", "folder"])
def test_the_tokenizer_comes_in_several_forms(tmp_path: Path, kind: str, given: str) -> None:
    path = written(tmp_path / "packed")
    expected = load(path, device="cpu").tokenizer(TEXT)["input_ids"]
    forget_tokenizer(path)
    words = path if given == "beside" else tmp_path / "words"
    words.mkdir(exist_ok=True)
    write_tokenizer(words, kind)
    named = {"beside": None, "file": words / kind, "folder": words}[given]
    model = load(path, device="cpu", tokenizer=named)
    assert model.tokenizer(TEXT)["input_ids"] == expected
    assert model.tokenizer.decode(expected) == TEXT
    assert model.tokenizer.convert_ids_to_tokens(expected[0]) == "th"
    assert model.tokenizer.eos_token_id == len(model.tokenizer) - 1
    assert model.tokenizer.bos_token_id is None


def test_text_that_spells_the_end_is_text(tmp_path: Path) -> None:
    tokenizer = load(written(tmp_path / "packed"), device="cpu").tokenizer
    assert tokenizer.eos_token_id not in tokenizer("<|endoftext|>")["input_ids"]


def test_padding_tokens_have_a_number_for_a_name(tmp_path: Path) -> None:
    model = load(written(tmp_path / "packed"), device="cpu")
    assert model.backbone.head.out_features == 320 > len(model.tokenizer)
    assert model.token_text(319) == "<319>"


def test_another_models_tokenizer_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "packed", vocab_size=250)
    with pytest.raises(CheckpointError, match="262 tokens, but the model knows 250"):
        load(path, device="cpu")
