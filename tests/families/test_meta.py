"""Meta's checkpoints: the numbers of Meta's own code, every place they may lie in, what is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from inspector.analyses.costs import measure_costs
from inspector.capture.load import load, self_check
from inspector.capture.session import logits, session
from inspector.capture.trace import trace
from inspector.families.base import MemoryModel
from tests.families.tiny_meta import (
    params,
    random_state,
    renamed,
    write_consolidated,
    write_dcp,
)

PARITY = Path(__file__).parents[1] / "data" / "parity"
PLACES = ["meta-gated", "meta-plain", "meta-shared", "meta-shared/dcp"]


def opened(path: Path, **options: Any) -> MemoryModel:
    return load(path, device="cpu", **options)


# --- the numbers of Meta's own code -------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
def test_it_computes_what_metas_code_computed(place: str) -> None:
    model = opened(PARITY / place)
    expected = load_file(PARITY / place.split("/", maxsplit=1)[0] / "reference.safetensors")
    blocks: dict[int, Tensor] = {}
    for number, block in enumerate(model.module.model.layers):
        block.register_forward_hook(
            lambda _m, _i, output, n=number: blocks.update({n: _first(output)})
        )
    with session(record=True) as recording:
        found = logits(model, expected["input_ids"])
    torch.testing.assert_close(found, expected["logits"], atol=1e-4, rtol=0)
    for number, output in blocks.items():
        torch.testing.assert_close(output, expected[f"block_outputs.{number}"], atol=1e-4, rtol=0)
    assert list(model.sites) == ["L1", "L3"]
    for name, reads in recording.reads.items():
        own = {k.split(".")[2]: v for k, v in expected.items() if f"memory.{name[1:]}." in k}
        assert torch.equal(reads.slots, own["last_indices"].view(2, 17, 2, 4))
        scores = own["last_scores"].view(2, 17, 2, 4)
        torch.testing.assert_close(reads.scores, scores, atol=1e-4, rtol=0)
        torch.testing.assert_close(recording.inputs[name], own["input"], atol=1e-4, rtol=0)
        torch.testing.assert_close(recording.outputs[name], own["output"], atol=1e-4, rtol=0)
    assert self_check(model).passed


def _first(output: Any) -> Tensor:
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found


def test_the_load_report_says_what_was_found() -> None:
    model = opened(PARITY / "meta-shared")
    found = model.provenance
    assert (found.family, found.tensors_used, found.ignored) == ("meta", 48, ())
    assert found.recognised_by == "there is a consolidated.pth, a run's weights in one file"
    assert found.tied == ("layers.3.feed_forward.values.weight",)
    assert "a copy for each of 2 memory layers (compared: identical)" in found.notes[0]
    assert found.tokenizer == "bytes, which needs no file"
    info = model.site("L3").info
    assert (info.heads, info.knn, info.half_keys, info.d_key, info.d_value) == (2, 4, 16, 32, 64)
    assert model.sites_of(0) == ("L1", "L3")
    assert (model.name, model.positions) == ("meta-shared", 64)


def test_the_table_stays_in_its_file_as_it_is_stored() -> None:
    for place in PLACES:
        model = opened(PARITY / place)
        (table,) = model.tables
        assert table.mapped
        assert table.weight.dtype == torch.bfloat16
        assert model.dtype == torch.float32


# --- where it may lie ---------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two steps, the second consolidated, as its folder is laid out."""
    config = params()
    for step, seed in (("0000000010", 0), ("0000000020", 1)):
        write_dcp(tmp_path / "run" / "checkpoints" / step, config, random_state(config, seed))
    last = tmp_path / "run" / "checkpoints" / "0000000020"
    write_consolidated(last, config, random_state(config, 1), inside="consolidated")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("named", "name"),
    [
        (".", "run 0000000020"),
        ("checkpoints", "run 0000000020"),
        ("checkpoints/0000000020", "run 0000000020"),
        ("checkpoints/0000000020/consolidated", "run 0000000020"),
        ("checkpoints/0000000020/consolidated/consolidated.pth", "run 0000000020"),
        ("checkpoints/0000000020/params.json", "run 0000000020"),
        ("checkpoints/0000000010", "run 0000000010"),
        ("checkpoints/0000000010/.metadata", "run 0000000010"),
        ("checkpoints/0000000010/__0_0.distcp", "run 0000000010"),
    ],
)
def test_any_part_of_a_run_names_it(run: Path, named: str, name: str) -> None:
    model = opened(run / named)
    assert model.name == name
    seed = int(name[-2:]) // 10 - 1
    expected = random_state(params(), seed)["tok_embeddings.weight"]
    assert torch.equal(model.backbone.embedding.weight, expected)


def test_of_a_run_the_last_step_is_open_and_that_is_said(run: Path) -> None:
    (run / "checkpoints" / "0000000030").mkdir()  # was being written when the run was killed
    notes = opened(run).provenance.notes
    assert notes[0].endswith("the last one is open: 0000000020.")


def test_params_may_lie_above_the_consolidated_folder(run: Path) -> None:
    folder = run / "checkpoints" / "0000000020" / "consolidated"
    (folder / "params.json").unlink()
    assert opened(folder).name == "run 0000000020"


def test_a_file_may_have_another_name(tmp_path: Path) -> None:
    config = params()
    write_consolidated(tmp_path, config, random_state(config, 0), name="weights.pth")
    assert list(opened(tmp_path / "weights.pth").sites) == ["L0", "L2"]


