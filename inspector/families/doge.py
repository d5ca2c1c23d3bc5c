"""Doge, as transformers has it: routed layers are sites, a dense model has none.

In transformers' full forward pass the router's output is viewed so that tokens choose each other's
slots: what a token reads then depends on what comes after it. Token by token, which is how the
model writes, it does not. By default every position is routed as a token by itself, so that a pass
over a text equals feeding its tokens one at a time; ``routing="full"`` is the other one.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import DogeConfig, DogeForCausalLM
from transformers.models.doge.modeling_doge import DogeRotaryEmbedding

from inspector.errors import CheckpointError, CheckpointMismatch
from inspector.families.base import Backbone, MemoryModel, Provenance, Site
from inspector.families.doge_memory import DogeMemory, DogeSite, Routing, routing_of
from inspector.families.native import check_names, fingerprint, read_tokenizer, tensor_files
from inspector.families.registry import Family, Opening, register
from inspector.families.weights import check_finite
from inspector.memory.values import ValueTable, map_matrix

_ROUTED: Final = {
    "token": "Every position is routed as a token by itself, so a pass over a text equals feeding "
    "its tokens one at a time, as the model does when it writes. Transformers' own full pass lets "
    "tokens choose each other's slots and gives other logits; routing full shows that one.",
    "full": "Routed as in transformers' full pass over one text: the half scores of a token come "
    "from other tokens, also from later ones. The model writes token by token, with other reads; "
    "routing token, the default, shows those.",
}
_SIGNED: Final = (
    "A read counts its weight times an activation of this token, which can be negative: no single "
    "number says how strongly a slot is read whatever the text."
)
_MIXED: Final = (
    "In a full pass a text's reads depend on what follows and would depend on other texts of a "
    "batch: scans, facts and batches of ablations, which run several texts at once, are refused, "
    "and a token has no query of its own to show."
)


def recognise(path: Path) -> str | None:
    """A directory whose config.json says ``doge``."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        kind, routed = config.get("model_type"), config.get("is_moe")
    except (OSError, ValueError, AttributeError):
        return None
    if kind != "doge":
        return None
    return f"config.json says model_type = doge, is_moe = {json.dumps(bool(routed))}"


def open_doge(path: Path, reason: str, opening: Opening) -> MemoryModel:
    """Open a Doge checkpoint; on the CPU its tables stay in the file.

    Raises:
        CheckpointMismatch: tensors and config disagree, as in checkpoints of Doge's old remote
            code; the names are given.
        CheckpointError: a file is missing or broken.
    """
    routing = routing_of(opening.routing)
    raw, config = _read_config(path)
    files = tensor_files(path)
    module = _empty(path, config)
    tied = ("lm_head.weight",) if config.tie_word_embeddings else ()
    _check(path, module, files, tied)
    memories = _with_memories(module, routing) if config.is_moe else {}
    _fill(module, memories, files)
    module.tie_weights()
    module.requires_grad_(False).eval()
    tables = [t for memory in memories.values() for t in (memory.up_embed, memory.down_embed)]
    for table in tables:
        table.mapped = opening.device.type == "cpu"  # and if so, stays as it is stored
    module.to(device=opening.device, dtype=opening.dtype)
    sites: dict[str, Site] = {}
    for number, (layer, memory) in enumerate(memories.items()):
        site = DogeSite(layer, number, memory, config.hidden_act)
        sites[site.info.name] = site
    return MemoryModel(
        name=path.name,
        path=path,
        fingerprint=_fingerprint(path, routing),
        module=module,
        tokenizer=read_tokenizer(path),
        sites=sites,
        tables=tuple(memory.up_embed for memory in memories.values()),
        backbone=_backbone(module),
        positions=config.max_position_embeddings,
        provenance=_provenance(reason, config, len(files), tied, routing),
        config=raw,
    )


def _fingerprint(path: Path, routing: Routing) -> str:
    """Of the files; what a full pass gives is kept apart from what tokens by themselves give."""
    own = fingerprint(path)
    return own if routing == "token" else f"{own}-full"


