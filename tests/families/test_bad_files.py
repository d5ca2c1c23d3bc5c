"""What a folder of a stranger's may hold: each refused in a sentence of its own, and at once."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from inspector.capture.corpus import open_corpus
from inspector.capture.load import load
from inspector.errors import (
    CheckpointError,
    CheckpointMismatch,
    CheckpointNotFound,
    CorpusError,
    InspectorError,
    UnsafeCheckpoint,
)
from inspector.families import convert as convert_module
from inspector.families.convert import convert
from tests.families import tiny_meta, tiny_re133
from tests.families.damage import change_config, change_tensors

SECONDS = 2.0


@pytest.fixture
def meta(tmp_path: Path) -> Path:
    config = tiny_meta.params()
    return tiny_meta.write_consolidated(
        tmp_path / "meta", config, tiny_meta.random_state(config, 0)
    )


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    state = tiny_re133.random_state(tiny_re133.OPTIONS, 0)
    return tiny_re133.write_packed(tmp_path / "packed", tiny_re133.OPTIONS, state)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    state = tiny_re133.random_state(tiny_re133.OPTIONS, 0)
    return tiny_re133.write_run(tmp_path / "run", tiny_re133.OPTIONS, state)


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    """Processor time, so that a busy machine doesn't count."""
    start = time.process_time()
    yield
    assert time.process_time() - start < SECONDS


def refused(path: Path, kind: type[InspectorError], told: str) -> str:
    with pytest.raises(kind, match=told) as caught:
        load(path, device="cpu")
    return str(caught.value)


# --- broken files -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rest.pt", "values_q4.bin", "scales_q4.bin"])
@pytest.mark.parametrize("kept", [0, 10, 0.7])
def test_four_bits_cut_short(packed: Path, name: str, kept: float) -> None:
    file = packed / name
    os.truncate(file, int(kept * file.stat().st_size) if isinstance(kept, float) else kept)
    message = refused(packed, CheckpointError, "cut short|is empty")
    assert name in message


@pytest.mark.parametrize("name", ["rest.pt", "values_q4.bin", "scales_q4.bin"])
def test_four_bits_with_a_file_missing(packed: Path, name: str) -> None:
    (packed / name).unlink()
    message = refused(packed, CheckpointNotFound, f"There is no .*{name}")
    assert "side by side" in message


def test_wrong_magic(checkpoint: Path, meta: Path, packed: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"PK\x03\x04" + bytes(5000))
    refused(checkpoint, CheckpointError, r"model\.safetensors is broken")
    (meta / "consolidated.pth").write_bytes(b"GGUF" + bytes(5000))
    refused(meta, CheckpointError, r"consolidated\.pth is no file of torch\.save")
    (packed / "rest.pt").write_bytes(b"GGUF" + bytes(5000))
    refused(packed, CheckpointError, r"rest\.pt is no file of torch\.save")


@pytest.mark.parametrize("name", ["consolidated.pth", "rest.pt"])
def test_a_zip_bomb(meta: Path, packed: Path, name: str) -> None:
    folder = meta if name == "consolidated.pth" else packed
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("archive/data.pkl", bytes(2**26))
        bomb.writestr("archive/version", b"3\n")
    assert (folder / name).stat().st_size < 2**18
    refused(folder, UnsafeCheckpoint, "unpack to 67,108,8")


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


@pytest.mark.parametrize("name", ["consolidated.pth", "rest.pt", "model.pt"])
def test_a_pickle_with_code_in_it_is_never_run(
    meta: Path, packed: Path, run: Path, tmp_path: Path, name: str
) -> None:
    folder = {"consolidated.pth": meta, "rest.pt": packed, "model.pt": run}[name]
    sign = tmp_path / "it was run"
    saved = torch.load(folder / name, weights_only=True)
    torch.save({**saved, "extra": Payload(sign)}, folder / name)
    message = refused(folder, UnsafeCheckpoint, "Nothing of it was run")
    assert not sign.exists()
    assert name in message
    torch.load(folder / name, weights_only=False)
    assert sign.exists(), "the payload works"


def test_a_bare_pickle_is_never_run(meta: Path, tmp_path: Path) -> None:
    sign = tmp_path / "it was run"
    (meta / "consolidated.pth").write_bytes(pickle.dumps(Payload(sign)))
    refused(meta, CheckpointError, r"no file of torch\.save")
    assert not sign.exists()


# --- what does not agree ------------------------------------------------------------------------


