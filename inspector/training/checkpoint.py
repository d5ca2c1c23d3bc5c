"""Writing a native checkpoint: a transformers directory, value tables in a shard of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from inspector.analyses.facts import Fact, write_facts
from inspector.memory.llama import MemoryLlamaForCausalLM

_TABLES: Final = "model.value_tables."
_WHOLE: Final = "model.safetensors"
_SHARDS: Final = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
_INDEX: Final = "model.safetensors.index.json"


def save_checkpoint(
    out: Path,
    model: MemoryLlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    facts: tuple[Fact, ...] | None = None,
    *,
    table_dtype: str = "float32",
) -> None:
    """Write a native checkpoint directory: config, weights, tokenizer and, if given, facts.

    Value tables go to a safetensors shard of their own, so that they can be memory-mapped, in
    ``table_dtype``. The backbone keeps its own format, which is the one ``config.json`` names:
    ``from_pretrained`` converts the tables to it, so that both loaders compute with the same
    numbers. (``inspector.load`` keeps a bfloat16 table as it is and converts the rows it reads.)
    """
    out.mkdir(parents=True, exist_ok=True)
    model.config.architectures = [type(model).__name__]
    model.config.dtype = str(model.dtype).removeprefix("torch.")
    model.config.save_pretrained(out)
    model.generation_config.save_pretrained(out)
    tokenizer.save_pretrained(out)
    _write_weights(out, model, getattr(torch, table_dtype))
    if facts is not None:
        write_facts(out / "facts.jsonl", facts)


def _write_weights(out: Path, model: MemoryLlamaForCausalLM, table_dtype: torch.dtype) -> None:
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del state["lm_head.weight"]
    tables = {name: t.to(table_dtype) for name, t in state.items() if name.startswith(_TABLES)}
    backbone = {name: tensor for name, tensor in state.items() if name not in tables}
    shards = dict(zip(_SHARDS, (backbone, tables), strict=True)) if tables else {_WHOLE: backbone}
    for name, tensors in shards.items():
        save_file(tensors, out / name, {"format": "pt"})
    for stale in out.glob("model*.safetensors"):
        if stale.name not in shards:  # from_pretrained would open it before the shards
            stale.unlink()
    if tables:
        (out / _INDEX).write_text(_index(shards), encoding="utf-8")


def _index(shards: dict[str, dict[str, Tensor]]) -> str:
    every = [tensor for tensors in shards.values() for tensor in tensors.values()]
    total = {
        "total_parameters": sum(tensor.numel() for tensor in every),
        "total_size": sum(tensor.numel() * tensor.element_size() for tensor in every),
    }
    places = {name: shard for shard, tensors in shards.items() for name in sorted(tensors)}
    return json.dumps({"metadata": total, "weight_map": places}, indent=2) + "\n"