def test_both_formats_and_both_spellings_are_the_same_model(tmp_path: Path) -> None:
    config = params(swilu_projection=True, mem_gated=True)
    state = random_state(config, 0)
    ids = torch.randint(258, (2, 9))
    found = [
        logits(opened(path), ids)
        for path in (
            write_consolidated(tmp_path / "file", config, state),
            write_dcp(tmp_path / "directory", config, state),
            write_consolidated(tmp_path / "fork", config, renamed(state)),
        )
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_state_without_an_optimizer_beside_it_opens(tmp_path: Path) -> None:
    config = params()
    write_consolidated(tmp_path, config, {})
    torch.save(random_state(config, 0), tmp_path / "consolidated.pth")
    assert list(opened(tmp_path).sites) == ["L0", "L2"]


# --- variants that the conformance suite does not tell apart ------------------------------------


@pytest.mark.parametrize("off", [{"is_enabled": False}, None])
def test_without_memory_there_are_no_sites(tmp_path: Path, off: dict[str, Any] | None) -> None:
    config = params(**(off or {"is_enabled": False}))
    state = random_state(config, 0)
    if off is None:
        config["model"]["productkey_args"] = None
    model = opened(write_consolidated(tmp_path, config, state))
    assert dict(model.sites) == {}
    assert model.tables == ()
    assert self_check(model).passed
    assert trace(model, "hello").logits.shape == (1, 6, 258)
    assert measure_costs(model).values == 0


def test_tables_that_differ_are_not_shared_whatever_params_says(tmp_path: Path) -> None:
    config = params(mem_share_values=True)
    state = random_state(config, 0)
    state["layers.2.feed_forward.values.weight"][5, 3] += 1
    model = opened(write_consolidated(tmp_path, config, state))
    assert (model.sites_of(0), model.sites_of(1)) == (("L0",), ("L2",))
    assert "each layer reads its own" in model.provenance.notes[0]
    row = model.site("L2").table.rows(torch.tensor(5))
    assert torch.equal(row, state["layers.2.feed_forward.values.weight"][5])


def test_one_copy_of_a_shared_table_is_enough(tmp_path: Path) -> None:
    config = params(mem_share_values=True)
    state = random_state(config, 0)
    whole = opened(write_consolidated(tmp_path / "whole", config, state))
    del state["layers.2.feed_forward.values.weight"]
    model = opened(write_consolidated(tmp_path / "once", config, state))
    ids = torch.randint(258, (1, 9))
    assert torch.equal(logits(model, ids), logits(whole, ids))
    assert model.provenance.tied == ()


def test_what_peer_carries_unused_is_ignored_by_name(tmp_path: Path) -> None:
    config = params(peer_variant=True, swilu_projection=True)
    state = random_state(config, 0) | {"rope_embeddings.freqs_cis": torch.ones(48, 4, 2)}
    model = opened(write_consolidated(tmp_path, config, state))
    kinds = {name.split("feed_forward.")[-1] for name in model.provenance.ignored}
    assert {"value_proj.weight", "swilu_projection.bias", "rope_embeddings.freqs_cis"} <= kinds
    assert "negative" in model.provenance.limits[0]
    signs = trace(model, "some text").reads["L0"].coefficients.sign()
    assert {-1.0, 1.0} <= set(signs.flatten().tolist())
    assert model.activation_tables[0].mapped
    assert measure_costs(model).values == 2 * 64 * 32


def test_sizes_that_params_leaves_out_follow_from_the_tensors(tmp_path: Path) -> None:
    config = params()
    state = random_state(config, 0)
    for option in ("mem_n_keys", "mem_heads", "mem_k_dim", "mem_v_dim"):
        del config["model"]["productkey_args"][option]
    info = opened(write_consolidated(tmp_path, config, state)).site("L0").info
    assert (info.half_keys, info.heads, info.d_key, info.d_value) == (8, 2, 16, 32)


def test_a_tied_head_is_the_embedding(tmp_path: Path) -> None:
    config = params({"weight_tying": True})
    model = opened(write_consolidated(tmp_path, config, random_state(config, 0)))
    assert model.backbone.head.weight is model.backbone.embedding.weight
    assert model.provenance.tied[-1] == "output.weight"


def test_a_format_to_compute_in_may_be_asked_for(tmp_path: Path) -> None:
    config = params(dtype="bf16")
    path = write_consolidated(tmp_path, config, random_state(config, 0))
    model = opened(path)
    assert model.dtype == torch.float32
    assert "trained in bfloat16 and is computed in float32" in model.provenance.notes[-1]
    assert opened(path, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_the_fingerprint_is_of_the_contents(tmp_path: Path) -> None:
    config = params()
    state = random_state(config, 0)
    first = write_consolidated(tmp_path / "a" / "x", config, state)
    again = shutil.copytree(first, tmp_path / "b" / "x")
    assert opened(first).fingerprint == opened(again).fingerprint
    changed = json.loads((again / "params.json").read_text())
    changed["model"]["rope_theta"] = 10000.0
    (again / "params.json").write_text(json.dumps(changed))
    assert opened(first).fingerprint != opened(again).fingerprint
    state["norm.weight"][0] += 1
    other = write_consolidated(tmp_path / "c" / "x", config, state)
    assert opened(first).fingerprint != opened(other).fingerprint


def test_a_safetensors_file_beside_it_changes_nothing(tmp_path: Path) -> None:
    config = params()
    write_consolidated(tmp_path, config, random_state(config, 0))
    save_file({"x": torch.ones(1)}, tmp_path / "model.safetensors")
    assert opened(tmp_path).provenance.family == "meta"
