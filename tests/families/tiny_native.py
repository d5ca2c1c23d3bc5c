"""A native checkpoint small enough for any test: random weights, a real tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from inspector.memory.layer import HalfKeyScores
from inspector.memory.llama import MemoryLlamaConfig, MemoryLlamaForCausalLM
from inspector.memory.values import ValueTable
from inspector.training.tokenizer import make_tokenizer

VOCABULARY = 300
POSITIONS = 64


@cache
def tokenizer_of(sentences: Sequence[str]) -> PreTrainedTokenizerFast:
    """All 256 bytes, three special tokens and 41 merges."""
    tokenizer = make_tokenizer(sentences, VOCABULARY, POSITIONS)
    assert len(tokenizer) == VOCABULARY
    return tokenizer


def tiny_config(**options: Any) -> MemoryLlamaConfig:
    """Three blocks, memory in the first and the last; ``options`` replace any field."""
    fields = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": POSITIONS,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
        "memory_layers": [0, 2],
        "memory_heads": 2,
        "memory_knn": 4,
        "memory_half_keys": 8,
        "memory_d_key": 16,
        "memory_d_value": 32,
    }
    return MemoryLlamaConfig(**(fields | options))


def tiny_model(*, seed: int = 0, **options: Any) -> MemoryLlamaForCausalLM:
    """A model in which every part matters: norms and biases are random, no layer is faint."""
    model = MemoryLlamaForCausalLM(tiny_config(**options)).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            draw = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(_scaled(module, name, draw))
    model.tie_weights()
    return model


def _scaled(module: nn.Module, name: str, draw: torch.Tensor) -> torch.Tensor:
    if name == "bias":
        return draw * 0.3
    if isinstance(module, HalfKeyScores | ValueTable | nn.Embedding):
        return draw
    return 1 + draw * 0.2 if draw.ndim == 1 else draw * draw.shape[-1] ** -0.5


def write_checkpoint(
    folder: Path,
    sentences: Sequence[str],
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    max_shard_size: str = "1GB",
    **options: Any,
) -> Path:
    """``tiny_model`` and its tokenizer as a directory of transformers."""
    model = tiny_model(seed=seed, **options).to(dtype)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    tokenizer_of(sentences).save_pretrained(folder)
    return folder
