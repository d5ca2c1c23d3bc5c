"""Meta's model from the numbers in its files: loops in float64, none of the inspector's code."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed import checkpoint

from tests.families.by_hand import attended, below, gelu, silu
from tests.memory.by_hand import best_slots, softmax

Weights = dict[str, Tensor]


def meta_logits(
    path: Path, ids: Tensor, zeroed: Collection[int], masked: Collection[int]
) -> Tensor:
    """``[batch pos d_vocab]``: reads of ``zeroed`` slots count nothing, ``masked`` make room."""
    weights = {name: tensor.double() for name, tensor in _weights(path).items()}
    model = json.loads(next(path.rglob("params.json")).read_text())["model"]
    rows = []
    for row in ids:
        stream = weights["tok_embeddings.weight"][row]  # [pos d_model]
        for block in range(model["n_layers"]):
            own = below(weights, f"layers.{block}.")
            stream = stream + _attention(own, _norm(stream, own["attention_norm.weight"]), model)
            normed = _norm(stream, own["ffn_norm.weight"])
            inner = below(own, "feed_forward.")
            if "keys" in inner:
                options = model["productkey_args"]
                written = [_memory(inner, x, options, zeroed, masked) for x in normed]
                stream = stream + torch.stack(written)
            else:
                gated = silu(normed @ inner["w1.weight"].T) * (normed @ inner["w3.weight"].T)
                stream = stream + gated @ inner["w2.weight"].T
        head = weights.get("output.weight", weights["tok_embeddings.weight"])
        rows.append(_norm(stream, weights["norm.weight"]) @ head.T)
    return torch.stack(rows)


def _weights(path: Path) -> Weights:
    if (path / ".metadata").exists():
        reader = checkpoint.FileSystemReader(path)
        described = reader.read_metadata().state_dict_metadata
        state = {
            name: torch.empty(entry.size, dtype=entry.properties.dtype)
            for name, entry in described.items()
            if name.startswith("model.") and isinstance(entry, checkpoint.TensorStorageMetadata)
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is no process group
            checkpoint.load(state, storage_reader=reader, no_dist=True)
        return below(state, "model.")
    saved = torch.load(next(path.rglob("consolidated.pth")), weights_only=True)["model"]
    return {
        name.replace("query_proj.proj.", "query_proj.query_mlps.0.")
        + (".weight" if name.endswith(".values") else ""): tensor
        for name, tensor in saved.items()
    }


def _memory(
    own: Weights,
    x: Tensor,
    options: dict[str, Any],
    zeroed: Collection[int],
    masked: Collection[int],
) -> Tensor:
    """One memory layer at one position: ``x [d_model]``."""
    heads, n, half = options["mem_heads"], options["mem_n_keys"], options["mem_k_dim"] // 2
    query = own["query_proj.query_mlps.0.weight"] @ x + own["query_proj.query_mlps.0.bias"]
    values = own["values_v.weight"] if options["peer_variant"] else own["values.weight"]
    total = torch.zeros(values.shape[1], dtype=torch.float64)
    for head in range(heads):
        scores = torch.zeros(2, n, dtype=torch.float64)
        for side in range(2):
            part = query[(2 * head + side) * half :][:half]
            for key in range(n):
                scores[side, key] = part @ own["keys"][(2 * head + side) * n + key]
        slots = best_slots(scores, options["mem_knn"], masked)
        weights = softmax([(scores[0, s // n] + scores[1, s % n]).item() for s in slots])
        for slot, weight in zip(slots, weights, strict=True):
            if slot in zeroed:
                continue
            activation = gelu(own["values_u.weight"][slot] @ x) if options["peer_variant"] else 1
            total = total + weight * activation * values[slot]
    if not options["peer_variant"]:
        if options["swilu_projection"]:
            projected = own["swilu_projection.weight"] @ x + own["swilu_projection.bias"]
            total = total * silu(projected)
        if "value_proj.weight" in own:
            total = own["value_proj.weight"] @ total + own["value_proj.bias"]
    if options["mem_gated"]:
        total = total * (own["gating.weight"] @ x + own["gating.bias"]).sigmoid()
    return total


def _attention(own: Weights, x: Tensor, model: dict[str, Any]) -> Tensor:
    """Causal attention, position by position: ``x [pos d_model]``."""
    heads, theta = (model["n_heads"], model["n_kv_heads"]), model["rope_theta"]
    query, key, value = (x @ own[f"attention.w{kind}.weight"].T for kind in "qkv")
    out = attended(query, key, value, heads, lambda v, pos: _rotate(v, pos, theta))
    return out @ own["attention.wo.weight"].T


def _rotate(vector: Tensor, pos: int, theta: float) -> Tensor:
    """Rotary embedding: dimensions 2d and 2d + 1 turn together."""
    turned = torch.zeros_like(vector)
    for d in range(0, len(vector), 2):
        angle = pos * theta ** (-d / len(vector))
        a, b = vector[d], vector[d + 1]
        turned[d] = a * math.cos(angle) - b * math.sin(angle)
        turned[d + 1] = a * math.sin(angle) + b * math.cos(angle)
    return turned


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weight