def change_saved(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    saved = torch.load(file, weights_only=True)
    change(saved)
    torch.save(saved, file)


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        (
            lambda s: s["model_config"].update(mem_n_keys=16),
            CheckpointMismatch,
            r"ffn\.keys is \[2, 2, 8, 8\], expected \[2, 2, 16, 8\]",
        ),
        (lambda s: s["model_config"].update(mem_knn=9), CheckpointError, "only 8 half-keys"),
        (lambda s: s["model_config"].update(mem_n_keys=0), CheckpointError, "above 0"),
        (lambda s: s["model_config"].update(n_layers=10**6), CheckpointMismatch, "of 3 blocks"),
        (lambda s: s["model_config"].update(n_heads=5), CheckpointError, "no multiple of n_heads"),
        (lambda s: s["model_config"].update(engram=True), CheckpointError, "engram = True"),
        (
            lambda s: s["model_config"].update(mem_query_norm="layer"),
            CheckpointError,
            "expected batchnorm or none",
        ),
        (
            lambda s: s["state_dict"].pop("layers.1.ffn.w2.weight"),
            CheckpointMismatch,
            r"layers\.1\.ffn\.w2\.weight is missing",
        ),
        (
            lambda s: s["state_dict"].update(more=torch.ones(2)),
            CheckpointMismatch,
            "more is not expected",
        ),
        (
            lambda s: s["state_dict"].update({"lm_head.weight": torch.ones(320, 32)}),
            CheckpointMismatch,
            "differs from tok_emb.weight",
        ),
        (
            lambda s: s["state_dict"]["layers.0.ffn.query_norm.running_var"].fill_(-1),
            CheckpointError,
            "negative",
        ),
        (
            lambda s: s["state_dict"]["layers.0.ffn.keys"].fill_(torch.nan),
            CheckpointError,
            "keys holds NaN or infinite",
        ),
        (lambda s: s.update(table_shape=[64, 30]), CheckpointMismatch, "needs 960"),
        (lambda s: s.update(table_shape=[0, 32]), CheckpointError, "two sizes"),
        (lambda s: s.update(table_keys=["x"]), CheckpointMismatch, "x is not expected"),
        (lambda s: s.pop("state_dict"), CheckpointError, "model_config and state_dict"),
        (lambda s: s.pop("model_config"), CheckpointError, "model_config is a NoneType"),
    ],
)
def test_four_bits_that_disagree(
    packed: Path, change: Callable[[Any], Any], kind: type[InspectorError], told: str
) -> None:
    (packed / "meta.json").unlink()
    change_saved(packed / "rest.pt", change)
    refused(packed, kind, told)


def test_meta_json_of_another_table(packed: Path) -> None:
    (packed / "meta.json").write_text(json.dumps({"rows": 65, "dim": 32}))
    refused(packed, CheckpointMismatch, r"rows = 65, but rest\.pt has 64")


def test_scales_that_are_no_numbers(packed: Path) -> None:
    scales = torch.ones(64).half()
    scales[9] = torch.inf
    scales.numpy().tofile(packed / "scales_q4.bin")
    refused(packed, CheckpointError, r"scales_q4\.bin holds NaN or infinite")


@pytest.mark.parametrize(
    "fields", [{"memory_half_keys": 0}, {"memory_d_value": -1}, {"memory_heads": 0}]
)
def test_tables_of_no_size(checkpoint: Path, fields: dict[str, int]) -> None:
    change_config(checkpoint, **fields)
    refused(checkpoint, CheckpointError, "is at least 1")


def test_more_reads_than_keys(checkpoint: Path) -> None:
    change_config(checkpoint, memory_knn=65)
    refused(checkpoint, CheckpointError, "make only 64 keys")


@pytest.mark.parametrize("dtype", [torch.int32, torch.float8_e4m3fn, torch.complex64])
def test_numbers_of_another_kind(checkpoint: Path, dtype: torch.dtype) -> None:
    name = "model.norm.weight"
    change_tensors(checkpoint, lambda t: t.update({name: t[name].to(dtype)}))
    refused(checkpoint, CheckpointError, f"{name} is stored as {dtype}")


def test_blocks_that_nobody_has(checkpoint: Path) -> None:
    change_config(checkpoint, num_hidden_layers=2**31)
    refused(checkpoint, CheckpointMismatch, "tensors of 3 blocks")


@pytest.mark.parametrize("number", [2**31, -1, 10**30, "7", None, 1.5])
def test_tokens_with_impossible_numbers(checkpoint: Path, packed: Path, number: Any) -> None:
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["a"] = number
    (checkpoint / "tokenizer.json").write_text(json.dumps(tokenizer))
    refused(checkpoint, CheckpointError, "gives a token the number")
    ranks = json.loads((packed / "vocab.json").read_text())
    (packed / "vocab.json").write_text(json.dumps(ranks | {"a": number}))
    refused(packed, CheckpointError, "gives a token the number")


