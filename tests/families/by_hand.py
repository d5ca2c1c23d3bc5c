"""MemoryLlama from the numbers in its files: loops in float64, none of the inspector's code."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.memory.by_hand import best_slots, softmax

Weights = dict[str, Tensor]


def native_logits(
    path: Path, ids: Tensor, zeroed: Collection[int], masked: Collection[int]
) -> Tensor:
    """``[batch pos d_vocab]``: reads of ``zeroed`` slots count nothing, ``masked`` make room."""
    config = json.loads((path / "config.json").read_text())
    weights = {
        name: tensor.double()
        for file in path.glob("model*.safetensors")
        for name, tensor in load_file(file).items()
    }
    head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
    rows = []
    for row in ids:
        stream = weights["model.embed_tokens.weight"][row]  # [pos d_model]
        for block in range(config["num_hidden_layers"]):
            own = below(weights, f"model.layers.{block}.")
            normed = rms(stream, own["input_layernorm.weight"], config["rms_norm_eps"])
            stream = stream + attention(below(own, "self_attn."), normed, config)
            normed = rms(stream, own["post_attention_layernorm.weight"], config["rms_norm_eps"])
            mlp = below(own, "mlp.")
            if block in config["memory_layers"]:
                number = config["memory_tables"][config["memory_layers"].index(block)]
                mlp["values"] = weights[f"model.value_tables.{number}.weight"]
                if config.get("memory_activation", "none") != "none":
                    mlp["activations"] = weights[f"model.activation_tables.{number}.weight"]
                written = [_memory(mlp, x, config, zeroed, masked) for x in normed]
                stream = stream + torch.stack(written)
            else:
                inner = silu(normed @ mlp["gate_proj.weight"].T) * (
                    normed @ mlp["up_proj.weight"].T
                )
                stream = stream + inner @ mlp["down_proj.weight"].T
        rows.append(rms(stream, weights["model.norm.weight"], config["rms_norm_eps"]) @ head.T)
    return torch.stack(rows)


def _memory(
    own: Weights,
    x: Tensor,
    config: dict[str, Any],
    zeroed: Collection[int],
    masked: Collection[int],
) -> Tensor:
    """One memory layer at one position: ``x [d_model]``."""
    n, half = config["memory_half_keys"], config["memory_d_key"] // 2
    query = own["half_key_scores.query.weight"] @ x
    if config["memory_query_bias"]:
        query = query + own["half_key_scores.query.bias"]
    total = torch.zeros(own["values"].shape[1], dtype=torch.float64)
    for head in range(config["memory_heads"]):
        scores = torch.zeros(2, n, dtype=torch.float64)
        for side in range(2):
            start = (2 * head + side) * half
            part = _norm(query[start : start + half], own, "query", config)
            for key in range(n):
                half_key = own["half_key_scores.half_keys"][head, side, key]
                scores[side, key] = part @ _norm(half_key, own, "key", config)
        slots = best_slots(scores, config["memory_knn"], masked)
        weights = softmax([(scores[0, s // n] + scores[1, s % n]).item() for s in slots])
        for slot, weight in zip(slots, weights, strict=True):
            if slot not in zeroed:
                activation = gelu(own["activations"][slot] @ x) if "activations" in own else 1
                total = total + weight * activation * own["values"][slot]
    if config["memory_projection"] == "swiglu":
        total = total * silu(own["gate_proj.weight"] @ x + own["gate_proj.bias"])
    if config["memory_projection"] != "none":
        total = own["value_proj.weight"] @ total + own["value_proj.bias"]
    if config["memory_sigmoid_gate"]:
        total = total * (own["sigmoid_gate.weight"] @ x + own["sigmoid_gate.bias"]).sigmoid()
    return total


def attention(own: Weights, x: Tensor, config: dict[str, Any]) -> Tensor:
    """Causal attention, position by position: ``x [pos d_model]``."""
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    theta = config["rope_parameters"]["rope_theta"]
    query, key, value = (x @ own[f"{kind}_proj.weight"].T for kind in "qkv")
    out = attended(query, key, value, (heads, groups), lambda v, pos: rotate_halves(v, pos, theta))
    return out @ own["o_proj.weight"].T


def attended(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: tuple[int, int],
    turn: Callable[[Tensor, int], Tensor],
    worth: Tensor | None = None,
) -> Tensor:
    """What every head makes of the past: ``[pos heads * width]``, one number after another.

    ``heads`` are those of the queries and of keys and values; ``turn`` rotates a vector to its
    position; ``worth [pos group]`` is added to the scores of a position's keys.
    """
    width = query.shape[1] // heads[0]
    out = torch.zeros_like(query)
    for head in range(heads[0]):
        mine = slice(head * width, (head + 1) * width)
        group = head // (heads[0] // heads[1])
        theirs = slice(group * width, (group + 1) * width)
        for pos in range(len(query)):
            turned = turn(query[pos, mine], pos)
            scores = [
                (turned @ turn(key[past, theirs], past)).item() / math.sqrt(width)
                + (0.0 if worth is None else worth[past, group].item())
                for past in range(pos + 1)
            ]
            for past, weight in enumerate(softmax(scores)):
                out[pos, mine] += weight * value[past, theirs]
    return out


def rotate_halves(vector: Tensor, pos: int, theta: float) -> Tensor:
    """Rotary embedding: dimensions d and d + width / 2 turn together."""
    half = len(vector) // 2
    turned = torch.zeros_like(vector)
    for d in range(half):
        angle = pos * theta ** (-d / half)
        a, b = vector[d], vector[d + half]
        turned[d] = a * math.cos(angle) - b * math.sin(angle)
        turned[d + half] = b * math.cos(angle) + a * math.sin(angle)
    return turned


def _norm(vector: Tensor, own: Weights, side: str, config: dict[str, Any]) -> Tensor:
    kind, name = config[f"memory_{side}_norm"], f"half_key_scores.{side}_norm"
    if kind == "none":
        return vector
    if kind == "rms":
        return rms(vector, own[f"{name}.weight"], torch.finfo(torch.float32).eps)
    centred = vector - vector.mean()
    normed = centred / (centred.pow(2).mean() + 1e-5).sqrt()
    return normed * own[f"{name}.weight"] + own[f"{name}.bias"]


def rms(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root mean square norm over the last axis."""
    return x / (x.pow(2).mean(-1, keepdim=True) + epsilon).sqrt() * weight


def gelu(x: Tensor) -> Tensor:
    """Exactly, not by the tanh that approximates it."""
    return x * (1 + (x / math.sqrt(2)).erf()) / 2


def silu(x: Tensor) -> Tensor:
    """x times its own sigmoid."""
    return x * x.sigmoid()


def below(weights: Weights, prefix: str) -> Weights:
    """The weights under a prefix, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }
