"""re133's model from the numbers in its files: loops in float64, none of the inspector's code."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.families.by_hand import attended, below, rotate_halves, silu
from tests.memory.by_hand import best_slots, softmax

Weights = dict[str, Tensor]


def re133_logits(
    path: Path, ids: Tensor, zeroed: Collection[int], masked: Collection[int]
) -> Tensor:
    """``[batch pos d_vocab]``: reads of ``zeroed`` slots count nothing, ``masked`` make room."""
    options, weights = _read(path)
    rows = []
    for row in ids:
        stream = weights["tok_emb.weight"][row]  # [pos d_model]
        for block in range(options["n_layers"]):
            own = below(weights, f"layers.{block}.")
            stream = stream + _attention(own, _norm(stream, own["attn_norm.weight"]), options)
            normed = _norm(stream, own["ffn_norm.weight"])
            inner = below(own, "ffn.")
            if "keys" in inner:
                written = [_memory(inner, x, options, zeroed, masked) for x in normed]
                stream = stream + torch.stack(written)
            else:
                gate, up = (normed @ inner["w13.weight"].T).chunk(2, dim=-1)
                stream = stream + (silu(gate) * up) @ inner["w2.weight"].T
        rows.append(_norm(stream, weights["norm.weight"]) @ weights["tok_emb.weight"].T)
    return torch.stack(rows)


def _read(path: Path) -> tuple[dict[str, Any], Weights]:
    packed = (path / "rest.pt").exists()
    saved = torch.load(path / ("rest.pt" if packed else "model.pt"), weights_only=True)
    weights = dict(saved["state_dict"])
    if packed:
        rows, width = saved["table_shape"]
        codes = np.fromfile(path / "values_q4.bin", np.uint8).reshape(rows, width // 2)
        scales = np.fromfile(path / "scales_q4.bin", np.float16).astype(np.float64)
        table = np.zeros((rows, width))
        for half in range(width // 2):
            table[:, half] = (codes[:, half] % 16 - 8.0) * scales
            table[:, width // 2 + half] = (codes[:, half] // 16 - 8.0) * scales
        weights |= dict.fromkeys(saved["table_keys"], torch.from_numpy(table))
    return saved["model_config"], {name: tensor.double() for name, tensor in weights.items()}


def _memory(
    own: Weights,
    x: Tensor,
    options: dict[str, Any],
    zeroed: Collection[int],
    masked: Collection[int],
) -> Tensor:
    """One memory layer at one position: ``x [d_model]``."""
    heads, n, half = options["mem_heads"], options["mem_n_keys"], options["mem_k_dim"] // 2
    query = own["query_proj.weight"] @ x + own["query_proj.bias"]
    if options["mem_query_norm"] == "batchnorm":
        deviation = (own["query_norm.running_var"] + 1e-5).sqrt()
        query = (query - own["query_norm.running_mean"]) / deviation
        query = query * own["query_norm.weight"] + own["query_norm.bias"]
    total = torch.zeros(own["values.weight"].shape[1], dtype=torch.float64)
    for head in range(heads):
        scores = torch.zeros(2, n, dtype=torch.float64)
        for side in range(2):
            part = query[(2 * head + side) * half :][:half]
            for key in range(n):
                scores[side, key] = part @ own["keys"][head, side, key]
        slots = best_slots(scores, options["mem_knn"], masked)
        sharpness = 1.0
        if options["mem_score_scale"] == "learned":
            sharpness = math.exp(own["log_score_scale"][head].item())
        weights = softmax(
            [sharpness * (scores[0, s // n] + scores[1, s % n]).item() for s in slots]
        )
        for slot, weight in zip(slots, weights, strict=True):
            if slot not in zeroed:
                total = total + weight * own["values.weight"][slot]
    if options["mem_swilu"]:
        total = total * silu(own["swilu_proj.weight"] @ x + own["swilu_proj.bias"])
        total = own["value_proj.weight"] @ total + own["value_proj.bias"]
    return total


def _attention(own: Weights, x: Tensor, options: dict[str, Any]) -> Tensor:
    """Causal attention, position by position: ``x [pos d_model]``."""
    heads, theta = (options["n_heads"], options["n_heads"]), options["rope_theta"]
    fused = x @ own["attn.wqkv.weight"].T  # [pos 3*d_model]
    query, key, value = fused.split(options["d_model"], dim=1)
    out = attended(query, key, value, heads, lambda v, pos: rotate_halves(v, pos, theta))
    return out @ own["attn.wo.weight"].T


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weight
