"""Our own checkpoints: a transformers directory of MemoryLlama, value tables memory-mapped."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from inspector.errors import CheckpointError, CheckpointMismatch, CheckpointNotFound
from inspector.families.base import Backbone, MemoryModel, Provenance, Site, SiteInfo
from inspector.families.fingerprint import fingerprint_of
from inspector.families.registry import Family, Opening, register
from inspector.families.safetensors_file import Entry, read_header, read_tensor
from inspector.families.tokenizer_files import check_tokenizer_json
from inspector.families.weights import check_finite, sampling_notes
from inspector.memory.layer import ProductKeyMemory
from inspector.memory.llama import MemoryLlamaConfig, MemoryLlamaForCausalLM
from inspector.memory.product_keys import SiteReads
from inspector.memory.values import ValueTable

_TABLE = "model.value_tables.{}.weight"
_ACTIVATION_TABLE = "model.activation_tables.{}.weight"


class NativeSite(Site):
    """A ``ProductKeyMemory`` as a site."""

    def __init__(self, layer: int, table: int, module: ProductKeyMemory) -> None:
        """The memory layer ``module`` of block ``layer``, reading table number ``table``."""
        shape = module.shape
        self.info = SiteInfo(
            layer=layer,
            table=table,
            heads=shape.heads,
            knn=shape.knn,
            half_keys=shape.half_keys,
            d_model=shape.d_model,
            d_key=shape.d_key,
            d_value=shape.d_value,
            gated=shape.projection == "swiglu" or shape.sigmoid_gate,
            normalisation="softmax",
            activation=shape.activation,
        )
        self._memory = module
        self.module = module
        self.top_slots = module.top_slots
        self.table = module.table
        self.activation_table = module.top_slots.activation_table

    def activation(self, x: Tensor, slots: Tensor) -> Tensor | None:
        """See ``TopSlots.activation``."""
        return self._memory.top_slots.activation(x, slots)

    def gate(self, x: Tensor) -> Tensor | None:
        """See ``ProductKeyMemory.gate``."""
        return self._memory.gate(x)

    def project(self, values: Tensor, gate: Tensor | None) -> Tensor:
        """See ``ProductKeyMemory.project``."""
        return self._memory.project(values, gate)

    def remainder(self, x: Tensor) -> Tensor:
        """See ``ProductKeyMemory.remainder``."""
        return self._memory.remainder(x)

    def queries(self, x: Tensor) -> Tensor:
        """See ``HalfKeyScores.queries``."""
        return self._memory.half_key_scores.queries(x)

    def half_keys(self) -> Tensor:
        """See ``HalfKeyScores.keys``."""
        return self._memory.half_key_scores.keys()

    def select(
        self, half_scores: Tensor, x: Tensor | None, masked: Tensor | None = None
    ) -> SiteReads:
        """See ``TopSlots``."""
        return self._memory.top_slots.forward(half_scores, x, masked)  # not called: no hooks


def recognise(path: Path) -> str | None:
    """A directory whose config.json says ``memory_llama``."""
    config = path / "config.json"
    if not config.is_file():
        return None
    try:
        kind = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None
    return f"config.json says model_type = {kind}" if kind == "memory_llama" else None


def open_native(path: Path, reason: str, opening: Opening) -> MemoryModel:
    """Open a native checkpoint; on the CPU its value tables stay in the file.

    Raises:
        CheckpointMismatch: tensors and config disagree; the names are given.
        CheckpointError: a file is missing or broken.
    """
    files = tensor_files(path)
    config = _read_config(path, files)
    module = _empty(path, config)
    # Built on the meta device, where nothing takes memory; its only buffers are made again here.
    module.model.rotary_emb = LlamaRotaryEmbedding(config)
    tied = ("lm_head.weight",) if config.tie_word_embeddings else ()
    check_names(path, module, files, tied)
    tables = tables_by_name(module)
    headers = {file: read_header(file) for file in set(files.values())}
    state = {
        name: _read(file, name, headers[file][name])
        for name, file in files.items()
        if name not in tables
    }
    module.load_state_dict(state, strict=False, assign=True)
    for name, table in tables.items():
        try:
            table.map(files[name], name)
        except (KeyError, ValueError, OSError) as error:
            raise CheckpointError(f"The value table of {path} cannot be opened: {error}.") from None
        check_finite(files[name].name, name, table.weight)
    module.tie_weights()
    module.requires_grad_(False).eval()
    # All but the tables in one format: products of two are undefined.
    module.to(dtype=opening.dtype or state["model.embed_tokens.weight"].dtype)
    for table in tables.values():
        table.mapped = opening.device.type == "cpu"  # and if so, stays in its file
    module.to(device=opening.device)
    # Angles are computed in float32 in any format: rounded, they would be other positions.
    module.model.rotary_emb = LlamaRotaryEmbedding(config).to(opening.device)
    return MemoryModel(
        name=path.name,
        path=path,
        fingerprint=fingerprint(path),
        module=module,
        tokenizer=read_tokenizer(path),
        sites=sites_of(module),
        tables=module.value_tables,
        backbone=backbone_of(module),
        positions=config.max_position_embeddings,
        provenance=Provenance(
            "native",
            reason,
            len(files),
            tied=tied,
            notes=sampling_notes(table.weight for table in tables.values()),
        ),
        config=json.loads((path / "config.json").read_text(encoding="utf-8")),
    )


def tables_by_name(module: MemoryLlamaForCausalLM) -> dict[str, ValueTable]:
    """Every table of ``module`` by its tensor's name: those that may stay in their file."""
    named = {_TABLE.format(t): table for t, table in enumerate(module.value_tables)}
    return named | {
        _ACTIVATION_TABLE.format(t): table for t, table in enumerate(module.activation_tables)
    }


