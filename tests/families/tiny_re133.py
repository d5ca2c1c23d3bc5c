"""Checkpoints of re133's code, small and random: a run's own file, and the table in four bits."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

State = dict[str, Tensor]
OPTIONS: dict[str, Any] = {
    "vocab_size": 320,
    "d_model": 32,
    "n_layers": 3,
    "n_heads": 4,
    "ffn_hidden": 48,
    "max_seq_len": 48,
    "rope_theta": 10000.0,
    "norm_eps": 1e-5,
    "init_std": 0.02,
    "mem_layers": [0, 2],
    "mem_n_keys": 8,
    "mem_heads": 2,
    "mem_knn": 4,
    "mem_k_dim": 16,
    "mem_v_dim": -1,
    "mem_query_norm": "batchnorm",
    "mem_swilu": True,
    "mem_value_impl": "embedding_bag",
    "mem_keys_weight_decay": True,
    "mem_score_scale": "none",
    "mem_score_scale_init": 1.0,
    "mem_share_values": True,
    "mem_value_grad": "dense",
    "mem_impl": "torch",
}


@cache
def _byte_pairs() -> tuple[dict[str, int], tuple[tuple[str, str], ...]]:
    """All bytes, a few merges, and the token that ends a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = (("t", "h"), ("th", "e"), ("Ġ", "i"), ("Ġi", "s"), ("a", "n"))
    tokens = [*alphabet, *(a + b for a, b in merges), "<|endoftext|>"]
    return {token: number for number, token in enumerate(tokens)}, merges


def write_tokenizer(folder: Path, kind: str = "vocab.json") -> None:
    """GPT-2's files, as they come: ``vocab.json`` with ``merges.txt``, or ``tokenizer.json``."""
    vocabulary, merges = _byte_pairs()
    if kind == "tokenizer.json":
        core = Tokenizer(models.BPE(vocabulary, list(merges)))
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        core.add_special_tokens(["<|endoftext|>"])
        core.save(str(folder / kind))
        return
    other = {"vocab.json": "merges.txt", "encoder.json": "vocab.bpe"}[kind]
    (folder / kind).write_text(json.dumps(vocabulary))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / other).write_text("\n".join(lines) + "\n")


def random_state(options: dict[str, Any], seed: int) -> State:
    """Every part matters: norms, biases and running statistics are random, no layer is faint."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    d, width = options["d_model"], options["ffn_hidden"]
    state = {"tok_emb.weight": draw(options["vocab_size"], d), "norm.weight": 1 + draw(d) * 0.2}
    state["lm_head.weight"] = state["tok_emb.weight"]
    shared = None
    for block in range(options["n_layers"]):
        at = f"layers.{block}."
        state[f"{at}attn_norm.weight"] = 1 + draw(d) * 0.2
        state[f"{at}ffn_norm.weight"] = 1 + draw(d) * 0.2
        state[f"{at}attn.wqkv.weight"] = draw(3 * d, d) * d**-0.5
        state[f"{at}attn.wo.weight"] = draw(d, d) * d**-0.5
        if block not in options["mem_layers"]:
            state[f"{at}ffn.w13.weight"] = draw(2 * width, d) * d**-0.5
            state[f"{at}ffn.w2.weight"] = draw(d, width) * width**-0.5
            continue
        n, heads, d_key = options["mem_n_keys"], options["mem_heads"], options["mem_k_dim"]
        d_value = options["mem_v_dim"] if options["mem_v_dim"] > 0 else d
        state[f"{at}ffn.keys"] = draw(heads, 2, n, d_key // 2)
        state[f"{at}ffn.query_proj.weight"] = draw(heads * d_key, d) * d**-0.5
        state[f"{at}ffn.query_proj.bias"] = draw(heads * d_key) * 0.3
        if options["mem_query_norm"] == "batchnorm":
            norm = f"{at}ffn.query_norm."
            state[f"{norm}weight"] = 1 + draw(heads * d_key) * 0.3
            state[f"{norm}bias"] = draw(heads * d_key) * 0.3
            state[f"{norm}running_mean"] = draw(heads * d_key) * 0.5
            state[f"{norm}running_var"] = 0.3 + draw(heads * d_key) ** 2
            state[f"{norm}num_batches_tracked"] = torch.tensor(700)
        if options["mem_score_scale"] == "learned":
            state[f"{at}ffn.log_score_scale"] = draw(heads) * 0.5
        values = draw(n * n, d_value)
        shared = values if shared is None else shared
        state[f"{at}ffn.values.weight"] = shared if options["mem_share_values"] else values
        if options["mem_swilu"]:
            state[f"{at}ffn.swilu_proj.weight"] = draw(d_value, d) * d**-0.5
            state[f"{at}ffn.swilu_proj.bias"] = draw(d_value) * 0.3
            state[f"{at}ffn.value_proj.weight"] = draw(d, d_value) * d_value**-0.5
            state[f"{at}ffn.value_proj.bias"] = draw(d) * 0.3
    return state


def write_run(folder: Path, options: dict[str, Any], state: State) -> Path:
    """What a training run leaves: ``model.pt`` and how often each row was read."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"model_config": options, "state_dict": state}, folder / "model.pt")
    if options["mem_layers"]:
        np.save(folder / "mem_access_train.npy", reads_in_training(options["mem_n_keys"] ** 2))
    write_tokenizer(folder)
    return folder


def reads_in_training(slots: int) -> np.ndarray:
    """``[slot]`` int64: some rows were never read."""
    counts = np.random.default_rng(5).integers(0, 900, slots)
    counts[::7] = 0
    return counts


def pack(values: Tensor) -> tuple[Tensor, Tensor]:
    """``values [row width]`` in four bits: codes ``[row width/2]`` and a scale a row."""
    extreme = values.gather(1, values.abs().argmax(1, keepdim=True))[:, 0]
    scales = (extreme / -8).half()
    steps = (values / scales.float()[:, None]).round().clamp(-8, 7) + 8
    low, high = steps.to(torch.uint8).chunk(2, dim=1)
    return low | (high << 4), scales


def write_packed(folder: Path, options: dict[str, Any], state: State) -> Path:
    """``rest.pt`` and the shared table in four bits, as their converter writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for name in state if name.endswith("values.weight")]
    table = state[names[0]]
    rest = {name: tensor for name, tensor in state.items() if name not in names}
    saved = {
        "model_config": options,
        "state_dict": rest,
        "table_keys": names,
        "table_shape": list(table.shape),
    }
    torch.save(saved, folder / "rest.pt")
    codes, scales = pack(table)
    codes.numpy().tofile(folder / "values_q4.bin")
    scales.numpy().tofile(folder / "scales_q4.bin")
    counts = reads_in_training(len(table))
    np.save(folder / "hot_rows.npy", np.argsort(-counts, kind="stable"))
    meta = {"rows": len(table), "dim": table.shape[1], "table_keys": names}
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))
    write_tokenizer(folder)
    return folder