# --- where it lies ------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_directory_without_permission(checkpoint: Path) -> None:
    checkpoint.chmod(0)
    refused(checkpoint, CheckpointNotFound, "cannot be opened: Permission denied")


def test_a_directory_that_says_no(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    refused(checkpoint, CheckpointNotFound, "cannot be opened: Permission denied")


def test_links_in_a_circle(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    refused(tmp_path / "a", CheckpointNotFound, "in a circle")
    file = checkpoint / "model.safetensors"
    file.unlink()
    file.symlink_to(file)
    assert str(file) in refused(checkpoint, CheckpointError, "model.safetensors")


def test_outside_of_the_roots(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed, other = tmp_path / "allowed", tmp_path / "other"
    inside = Path(shutil.copytree(checkpoint, allowed / "model"))
    outside = Path(shutil.copytree(checkpoint, other / "model"))
    monkeypatch.setenv("INSPECTOR_ROOTS", f"{tmp_path / 'more'}{os.pathsep}{allowed}")
    assert load(inside, device="cpu").name == "model"
    for path in (outside, allowed / ".." / "other" / "model", tmp_path / "nothing here"):
        message = refused(path, UnsafeCheckpoint, "outside of the folders that may be opened")
        assert str(allowed) in message
    (allowed / "link").symlink_to(outside)
    refused(allowed / "link", UnsafeCheckpoint, "lies outside")
    weights = inside / "model.safetensors"
    weights.unlink()
    weights.symlink_to(outside / "model.safetensors")
    refused(inside, UnsafeCheckpoint, "lies outside")
    monkeypatch.setenv("INSPECTOR_ROOTS", "")
    assert load(outside, device="cpu").name == "model"


def test_roots_hold_for_corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inside").mkdir()
    for place in (tmp_path / "inside" / "a.txt", tmp_path / "secret.txt"):
        place.write_text("text")
    monkeypatch.setenv("INSPECTOR_ROOTS", str(tmp_path / "inside"))
    assert open_corpus(tmp_path / "inside" / "a.txt").identity
    with pytest.raises(UnsafeCheckpoint, match="outside of the folders"):
        open_corpus(tmp_path / "secret.txt")
    monkeypatch.setenv("INSPECTOR_ROOTS", "")
    with pytest.raises(CorpusError, match="no home directory"):
        open_corpus("~no-such-user/x.txt")


def test_a_root_that_starts_alike_is_another(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(checkpoint, tmp_path / "models-private" / "model")
    monkeypatch.setenv("INSPECTOR_ROOTS", str(tmp_path / "models"))
    refused(tmp_path / "models-private" / "model", UnsafeCheckpoint, "lies outside")


def test_fifty_gigabytes_are_neither_read_nor_copied(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint
    _grow(path, {"dtype": "F32", "shape": [8192**2, 192]})
    change_config(path, memory_half_keys=8192, memory_d_value=192)
    model = load(path, device="cpu")
    assert model.tables[0].weight.nbytes > 50e9
    assert any("4,096 drawn at random" in note for note in model.provenance.notes)
    assert sum(file.stat().st_blocks for file in path.iterdir()) * 512 < 2**26, "still sparse"
    usage = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(convert_module.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(CheckpointError, match=r"51\.5 GB, and .* only 1\.0 GB free"):
        convert(model, tmp_path / "native")
    assert not (tmp_path / "native").exists()


def _grow(path: Path, table: dict[str, Any]) -> None:
    """Give it the half-keys of a large memory, and beside it a file of nothing but its values."""
    shapes = {
        f"model.layers.{block}.mlp.{name}": shape
        for block in (0, 2)
        for name, shape in (
            ("half_key_scores.half_keys", (2, 2, 8192, 8)),
            ("gate_proj.weight", (192, 32)),
            ("gate_proj.bias", (192,)),
            ("value_proj.weight", (32, 192)),
        )
    }

    def change(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["model.value_tables.0.weight"]
        tensors.update({name: torch.ones(shape) for name, shape in shapes.items()})

    change_tensors(path, change)
    size = 4 * table["shape"][0] * table["shape"][1]
    header = json.dumps({"model.value_tables.0.weight": {**table, "data_offsets": [0, size]}})
    content = header.encode() + b" " * (-len(header) % 8)
    with (path / "model-table.safetensors").open("wb") as made:
        made.write(len(content).to_bytes(8, "little") + content)
        made.truncate(8 + len(content) + size)
