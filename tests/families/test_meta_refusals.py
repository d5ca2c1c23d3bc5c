"""Checkpoints of Meta's code that are refused, each with its own sentence, soon."""

from __future__ import annotations

import json
import pickle
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from inspector.errors import (
    CheckpointError,
    CheckpointMismatch,
    CheckpointNotFound,
    UnknownFamily,
    UnsafeCheckpoint,
)
from inspector.families import meta  # noqa: F401  registers itself
from inspector.families.registry import open_checkpoint
from tests.families.tiny_meta import State, params, random_state, write_consolidated, write_dcp

CPU = torch.device("cpu")
Change = Callable[[Any, State], Any]


def refused(path: Path, kind: type[CheckpointError], told: str) -> CheckpointError:
    """The error, which comes soon and is one sentence or a few."""
    start = time.perf_counter()
    with pytest.raises(kind, match=told) as caught:
        open_checkpoint(path, device=CPU)
    assert time.perf_counter() - start < 2
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    return caught.value


def written(folder: Path, change: Change, **options: Any) -> Path:
    config = params(**options)
    state = random_state(config, 0)
    change(config, state)
    return write_consolidated(folder, config, state)


# --- params.json --------------------------------------------------------------------------------


def test_params_that_are_missing(tmp_path: Path) -> None:
    path = written(tmp_path / "file", lambda *_: None)
    (path / "params.json").unlink()
    refused(path, CheckpointNotFound, r"There is no .*params\.json")
    refused(path / "consolidated.pth", CheckpointNotFound, r"There is no .*params\.json")
    config = params()
    folder = write_dcp(tmp_path / "directory", config, random_state(config, 0))
    (folder / "params.json").unlink()
    refused(folder, CheckpointNotFound, r"There is no .*params\.json")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("\x00\x01", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "expected an object"),
        ("3", "expected an object"),
        ("{}", "has no section model"),
        ('{"model": 3}', "model is 3; expected an object"),
        ('{"dim": 4096, "n_layers": 32}', "has no section model"),  # Llama's own release
    ],
)
def test_params_that_are_garbled(tmp_path: Path, text: str, told: str) -> None:
    path = written(tmp_path, lambda *_: None)
    (path / "params.json").write_text(text)
    refused(path, CheckpointError, told)


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("dim", None, r"does not say model\.dim"),
        ("dim", "32", r"model\.dim is '32'; expected a whole number above 0"),
        ("dim", 64, r"model\.dim = 64, but by the shape of tok_embeddings\.weight it is 32"),
        ("n_layers", 4, r"model\.n_layers = 4, but by the shape of layers\.\* it is 3"),
        ("n_layers", 10**9, r"model\.n_layers = 1000000000, but"),
        ("n_layers", 10**12, r"expected a whole number above 0"),
        ("n_heads", 3, r"describes no usable model|do not match"),
        ("n_heads", 0, r"expected a whole number above 0"),
        ("n_kv_heads", 1, r"wk\.weight is \[16, 32\], expected \[8, 32\]"),
        ("n_kv_heads", 3, r"describes no usable model|do not match"),
        ("ffn_dim_multiplier", 2.0, r"w1\.weight is \[112, 32\], expected \[176, 32\]"),
        ("rope_theta", None, r"does not say model\.rope_theta"),
        ("rope_theta", float("nan"), r"rope_theta is nan; expected a number above 0"),
        ("norm_eps", -1, r"norm_eps is -1; expected a number above 0"),
        ("sliding_window", 16, r"options that .* not know: model\.sliding_window = 16"),
        ("qk_norm", True, r"model\.qk_norm = True"),
        ("weight_tying", "no", r"weight_tying is 'no'; expected true or false"),
    ],
)
def test_a_model_that_params_gets_wrong(tmp_path: Path, option: str, value: Any, told: str) -> None:
    path = written(tmp_path, lambda config, _: config["model"].update({option: value}))
    refused(path, CheckpointError, told)


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("mem_knn", 9, "mem_knn = 9, but each set has only 8 half-keys"),
        ("mem_knn", 10**6, "mem_knn = 1000000, but each set has only 8 half-keys"),
        ("mem_knn", None, r"does not say model\.productkey_args\.mem_knn"),
        ("mem_knn", 0, "expected a whole number above 0"),
        ("mem_n_keys", 16, "mem_n_keys = 16, but by the shape of .*keys it is 8"),
        ("mem_heads", 4, "mem_heads = 4, but by the shape"),
        ("mem_k_dim", 32, "mem_k_dim = 32, but by the shape"),
        ("mem_v_dim", 20, r"values\.weight is \[64, 32\], expected \[64, 20\]"),
        ("layers", "0,3", r"layers names blocks \[0, 3\]; expected some of 0 to 2"),
        ("layers", "0,1", r"w1\.weight is not expected|are not both there|is missing"),
        ("layers", "0,0", r"distinct blocks|do not match"),
        ("layers", "", r"layers names blocks \[\]"),
        ("layers", "first", "layers is 'first'; expected blocks"),
        ("mem_gated", True, r"gating\.weight is missing"),
        ("swilu_projection", True, r"swilu_projection\.weight is missing"),
        ("peer_variant", True, r"values_v\.weight is missing"),
        ("mem_norm", "layer", r"productkey_args\.mem_norm = 'layer'"),
    ],
)
def test_a_memory_that_params_gets_wrong(
    tmp_path: Path, option: str, value: Any, told: str
) -> None:
    def change(config: Any, _: State) -> None:
        config["model"]["productkey_args"][option] = value

    refused(written(tmp_path, change), CheckpointError, told)