def backbone_of(module: MemoryLlamaForCausalLM) -> Backbone:
    """The parts of a MemoryLlama, of whichever family its weights are."""
    return Backbone(
        embedding=module.model.embed_tokens,
        attentions=tuple(block.self_attn for block in module.model.layers),
        feed_forwards=tuple(block.mlp for block in module.model.layers),
        final_norm=module.model.norm,
        head=module.lm_head,
    )


def sites_of(module: MemoryLlamaForCausalLM) -> Mapping[str, Site]:
    """The sites of a MemoryLlama, of whichever family its weights are."""
    sites = {}
    tables = module.config.memory_tables or []
    for table, (layer, memory) in zip(tables, module.memory_layers.items(), strict=True):
        site = NativeSite(layer, table, memory)
        sites[site.info.name] = site
    return sites


def _empty(path: Path, config: MemoryLlamaConfig) -> MemoryLlamaForCausalLM:
    try:
        with torch.device("meta"):
            return MemoryLlamaForCausalLM(config)
    except Exception as error:  # noqa: BLE001  sizes that make no model fail in many ways
        reason = str(error).split("\n", 1)[0]
        raise CheckpointError(
            f"The sizes in {path / 'config.json'} make no model: {reason}."
        ) from None


def _read_config(path: Path, files: Mapping[str, Path]) -> MemoryLlamaConfig:
    try:
        raw = json.loads((path / "config.json").read_text(encoding="utf-8"))
        _check_blocks(path, raw, files)
        config: MemoryLlamaConfig = MemoryLlamaConfig.from_dict(raw)
        if config.memory_layers:
            config.memory_shape()
        if not config.max_position_embeddings >= 1:
            raise ValueError(f"max_position_embeddings = {config.max_position_embeddings}")
    except CheckpointError:
        raise
    except Exception as error:  # noqa: BLE001  transformers' validators raise many kinds
        raise CheckpointError(
            f"{path / 'config.json'} is no usable configuration: {error}"
        ) from None
    return config


def _check_blocks(path: Path, raw: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """As many blocks as the tensors tell of: a model of far more would fill the memory."""
    said = raw.get("num_hidden_layers")
    blocks = {found[1] for name in files if (found := re.match(r"model\.layers\.(\d+)\.", name))}
    if type(said) is int and said > len(files):
        raise CheckpointMismatch(
            f"{path / 'config.json'} says num_hidden_layers = {said}, but there are tensors of "
            f"{len(blocks)} blocks: others are missing.",
            ["num_hidden_layers"],
        )


def tensor_files(path: Path) -> dict[str, Path]:
    """Which safetensors file of the directory holds which tensor.

    Raises:
        CheckpointError: there are none, or one is broken.
    """
    shards = sorted(path.glob("model*.safetensors"))
    if not shards:
        raise CheckpointNotFound(f"{path} holds no model*.safetensors: its weights are missing.")
    files: dict[str, Path] = {}
    for shard in shards:
        files.update(dict.fromkeys(read_header(shard), shard))
    return files


def check_names(
    path: Path, module: nn.Module, files: Mapping[str, Path], tied: tuple[str, ...]
) -> None:
    """Hold the files' tensors against ``module``'s, by name and shape; ``tied`` may be left out.

    Raises:
        CheckpointMismatch: some are missing, extra or of another shape; the names are given.
    """
    expected = {name: tuple(t.shape) for name, t in module.state_dict().items() if name not in tied}
    problems = [f"{name} is missing" for name in expected if name not in files]
    headers = {file: read_header(file) for file in set(files.values())}
    for name, file in files.items():
        if name not in expected:
            if name not in tied:
                problems.append(f"{name} is not expected")
            continue
        shape = headers[file][name].shape
        if shape != expected[name]:
            problems.append(f"{name} is {list(shape)}, expected {list(expected[name])}")
    if problems:
        names = [problem.split(" ", 1)[0] for problem in problems]
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise CheckpointMismatch(
            f"The tensors of {path} do not match its config.json: {'; '.join(problems[:8])}{more}.",
            names,
        )


def _read(file: Path, name: str, entry: Entry) -> Tensor:
    # Products round otherwise where numbers begin at another byte: a copy begins at a round one,
    # so that the same weights give the same logits from whichever file.
    tensor = read_tensor(file, entry)
    check_finite(file.name, name, tensor)
    return tensor


def read_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a transformers directory; no code that came with it is run.

    Raises:
        CheckpointError: it is missing or cannot be read.
    """
    if not (path / "tokenizer.json").is_file():
        raise CheckpointNotFound(f"{path} holds no tokenizer.json: its tokenizer is missing.")
    check_tokenizer_json(path / "tokenizer.json")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # noqa: BLE001  a broken file raises what its parser raises
        raise CheckpointError(f"The tokenizer of {path} cannot be read: {error}") from None
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return tokenizer


def fingerprint(path: Path) -> str:
    """Over config, tokenizer and weights: what defines the model's computation."""
    named = [path / "config.json", path / "tokenizer.json", *path.glob("model*.safetensors")]
    return fingerprint_of(file for file in named if file.is_file())


NATIVE = register(Family("native", recognise, open_native))
