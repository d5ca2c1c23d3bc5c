"""A user's Llama with lucidrains' modules, from its weights: loops in float64, no other code."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.families import by_hand
from tests.families.by_hand import gelu
from tests.memory.by_hand import best_slots, softmax

Weights = dict[str, Tensor]


def wrapped_logits(
    path: Path, ids: Tensor, zeroed: Collection[int], masked: Collection[int]
) -> Tensor:
    """``[batch pos d_vocab]``: reads of ``zeroed`` slots count nothing, ``masked`` make room."""
    config = json.loads((path / "config.json").read_text())
    listed = json.loads((path / "made.json").read_text())
    specs = {block: (kind, options) for block, kind, options in listed}
    saved = torch.load(path / "weights.pt", weights_only=True)
    weights = {name: tensor.double() for name, tensor in saved.items()}
    epsilon, rows = config["rms_norm_eps"], []
    for row in ids:
        stream = weights["model.embed_tokens.weight"][row]  # [pos d_model]
        for block in range(config["num_hidden_layers"]):
            own = by_hand.below(weights, f"model.layers.{block}.")
            normed = by_hand.rms(stream, own["input_layernorm.weight"], epsilon)
            attention = by_hand.below(own, "self_attn.")
            stream = stream + by_hand.attention(attention, normed, config)
            normed = by_hand.rms(stream, own["post_attention_layernorm.weight"], epsilon)
            mlp = by_hand.below(own, "mlp.")
            if block in specs:
                kind, options = specs[block]
                mlp["shared"] = weights.get("memory_table.weight", normed)
                layer = {"pkm": _pkm, "peer": _peer, "ours": _ours}[kind]
                written = [layer(mlp, x, options, zeroed, masked) for x in normed]
                stream = stream + torch.stack(written)
            else:
                gated = by_hand.silu(normed @ mlp["gate_proj.weight"].T)
                stream = stream + gated * (normed @ mlp["up_proj.weight"].T) @ (
                    mlp["down_proj.weight"].T
                )
        normed = by_hand.rms(stream, weights["model.norm.weight"], epsilon)
        rows.append(normed @ weights["lm_head.weight"].T)
    return torch.stack(rows)


def _pkm(own: Weights, x: Tensor, options: Any, zeroed: Any, masked: Any) -> Tensor:
    """One PKM at one position: ``x [d_model]``."""
    heads, n, _, half = own["keys"].shape
    if options.get("pre_layernorm"):
        x = _layer_norm(x, own["pre_layernorm.weight"], own["pre_layernorm.bias"])
    queries = (own["to_queries.weight"] @ x).view(2, heads, half)
    combined = options.get("concat_values_and_combine", False)
    sums = torch.zeros(heads, own["values.weight"].shape[1], dtype=torch.float64)
    for head in range(heads):
        scores = torch.zeros(2, n, dtype=torch.float64)
        for side in range(2):
            query = _layer_norm(queries[side, head], own["norm.weight"], own["norm.bias"])
            for key in range(n):
                scores[side, key] = query @ own["keys"][head, key, side]
        slots = best_slots(scores, 4, masked)
        summed = [(scores[0, s // n] + scores[1, s % n]).item() for s in slots]
        relu = options.get("non_competitive_gates")
        weights = [max(s, 0.0) for s in summed] if relu else softmax(summed)
        for slot, weight in zip(slots, weights, strict=True):
            if slot not in zeroed:
                sums[head] += (1 if combined else weight) * own["values.weight"][slot]
    out = sums.sum(0)
    if combined:
        out = own["maybe_concat_combine.2.weight"] @ sums.flatten()
    if options.get("norm_output"):
        out = _layer_norm(out, own["output_norm.weight"], own["output_norm.bias"])
    return out


def _peer(own: Weights, x: Tensor, options: Any, zeroed: Any, masked: Any) -> Tensor:
    """One PEER at one position: ``x [d_model]``."""
    heads, n, _, half = own["keys"].shape
    if options.get("pre_rmsnorm"):
        x = x / x.norm() * len(x) ** 0.5 * (own["norm.gamma"] + 1)
    queries = (own["to_queries.0.weight"] @ x).view(2, heads, half)
    competing = not options.get("non_competing_scores", True)
    total = torch.zeros_like(x)
    for head in range(heads):
        scores = torch.zeros(2, n, dtype=torch.float64)
        for side in range(2):
            for key in range(n):
                scores[side, key] = queries[side, head] @ own["keys"][head, key, side]
        slots = best_slots(scores, 4 if competing else 1, masked)
        summed = [(scores[0, s // n] + scores[1, s % n]).item() for s in slots]
        weights = softmax(summed) if competing else [max(s, 0.0) for s in summed]
        for slot, weight in zip(slots, weights, strict=True):
            if slot not in zeroed:
                activation = gelu(own["weight_down_embed.weight"][slot] @ x)
                total = total + weight * activation * own["weight_up_embed.weight"][slot]
    return total


def _ours(own: Weights, x: Tensor, _options: Any, zeroed: Any, masked: Any) -> Tensor:
    own = own | {"values": own["shared"]}
    config = {
        "memory_half_keys": 8,
        "memory_d_key": 16,
        "memory_heads": 2,
        "memory_knn": 4,
        "memory_query_bias": True,
        "memory_query_norm": "none",
        "memory_key_norm": "none",
        "memory_projection": "none",
        "memory_sigmoid_gate": False,
    }
    return by_hand._memory(own, x, config, zeroed, masked)


def _layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centred = x - x.mean()
    return centred / (centred.pow(2).mean() + 1e-5).sqrt() * weight + bias