def test_options_that_only_training_knows_are_no_matter(tmp_path: Path) -> None:
    def change(config: Any, _: State) -> None:
        config["model"] |= {"init_new_std": 0.1, "seed": 3, "attn_bias": False}
        config["model"]["productkey_args"] |= {"mem_keys_lr": 0.1, "mem_dropout": 0.1}

    assert open_checkpoint(written(tmp_path, change), device=CPU).sites


# --- tensors ------------------------------------------------------------------------------------


def test_tensors_that_are_missing_extra_or_different_are_named(tmp_path: Path) -> None:
    names = ["layers.1.attention.wq.weight", "layers.1.extra.weight", "norm.weight"]

    def change(_: Any, state: State) -> None:
        del state[names[0]]
        state[names[1]] = torch.ones(2)
        state[names[2]] = torch.ones(31)

    error = refused(written(tmp_path, change), CheckpointMismatch, "is missing; ")
    assert isinstance(error, CheckpointMismatch)
    assert sorted(error.names) == sorted(names)
    assert "is not expected" in str(error)
    assert "is [31], expected [32]" in str(error)


def test_a_table_of_no_rows(tmp_path: Path) -> None:
    def change(_: Any, state: State) -> None:
        state["layers.0.feed_forward.keys"] = torch.ones(0, 8)

    refused(written(tmp_path, change), CheckpointMismatch, "mem_n_keys = 8, but .* it is 0")


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    def change(_: Any, state: State) -> None:
        state["norm.weight"] = torch.ones(32, dtype=torch.int64)

    refused(written(tmp_path, change), CheckpointMismatch, "is torch.int64, expected floating")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["norm.weight", "layers.0.feed_forward.values.weight"])
def test_weights_that_are_no_numbers(tmp_path: Path, name: str, value: float) -> None:
    def change(_: Any, state: State) -> None:
        state[name].view(-1)[7] = value

    path = written(tmp_path, change, mem_share_values=False)
    refused(path, CheckpointError, f"{name} holds NaN or infinite numbers")


def test_a_tensor_under_two_names(tmp_path: Path) -> None:
    def change(_: Any, state: State) -> None:
        state["layers.0.feed_forward.values"] = state["layers.0.feed_forward.values.weight"]

    refused(written(tmp_path, change), CheckpointMismatch, "twice")


# --- the file -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 4, 300, 50_000, 100_000])
def test_a_file_that_was_cut_short(tmp_path: Path, kept: int) -> None:
    path = written(tmp_path, lambda *_: None)
    content = (path / "consolidated.pth").read_bytes()
    (path / "consolidated.pth").write_bytes(content[:kept])
    refused(path, CheckpointError, "cut short|is empty")


@pytest.mark.parametrize("content", [b"no zip at all", b"PK\x03\x04" + b"\0" * 400])
def test_a_file_that_is_something_else(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, lambda *_: None)
    (path / "consolidated.pth").write_bytes(content)
    refused(path, CheckpointError, r"is no file of torch\.save")


class Attack:
    """Would leave a mark if it were ever unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_code_is_never_run(tmp_path: Path) -> None:
    path, mark = written(tmp_path / "run", lambda *_: None), tmp_path / "mark"
    torch.save({"model": {"x": Attack(mark)}}, path / "consolidated.pth")
    refused(path, UnsafeCheckpoint, r"would run getattr\. Nothing of it was run")
    (path / "consolidated.pth").write_bytes(pickle.dumps(Attack(mark)))
    refused(path, CheckpointError, r"is no file of torch\.save")
    assert not mark.exists()


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = written(tmp_path, lambda *_: None)
    with zipfile.ZipFile(path / "consolidated.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 200_000_000)
    refused(path, UnsafeCheckpoint, r"unpack to 200,000,000.*never compresses")


@pytest.mark.parametrize("saved", [[1, 2], {"model": {}}, {"model": 3}, torch.ones(3), {}])
def test_a_file_without_a_model(tmp_path: Path, saved: Any) -> None:
    path = written(tmp_path, lambda *_: None)
    torch.save(saved, path / "consolidated.pth")
    refused(path, CheckpointError, "holds no model")


def test_another_kind_of_model(tmp_path: Path) -> None:
    path = written(tmp_path, lambda *_: None)
    torch.save({"model": {"x": torch.ones(2)}}, path / "consolidated.pth")
    refused(path, CheckpointMismatch, r"no matrix tok_embeddings\.weight")


def test_a_torch_file_without_a_run_is_not_metas(tmp_path: Path) -> None:
    torch.save({"x": torch.ones(2)}, tmp_path / "other.pth")
    refused(tmp_path / "other.pth", UnknownFamily, "no family")


def test_an_unknown_tokenizer(tmp_path: Path) -> None:
    def change(config: Any, _: State) -> None:
        config["data"]["tokenizer"]["name"] = "words"

    refused(written(tmp_path, change), CheckpointError, "tokenizer 'words'; .* bytes, sp and tik")


def test_a_configuration_in_a_loop_of_links(tmp_path: Path) -> None:
    path = written(tmp_path / "run", lambda *_: None)
    (path / "params.json").unlink()
    (path / "params.json").symlink_to(path / "params.json")
    refused(path, CheckpointNotFound, r"There is no .*params\.json")


def test_json_is_what_params_is_read_as(tmp_path: Path) -> None:
    path = written(tmp_path, lambda *_: None)
    text = json.dumps(json.loads((path / "params.json").read_text())).encode("utf-16")
    (path / "params.json").write_bytes(text)
    refused(path, CheckpointError, "is not JSON")
