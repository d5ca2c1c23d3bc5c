"""Doge from the numbers in its files, token by token: float64, none of the inspector's code."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.families.by_hand import attended, below, rotate_halves, silu
from tests.memory.by_hand import best_slots, softmax

Weights = dict[str, Tensor]


def doge_logits(
    path: Path, ids: Tensor, zeroed: Collection[int], masked: Collection[int]
) -> Tensor:
    """``[batch pos d_vocab]``: reads of ``zeroed`` slots count nothing, ``masked`` make room."""
    config = json.loads((path / "config.json").read_text())
    loaded = load_file(path / "model.safetensors")
    weights = {name: tensor.double() for name, tensor in loaded.items()}
    head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
    rows = []
    for row in ids:
        stream = weights["model.embed_tokens.weight"][row]  # [pos d_model]
        for block in range(config["num_hidden_layers"]):
            own = below(weights, f"model.layers.{block}.")
            normed = _rms(stream, own["input_layernorm.weight"], config)
            attended = _attention(below(own, "self_attn."), normed, config)
            stream = own["input_residual"] * stream + attended
            normed = _rms(stream, own["post_attention_layernorm.weight"], config)
            mlp = below(own, "mlp.")
            written = _linear(
                silu(_linear(normed, mlp, "gate_proj")) * _linear(normed, mlp, "up_proj"),
                mlp,
                "down_proj",
            )
            if config["is_moe"]:
                routed = [_routed(mlp, x, config, zeroed, masked) for x in normed]
                written = written + torch.stack(routed)
            stream = own["post_attention_residual"] * stream + written
        rows.append(_rms(stream, weights["model.norm.weight"], config) @ head.T)
    return torch.stack(rows)


def _routed(
    own: Weights,
    x: Tensor,
    config: dict[str, Any],
    zeroed: Collection[int],
    masked: Collection[int],
) -> Tensor:
    """The reads at one position: ``x [d_model]``."""
    n = math.isqrt(config["num_experts"])
    scores = (own["router_gate.weight"] @ x).view(2, n)
    slots = best_slots(scores, config["num_experts_per_tok"], masked)
    weights = softmax([(scores[0, s // n] + scores[1, s % n]).item() for s in slots])
    total = torch.zeros_like(x)
    for slot, weight in zip(slots, weights, strict=True):
        if slot not in zeroed:
            activation = silu(own["down_embed.weight"][slot] @ x)
            total = total + weight * activation * own["up_embed.weight"][slot]
    return total


def _attention(own: Weights, x: Tensor, config: dict[str, Any]) -> Tensor:
    """Causal attention with Doge's learned bias of what each position's values are worth."""
    heads = config["num_attention_heads"], config["num_key_value_heads"]
    theta = config["rope_parameters"]["rope_theta"]
    query, key, value = (_linear(x, own, f"{kind}_proj") for kind in "qkv")
    query, key = (
        torch.cat([_rms(part, own[f"{name}_norm.weight"], config) for part in parts], dim=1)
        for name, parts in (("q", query.chunk(heads[0], 1)), ("k", key.chunk(heads[1], 1)))
    )
    steps = torch.nn.functional.softplus(_linear(value, own, "dt_proj"))
    worth = (own["A"] * steps).exp()  # [pos group]
    out = attended(query, key, value, heads, lambda v, pos: rotate_halves(v, pos, theta), worth)
    return _linear(out, own, "o_proj")


def _linear(x: Tensor, own: Weights, name: str) -> Tensor:
    out = x @ own[f"{name}.weight"].T
    return out + own[f"{name}.bias"] if f"{name}.bias" in own else out


def _rms(x: Tensor, weight: Tensor, config: dict[str, Any]) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + config["rms_norm_eps"]).sqrt() * weight
