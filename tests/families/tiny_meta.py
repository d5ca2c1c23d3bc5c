"""Checkpoints as Meta's code writes them, small and random, in every variant and both formats."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed import checkpoint

State = dict[str, Tensor]
SIZES: dict[str, Any] = {
    "dim": 32,
    "n_layers": 3,
    "head_dim": None,
    "n_heads": 4,
    "n_kv_heads": 2,
    "ffn_dim_multiplier": 1.3,
    "multiple_of": 16,
    "norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "init_base_std": None,
    "init_std_factor": "disabled",
    "max_seqlen": 48,
    "seed": 42,
    "vocab_size": 258,
    "weight_tying": False,
    "sliding_window": None,
}
MEMORY: dict[str, Any] = {
    "is_enabled": True,
    "layers": "0,2",
    "mem_n_keys": 8,
    "mem_heads": 2,
    "mem_knn": 4,
    "mem_share_values": True,
    "mem_k_dim": 16,
    "mem_v_dim": -1,
    "swilu_projection": False,
    "value_fixed_lr": 0.001,
    "mem_gated": False,
    "peer_variant": False,
}


def params(model: dict[str, Any] | None = None, dtype: str = "fp32", **memory: Any) -> Any:
    """A run's configuration; ``memory`` are options of its memory layers."""
    return {
        "name": "tiny",
        "data": {"seq_len": 48, "add_bos": True, "tokenizer": {"name": "bytes", "path": None}},
        "model": {**SIZES, **(model or {}), "productkey_args": {**MEMORY, **memory}},
        "distributed": {"model_dtype": dtype},
    }


def random_state(config: Any, seed: int) -> State:
    """Every part matters: norms and biases are random, no layer is faint; values are bfloat16."""
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: _draw(name, shape, generator) for name, shape in _shapes(config["model"]).items()
    }
    memory = config["model"]["productkey_args"]
    if memory["is_enabled"] and memory["mem_share_values"]:
        first, *others = (int(layer) for layer in memory["layers"].split(","))
        for kind in ("values", "values_u", "values_v"):
            for other in others:
                name = f"layers.{{}}.feed_forward.{kind}.weight"
                if name.format(first) in state:
                    state[name.format(other)] = state[name.format(first)].clone()
    return state


def _draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    draw = torch.randn(shape, generator=generator)
    if ".values" in name:
        return draw.bfloat16()
    if name.endswith("bias"):
        return draw * 0.3
    if "embeddings" in name or name.endswith("keys"):
        return draw
    return 1 + draw * 0.2 if draw.ndim == 1 else draw * shape[-1] ** -0.5


def _shapes(model: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    d, heads, groups = model["dim"], model["n_heads"], model["n_kv_heads"]
    head = model["head_dim"] or d // heads
    width = int(int(8 * d / 3) * model["ffn_dim_multiplier"])
    width = -(-width // model["multiple_of"]) * model["multiple_of"]
    shapes = {"tok_embeddings.weight": (model["vocab_size"], d), "norm.weight": (d,)}
    if not model["weight_tying"]:
        shapes["output.weight"] = (model["vocab_size"], d)
    memory = model["productkey_args"]
    layers = memory["layers"].split(",") if memory["is_enabled"] else []
    for block in range(model["n_layers"]):
        at = f"layers.{block}."
        shapes |= {f"{at}attention_norm.weight": (d,), f"{at}ffn_norm.weight": (d,)}
        for kind, number in (("q", heads), ("k", groups), ("v", groups)):
            shapes[f"{at}attention.w{kind}.weight"] = (number * head, d)
        shapes[f"{at}attention.wo.weight"] = (d, heads * head)
        if str(block) in layers:
            shapes |= {f"{at}feed_forward.{n}": s for n, s in _memory_shapes(d, memory).items()}
        else:
            for kind, size in (("w1", (width, d)), ("w3", (width, d)), ("w2", (d, width))):
                shapes[f"{at}feed_forward.{kind}.weight"] = size
    return shapes


def _memory_shapes(d: int, memory: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    n, heads, d_key = memory["mem_n_keys"], memory["mem_heads"], memory["mem_k_dim"]
    d_value = memory["mem_v_dim"] if memory["mem_v_dim"] > 0 else d
    shapes: dict[str, tuple[int, ...]] = {
        "keys": (2 * heads * n, d_key // 2),
        "query_proj.query_mlps.0.weight": (heads * d_key, d),
        "query_proj.query_mlps.0.bias": (heads * d_key,),
    }
    if memory["peer_variant"]:
        shapes |= {"values_u.weight": (n * n, d), "values_v.weight": (n * n, d)}
    else:
        shapes["values.weight"] = (n * n, d_value)
    linears = {}
    if memory["swilu_projection"]:
        linears["swilu_projection"] = (d_value, d)
    if memory["swilu_projection"] or memory["mem_v_dim"] > 0:
        linears["value_proj"] = (d, d_value)
    if memory["mem_gated"]:
        linears["gating"] = (1, d)
    for name, size in linears.items():
        shapes |= {f"{name}.weight": size, f"{name}.bias": size[:1]}
    return shapes


def optimizer_of(state: State) -> dict[str, Any]:
    """What lies beside the model in a run's checkpoint, and must not be read."""
    return {"state": {name: {"exp_avg": tensor.float() * 0} for name, tensor in state.items()}}


def write_consolidated(
    folder: Path, config: Any, state: State, *, inside: str = "", name: str = "consolidated.pth"
) -> Path:
    """``consolidated.pth`` and ``params.json`` in the folder, or in a folder in it."""
    place = folder / inside
    place.mkdir(parents=True, exist_ok=True)
    (place / "params.json").write_text(json.dumps(config, indent=1))
    torch.save({"model": state, "optim": optimizer_of(state)}, place / name)
    return folder


def write_dcp(folder: Path, config: Any, state: State) -> Path:
    """A distributed checkpoint with its ``params.json``, written by one process."""
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no process group
        saved = {"model": state, "optim": optimizer_of(state)}
        checkpoint.save(saved, checkpoint_id=folder, no_dist=True)
    (folder / "params.json").write_text(json.dumps(config, indent=1))
    return folder


def renamed(state: State) -> State:
    """``state`` under the names that forks use."""
    return {
        name.replace("query_proj.query_mlps.0.", "query_proj.proj.").replace(
            ".values.weight", ".values"
        ): tensor
        for name, tensor in state.items()
    }
