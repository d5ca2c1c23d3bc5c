"""Doge: routed as its tokens are by themselves, or as in transformers' full pass; refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import DogeForCausalLM

import inspector
from inspector.analyses.costs import site_flops
from inspector.capture.generate import continue_greedily
from inspector.capture.load import load
from inspector.capture.session import logits
from inspector.errors import CheckpointError, CheckpointMismatch, NotShown
from inspector.families.doge import recognise
from inspector.memory.product_keys import score_half_keys
from tests.conftest import SENTENCES
from tests.families.conformance import observe, random_ids
from tests.families.tiny_doge import write_doge


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_doge(tmp_path_factory.mktemp("doge") / "checkpoint", SENTENCES)


@pytest.fixture(scope="module")
def theirs(path: Path) -> DogeForCausalLM:
    return DogeForCausalLM.from_pretrained(path, local_files_only=True).eval()


def step_by_step(model: DogeForCausalLM, ids: Tensor) -> Tensor:
    """Transformers' own logits for one text, one token at a time with its cache."""
    assert len(ids) == 1  # those of a batch would choose each other's slots
    cache, rows = None, []
    with torch.inference_mode():
        for pos in range(ids.shape[1]):
            out = model(ids[:, [pos]], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            rows.append(out.logits)
    return torch.cat(rows, dim=1)


def test_a_pass_equals_feeding_tokens_one_at_a_time(path: Path, theirs: DogeForCausalLM) -> None:
    model = load(path, "cpu")
    ids = random_ids(model, rows=3, length=9)
    found = logits(model, ids)
    expected = torch.cat([step_by_step(theirs, row[None]) for row in ids])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    with torch.inference_mode():
        whole = theirs(ids, use_cache=False).logits
    assert (found - whole).abs().max() > 0.1  # which is why it is said


def test_a_pass_is_causal(path: Path) -> None:
    model = load(path, "cpu")
    ids = random_ids(model, rows=1, length=9)
    part = inspector.trace(model, ids=ids[:, :5])
    full = inspector.trace(model, ids=ids)
    for name, reads in part.reads.items():
        assert torch.equal(full.reads[name].slots[:, :5], reads.slots)


def test_it_writes_what_transformers_writes_token_by_token(
    path: Path, theirs: DogeForCausalLM
) -> None:
    model = load(path, "cpu")
    ids = random_ids(model, rows=1, length=4)
    expected = ids
    for _ in range(5):
        best = step_by_step(theirs, expected)[:, -1:].argmax(-1)
        expected = torch.cat([expected, best], dim=1)
        if best.item() == 1:
            break
    assert torch.equal(continue_greedily(model, ids, 5), expected)


def test_a_full_pass_equals_that_of_transformers(path: Path, theirs: DogeForCausalLM) -> None:
    model = load(path, "cpu", routing="full")
    ids = random_ids(model, rows=1, length=9)
    with torch.inference_mode():
        whole = theirs(ids, use_cache=False).logits
    torch.testing.assert_close(logits(model, ids), whole, atol=1e-4, rtol=1e-4)
    assert inspector.self_check(model).passed
    assert "later ones" in model.provenance.notes[0]
    assert model.fingerprint != load(path, "cpu").fingerprint


def test_what_a_full_pass_cannot_show_is_refused(path: Path) -> None:
    model = load(path, "cpu", routing="full")
    with pytest.raises(NotShown, match="one text at a time"):
        logits(model, random_ids(model, rows=2))
    with pytest.raises(NotShown, match="no query of its own"):
        model.sites["L0"].queries(torch.zeros(1, 3, 32))
    assert any("scans" in limit for limit in model.provenance.limits)


def test_there_is_no_other_routing(path: Path) -> None:
    with pytest.raises(CheckpointError, match="no routing 'loose'"):
        load(path, "cpu", routing="loose")


def test_the_routing_is_told(path: Path) -> None:
    model = load(path, "cpu")
    assert model.provenance.notes[0].startswith("Routing token. Every position")
    assert recognise(path) == "config.json says model_type = doge, is_moe = true"


def test_half_keys_are_the_routers_rows_and_the_query_is_the_input(path: Path) -> None:
    model = load(path, "cpu")
    site, seen = model.sites["L1"], observe(model, random_ids(model))
    rows = load_file(path / "model.safetensors")["model.layers.1.mlp.router_gate.weight"]
    assert torch.equal(site.half_keys(), rows.view(1, 2, 8, 32))
    x = seen.inputs["L1"]
    queries = site.queries(x)
    assert torch.equal(queries[..., 0, :], queries[..., 1, :])
    scores = score_half_keys(queries.flatten(-2), site.half_keys())
    torch.testing.assert_close(scores, seen.half_scores["L1"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scores[..., 0, 0, :], x @ rows[:8].T, atol=1e-5, rtol=1e-5)


def test_coefficients_have_signs(path: Path) -> None:
    model = load(path, "cpu")
    for reads in observe(model, random_ids(model)).reads.values():
        assert (reads.coefficients < 0).any()
        assert (reads.weights > 0).all()


def test_rows_that_no_pair_addresses_are_left_out(tmp_path: Path) -> None:
    path = write_doge(tmp_path / "odd", SENTENCES, num_experts=70)
    model = load(path, "cpu")
    assert model.sites["L0"].info.slots == model.tables[0].slots == 64
    assert any("last 6 rows" in note for note in model.provenance.notes)


def test_the_work_of_a_lookup_has_no_query_projection(path: Path) -> None:
    model = load(path, "cpu")
    # half scores 2 * 8 * 32, four rows of both tables, the shared network; 8 sums of candidates
    expected = 2 * (512 + 4 * 64 + 3 * 32 * 48) + 8
    assert site_flops(model.sites["L0"].info, model) == expected


def test_a_dense_one_opens_without_sites(tmp_path: Path) -> None:
    path = write_doge(tmp_path / "dense", SENTENCES, is_moe=False)
    model = load(path, "cpu")
    assert not model.sites
    assert "dense Doge" in model.provenance.notes[0]
    ids = random_ids(model)
    with torch.inference_mode():
        expected = DogeForCausalLM.from_pretrained(path).eval()(ids).logits
    torch.testing.assert_close(logits(model, ids), expected)
    check = inspector.self_check(model)
    assert check.passed
    assert check.residual is not None


# --- refusals -----------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return write_doge(tmp_path / "copy", SENTENCES)


def test_an_old_checkpoint_is_refused_by_the_names_of_what_is_missing(copy: Path) -> None:
    file = copy / "model.safetensors"
    state = load_file(file)
    gone = [name for name in state if "router_gate" in name or name.endswith("input_residual")]
    for name in gone:
        del state[name]
    state["model.layers.0.mlp.keys"] = torch.zeros(2, 8, 16)
    save_file(state, file, {"format": "pt"})
    with pytest.raises(CheckpointMismatch, match="old remote code") as caught:
        load(copy, "cpu")
    assert set(caught.value.names) == {*gone, "model.layers.0.mlp.keys"}
    assert "model.layers.0.input_residual is missing" in str(caught.value)


def test_tables_of_another_size_are_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"num_experts": 100}))
    with pytest.raises(CheckpointMismatch, match=r"up_embed.weight is \[64, 32\], expected \[100"):
        load(copy, "cpu")


@pytest.mark.parametrize("reads", [0, 65])
def test_more_reads_than_slots_are_refused(copy: Path, reads: int) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"num_experts_per_tok": reads}))
    with pytest.raises(CheckpointError, match=f"num_experts_per_tok = {reads}"):
        load(copy, "cpu")


@pytest.mark.parametrize("name", ["up_embed", "router_gate"])
def test_weights_that_are_no_numbers_are_refused(copy: Path, name: str) -> None:
    file = copy / "model.safetensors"
    state = load_file(file)
    state[f"model.layers.1.mlp.{name}.weight"][3, 3] = torch.nan
    save_file(state, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match=f"{name}.weight holds NaN"):
        load(copy, "cpu")


def test_sizes_that_make_no_model_are_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"num_attention_heads": 0}))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load(copy, "cpu")