def _read_config(path: Path) -> tuple[dict[str, Any], DogeConfig]:
    file = path / "config.json"
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        config = DogeConfig.from_dict(raw)
    except Exception as error:  # noqa: BLE001  transformers' validators raise many kinds
        raise CheckpointError(f"{file} is no usable configuration: {error}") from None
    config.output_router_logits = False  # only a training's balance asks for them
    if config.is_moe:
        slots, reads = math.isqrt(config.num_experts) ** 2, config.num_experts_per_tok
        if not 1 <= reads <= slots:
            raise CheckpointError(
                f"{file}: num_experts_per_tok = {reads} reads a token, but num_experts = "
                f"{config.num_experts} make {slots} slots. Expected 1 to {slots}."
            )
    return raw, config


def _empty(path: Path, config: DogeConfig) -> DogeForCausalLM:
    """The model on the meta device, where nothing takes memory, but for its buffers."""
    try:
        with torch.device("meta"):
            module = DogeForCausalLM(config)
        module.model.rotary_emb = DogeRotaryEmbedding(config)
    except Exception as error:  # noqa: BLE001  sizes that make no model fail in many ways
        raise CheckpointError(
            f"The sizes in {path / 'config.json'} make no model: {error}"
        ) from None
    return module


def _check(
    path: Path, module: DogeForCausalLM, files: Mapping[str, Path], tied: tuple[str, ...]
) -> None:
    try:
        check_names(path, module, files, tied)
    except CheckpointMismatch as error:
        raise CheckpointMismatch(
            f"{error} Checkpoints of Doge's old remote code have other tensors than transformers' "
            "own class, which is the one that can be opened: convert it first.",
            error.names,
        ) from None


def _with_memories(module: DogeForCausalLM, routing: Routing) -> dict[int, DogeMemory]:
    """Put our memory layers, still empty, in the place of transformers' routed ones."""
    one_output = copy.copy(module.config)
    one_output.is_moe = False  # to the block: its layer gives one tensor, without router logits
    memories = {}
    for number, block in enumerate(module.model.layers):
        with torch.device("meta"):
            memories[number] = block.mlp = DogeMemory(module.config, routing)
        block.config = one_output
    return memories


def _fill(
    module: DogeForCausalLM, memories: Mapping[int, DogeMemory], files: Mapping[str, Path]
) -> None:
    tables: dict[str, ValueTable] = {}
    for number, memory in memories.items():
        tables[f"model.layers.{number}.mlp.up_embed.weight"] = memory.up_embed
        tables[f"model.layers.{number}.mlp.down_embed.weight"] = memory.down_embed
    state = {name: _read(file, name) for name, file in files.items() if name not in tables}
    module.load_state_dict(state, strict=False, assign=True)
    for name, table in tables.items():
        try:
            matrix = map_matrix(files[name], name)
        except (KeyError, ValueError, OSError) as error:
            raise CheckpointError(f"{name} cannot be opened: {error}.") from None
        table.stay_in(matrix[: table.slots])
        check_finite(files[name].name, name, table.weight)


def _read(file: Path, name: str) -> Tensor:
    with safe_open(file, framework="pt") as opened:
        tensor: Tensor = opened.get_tensor(name)
    check_finite(file.name, name, tensor)
    return tensor


def _backbone(module: DogeForCausalLM) -> Backbone:
    blocks = module.model.layers
    return Backbone(
        embedding=module.model.embed_tokens,
        attentions=tuple(block.self_attn for block in blocks),
        feed_forwards=tuple(block.mlp for block in blocks),
        final_norm=module.model.norm,
        head=module.lm_head,
        residual_scales=tuple(
            (block.input_residual, block.post_attention_residual) for block in blocks
        ),
    )


def _provenance(
    reason: str, config: DogeConfig, tensors: int, tied: tuple[str, ...], routing: Routing
) -> Provenance:
    if not config.is_moe:
        dense = "It is a dense Doge (is_moe is false): without routed layers it has no sites."
        return Provenance("doge", reason, tensors, tied=tied, notes=(dense,))
    slots = math.isqrt(config.num_experts) ** 2
    left = config.num_experts - slots
    unreachable = f"The last {left} rows of every table are addressed by no pair and left out."
    keys = "There is no query projection: half-keys are the router's rows, scored against x itself."
    return Provenance(
        "doge",
        reason,
        tensors,
        tied=tied,
        notes=(f"Routing {routing}. {_ROUTED[routing]}", keys, *((unreachable,) if left else ())),
        limits=(_SIGNED, *((_MIXED,) if routing == "full" else ())),
    )


DOGE = register(Family("doge", recognise, open_doge))
