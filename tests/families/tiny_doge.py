"""Checkpoints of transformers' Doge, small and random."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import DogeConfig, DogeForCausalLM

from tests.families.tiny_native import POSITIONS, VOCABULARY, tokenizer_of


def tiny_config(**options: Any) -> DogeConfig:
    """Three routed blocks of 8 x 8 slots; ``options`` replace any field."""
    fields = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": POSITIONS,
        "is_moe": True,
        "num_experts": 64,
        "num_experts_per_tok": 4,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
    return DogeConfig(**(fields | options))


def tiny_model(*, seed: int = 0, **options: Any) -> DogeForCausalLM:
    """A model in which every part matters: no norm, scale or bias is trivial, no layer faint."""
    model = DogeForCausalLM(tiny_config(**options)).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        draw = torch.randn(parameter.shape, generator=generator)
        if "embed" in name:
            parameter.copy_(draw)
        elif name.endswith(("bias", ".A")):
            parameter.copy_(draw * 0.3)
        elif draw.ndim == 1:
            parameter.copy_(1 + draw * 0.2)
        else:
            parameter.copy_(draw * draw.shape[-1] ** -0.5)
    model.tie_weights()
    return model


def write_doge(
    folder: Path,
    sentences: Sequence[str],
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> Path:
    """``tiny_model`` and its tokenizer as a directory of transformers."""
    tiny_model(seed=seed, **options).to(dtype).save_pretrained(folder)
    tokenizer_of(sentences).save_pretrained(folder)
    return folder
