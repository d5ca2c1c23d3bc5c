"""MemoryLlama through the doors of transformers: saving, opening, generating."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from inspector.memory.layer import ProductKeyMemory
from inspector.memory.llama import MemoryLlamaConfig, MemoryLlamaForCausalLM
from tests.families.tiny_native import tiny_config, tiny_model

IDS = torch.tensor([[0, 17, 255, 4, 81, 290], [0, 5, 5, 5, 99, 100]])
VARIANTS: dict[str, dict[str, Any]] = {
    "swiglu": {},
    "plain": {"memory_projection": "none"},
    "linear": {"memory_projection": "linear", "memory_d_value": 20},
    "sigmoid": {"memory_sigmoid_gate": True},
    "norms": {"memory_query_norm": "layer", "memory_key_norm": "rms", "memory_query_bias": False},
    "separate": {"memory_tables": [0, 1]},
    "tied": {"tie_word_embeddings": True},
    "widths": {"intermediate_sizes": [48, 56, 48]},
    "none": {"memory_layers": []},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("opener", [MemoryLlamaForCausalLM, AutoModelForCausalLM])
def test_what_is_saved_is_what_is_opened(tmp_path: Path, variant: str, opener: Any) -> None:
    model = tiny_model(**VARIANTS[variant])
    model.save_pretrained(tmp_path)
    opened, told = opener.from_pretrained(tmp_path, output_loading_info=True)
    assert type(opened) is MemoryLlamaForCausalLM
    assert not any(told.values())
    assert opened.config.to_dict() | {"dtype": None, "_name_or_path": None} == (
        model.config.to_dict() | {"dtype": None, "_name_or_path": None}
    )
    state = model.state_dict()
    assert opened.state_dict().keys() == state.keys()
    assert [n for n, t in opened.state_dict().items() if not torch.equal(t, state[n])] == []
    with torch.no_grad():
        assert torch.equal(opened(IDS).logits, model(IDS).logits)


def test_a_sharded_model_opens_too(tmp_path: Path) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    opened = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(opened(IDS).logits, model(IDS).logits)


def test_the_configuration_says_what_it_was_given(tmp_path: Path) -> None:
    tiny_config(memory_tables=[1, 0], memory_projection="linear").save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is MemoryLlamaConfig
    assert (config.memory_layers, config.memory_tables) == ([0, 2], [1, 0])
    shape = config.memory_shape()
    assert (shape.projection, shape.slots, shape.knn, shape.d_value) == ("linear", 64, 4, 32)


@pytest.mark.parametrize("variant", ["swiglu", "tied", "separate", "none"])
def test_generating_with_a_cache_writes_what_full_passes_write(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant], eos_token_id=None)
    model.generation_config.eos_token_id = None
    prompt = IDS[:1, :4]
    written = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=12,
        do_sample=False,
        use_cache=True,
    )
    assert written.shape == (1, 16)
    ids = prompt
    with torch.no_grad():
        while ids.shape[1] < 16:
            best = model(ids, use_cache=False).logits[:, -1:].argmax(-1)
            ids = torch.cat([ids, best], dim=1)
    assert torch.equal(written, ids)
    assert len(set(ids[0].tolist())) > 4  # not one token over and over


def test_later_tokens_change_nothing_before_them() -> None:
    model = tiny_model()
    with torch.no_grad():
        whole, part = model(IDS).logits, model(IDS[:, :3]).logits
    torch.testing.assert_close(whole[:, :3], part)


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_head_is_the_embedding(tmp_path: Path, tied: bool) -> None:
    model = tiny_model(tie_word_embeddings=tied)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    model.save_pretrained(tmp_path)
    assert ("lm_head.weight" in load_file(tmp_path / "model.safetensors")) != tied
    opened = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert (opened.lm_head.weight is opened.model.embed_tokens.weight) == tied


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_number_format_gives_finite_logits(variant: str, dtype: torch.dtype) -> None:
    model = tiny_model(**VARIANTS[variant])
    with torch.no_grad():
        exact = model(IDS).logits
        logits = model.to(dtype)(IDS).logits
    assert logits.dtype == dtype
    assert torch.isfinite(logits).all()
    if variant == "none":  # with memory, rounding may change which slots are read
        torch.testing.assert_close(logits.float(), exact, atol=0.3, rtol=0.05)


def test_blocks_have_the_widths_they_were_given() -> None:
    model = tiny_model(intermediate_sizes=[1, 56, 2], memory_layers=[2])
    blocks = [block.mlp for block in model.model.layers]
    assert [b.gate_proj.out_features for b in blocks[:2]] == [1, 56]
    assert isinstance(blocks[2], ProductKeyMemory)
    assert list(model.memory_layers) == [2]


def test_without_widths_of_their_own_blocks_share_one() -> None:
    model = tiny_model()
    assert model.model.layers[1].mlp.gate_proj.out_features == 48
    assert list(model.memory_layers) == [0, 2]


def test_one_table_is_shared_unless_told_otherwise() -> None:
    shared, separate = tiny_model(), tiny_model(memory_tables=[0, 1])
    assert shared.memory_layers[0].table is shared.memory_layers[2].table
    assert len(shared.value_tables) == 1
    assert separate.memory_layers[0].table is separate.value_tables[0]
    assert separate.memory_layers[2].table is separate.value_tables[1]
    tables = [name for name in separate.state_dict() if "table" in name]
    assert tables == ["model.value_tables.0.weight", "model.value_tables.1.weight"]


def test_tables_stay_with_their_layers_in_whatever_order_they_are_named() -> None:
    config = tiny_config(memory_layers=[2, 0], memory_tables=[0, 1])
    assert (config.memory_layers, config.memory_tables) == ([0, 2], [1, 0])


def test_a_model_without_memory_layers() -> None:
    model = tiny_model(memory_layers=[])
    assert (model.memory_layers, model.value_tables) == ({}, ())
    assert not any("table" in name or "half_key" in name for name in model.state_dict())


def test_a_new_model_starts_as_documented() -> None:
    model = MemoryLlamaForCausalLM(tiny_config(memory_half_keys=32, memory_d_value=16))
    half_keys = model.memory_layers[0].half_key_scores.half_keys
    assert 0.95 * 8**-0.5 < half_keys.abs().max() <= 8**-0.5  # uniform up to 1 / sqrt(d_half)
    norms = model.value_tables[0].weight.pow(2).sum(-1)
    assert norms.mean().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_layers": [0, 0]}, r"memory_layers = \[0, 0\] must be distinct blocks of 0 to 2"),
        ({"memory_layers": [3]}, r"memory_layers = \[3\] must be distinct blocks of 0 to 2"),
        ({"memory_layers": [-1]}, r"memory_layers = \[-1\] must be distinct blocks of 0 to 2"),
        ({"memory_tables": [0]}, "memory_tables names 1 tables for 2 memory layers"),
        ({"memory_tables": [0, 2]}, r"memory_tables = \[0, 2\] must count up from 0"),
        ({"intermediate_sizes": [48]}, "intermediate_sizes has 1 entries for 3 blocks"),
    ],
)
def test_layouts_that_no_model_can_have(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_config(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_knn": 65}, "knn = 65 reads per head, but 8 half-keys make only 64 keys"),
        ({"memory_d_key": 15}, "d_key = 15 cannot be split into two equal halves"),
        ({"memory_projection": "none", "memory_d_value": 8}, "d_value = 8 needs a projection"),
        ({"memory_projection": "swilu"}, "projection = 'swilu' is none of none, linear, swiglu"),
        ({"memory_heads": 0}, "every size of a memory layer is at least 1"),
    ],
)
def test_memory_layers_that_no_model_can_have(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MemoryLlamaForCausalLM(tiny_config(**options))
