"""Checkpoints of Meta's code for memory layers (facebookresearch/memory) and of its forks.

A run writes distributed checkpoints, one directory a step, and can consolidate one into
``consolidated.pth``; both are opened as they are, without the optimizer's state in them. The model
is a Llama with rotary pairs side by side, so that it runs as our MemoryLlama once the rows of its
query and key projections are put in transformers' order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from inspector.errors import CheckpointError, CheckpointMismatch
from inspector.families import dcp
from inspector.families.base import MemoryModel, Provenance
from inspector.families.fingerprint import fingerprint_of
from inspector.families.meta_files import MetaFiles, find_files
from inspector.families.meta_layout import (
    Entry,
    config_of,
    layout,
    plain_names,
    table_names,
    unused,
)
from inspector.families.meta_params import Params, read_params
from inspector.families.meta_tokenizers import read_tokenizer
from inspector.families.native import backbone_of, sites_of, tables_by_name
from inspector.families.registry import Family, Opening, register
from inspector.families.torch_file import MappedFile, read_archive
from inspector.families.weights import check_finite, sampling_notes, some_rows
from inspector.memory.llama import MemoryLlamaConfig, MemoryLlamaForCausalLM


@dataclass(frozen=True)
class _State:
    """The model's tensors as they lie in the files, under Meta's own names."""

    tensors: dict[str, Tensor]
    used: tuple[Entry, ...]
    ignored: tuple[str, ...]
    copies: tuple[str, ...]
    notes: tuple[str, ...]


def recognise(path: Path) -> str | None:
    """A ``consolidated.pth``, or a step's directory with a ``.metadata``, of Meta's code."""
    files = find_files(path)
    if files is None:
        return None
    if files.kind == "directory":
        return f"{files.weights.name} holds a .metadata, as distributed checkpoints do"
    return f"there is a {files.weights.name}, a run's weights in one file"


def open_meta(path: Path, reason: str, opening: Opening) -> MemoryModel:
    """Open a checkpoint of Meta's code; on the CPU its value tables stay in their file.

    Raises:
        CheckpointMismatch: tensors and ``params.json`` disagree; the names are given.
        TokenizerNeeded: nobody said where its tokenizer is.
        CheckpointError: a file is missing or broken.
    """
    files = find_files(path)
    assert files is not None, "it was recognised"
    params = read_params(files.params)
    tensors, notes = _read_tensors(files)
    tensors = plain_names(tensors)
    shared, copies = _sharing(params, tensors)
    config = config_of(params, tensors, shared)
    state = _check(files, params, config, tensors, (*notes, *copies))
    tokenizer, tokenizer_file = read_tokenizer(params, opening.tokenizer, config.vocab_size)
    module = _build(config, state, files, params, opening)
    contents = files.contents if tokenizer_file is None else (*files.contents, tokenizer_file)
    return MemoryModel(
        name=_name(files),
        path=path,
        fingerprint=fingerprint_of(contents),
        module=module,
        tokenizer=tokenizer,
        sites=sites_of(module),
        tables=module.value_tables,
        backbone=backbone_of(module),
        positions=params.positions,
        provenance=_provenance(reason, files, params, state, tokenizer_file),
        config=config.to_dict(),
    )


def _name(files: MetaFiles) -> str:
    """The folder's name, or the run's where that is only a number or ``consolidated``."""
    folder = files.weights if files.kind == "directory" else files.weights.parent
    folder = folder.parent if folder.name == "consolidated" else folder
    if folder.name.isdigit():
        run = folder.parent.parent if folder.parent.name == "checkpoints" else folder.parent
        return f"{run.name} {folder.name}" if run.name else folder.name
    return folder.name


def _read_tensors(files: MetaFiles) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The model's tensors, mapped, and what is to be said of how they lie."""
    notes = (files.note,) if files.note else ()
    if files.kind == "directory":
        tensors, joined = dcp.read_dcp(files.weights)
        if joined:
            several = f"{len(joined)} tensors lie in several pieces, as processes wrote them"
            notes = (*notes, f"{several}; they were put together in memory.")
        return tensors, notes
    file = MappedFile(files.weights)
    saved = read_archive(file, 0, file.size)
    state = saved.get("model", saved) if isinstance(saved, dict) else {}
    items = state.items() if isinstance(state, dict) else ()
    tensors = {name: tensor for name, tensor in items if isinstance(tensor, Tensor)}
    if not tensors or any(not isinstance(name, str) for name in tensors):
        raise CheckpointError(
            f"{files.weights} holds no model: expected a dictionary with an entry model."
        )
    for name, tensor in tensors.items():
        if ".values" in name:
            file.read_at_random(tensor)
    return tensors, notes


def _sharing(params: Params, tensors: Mapping[str, Tensor]) -> tuple[bool, tuple[str, ...]]:
    """Whether all memory layers read one table, and what is to be said of it."""
    memory = params.memory
    if memory is None or not memory.share_values or len(memory.layers) < 2:
        return False, ()
    first, *others = (
        table_names(f"layers.{layer}.feed_forward.", memory.peer) for layer in memory.layers
    )
    pairs = [pair for names in others for pair in zip(first, names, strict=True)]
    held = [(tensors[a], tensors[b]) for a, b in pairs if a in tensors and b in tensors]
    if not all(_same(one, other) for one, other in held):
        return False, (
            "params.json says that the memory layers share their values, but the tables in the "
            "checkpoint differ: each layer reads its own.",
        )
    looked = "" if all(len(some_rows(a)) == len(a) for a, _ in held) else ", by rows at random"
    return True, (
        f"The values are shared: the checkpoint holds a copy for each of {len(memory.layers)} "
        f"memory layers (compared{looked}: identical), and one is kept.",
    )


def _same(one: Tensor, other: Tensor) -> bool:
    """Bit by bit; of large tables, rows drawn at random."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.data_ptr() == other.data_ptr():
        return True
    bits = (some_rows(table).contiguous().view(torch.uint8) for table in (one, other))
    return torch.equal(*bits)


def _check(
    files: MetaFiles,
    params: Params,
    config: MemoryLlamaConfig,
    tensors: dict[str, Tensor],
    notes: tuple[str, ...],
) -> _State:
    """Hold the tensors against the layout; refuse by name what is missing, extra or different."""
    entries = tuple(layout(config))
    ignored = unused(params, tensors)
    problems = dict(_problems(config, entries, tensors, ignored))
    if problems:
        told = [f"{name} {what}" for name, what in problems.items()]
        more = f" and {len(told) - 8} more" if len(told) > 8 else ""
        raise CheckpointMismatch(
            f"The tensors of {files.weights} do not match {params.file}: "
            f"{'; '.join(told[:8])}{more}.",
            problems,
        )
    copies = tuple(e.theirs for e in entries if e.copy and e.theirs in tensors)
    used = tuple(entry for entry in entries if not entry.copy)
    return _State(tensors, used, ignored, copies, notes)


def _problems(
    config: MemoryLlamaConfig,
    entries: tuple[Entry, ...],
    tensors: Mapping[str, Tensor],
    ignored: tuple[str, ...],
) -> Iterator[tuple[str, str]]:
    for entry in entries:
        tensor = tensors.get(entry.theirs)
        if tensor is None:
            if not entry.copy:
                yield entry.theirs, "is missing"
        elif tuple(tensor.shape) != entry.shape:
            yield entry.theirs, f"is {list(tensor.shape)}, expected {list(entry.shape)}"
        elif not tensor.is_floating_point():
            yield entry.theirs, f"is {tensor.dtype}, expected floating-point numbers"
    expected = {entry.theirs for entry in entries} | set(ignored)
    tied = {"output.weight"} if config.tie_word_embeddings else set()
    for name in tensors:
        if name not in expected | tied:
            yield name, "is not expected"


def _build(
    config: MemoryLlamaConfig, state: _State, files: MetaFiles, params: Params, opening: Opening
) -> MemoryLlamaForCausalLM:
    """The model with its weights, on its device and in its format."""
    with torch.device("meta"):
        module = MemoryLlamaForCausalLM(config)
    tables, weights = tables_by_name(module), {}
    for entry in state.used:
        tensor = state.tensors[entry.theirs]
        check_finite(str(files.weights), entry.theirs, tensor)
        if entry.ours in tables:
            tables[entry.ours].stay_in(tensor)
        else:
            weights[entry.ours] = entry.turn(tensor.clone())
    module.load_state_dict(weights, strict=False, assign=True)
    module.tie_weights()
    module.requires_grad_(False).eval()
    stored = weights["model.embed_tokens.weight"].dtype
    for table in tables.values():
        table.mapped = True  # the format of the others doesn't touch it
    module.to(dtype=opening.dtype or stored)
    # Built on the meta device, where nothing takes memory; its only buffers are made again here,
    # in float32 in any format: rounded, its angles would be other positions.
    module.model.rotary_emb = LlamaRotaryEmbedding(config)
    for table in tables.values():
        table.mapped = opening.device.type == "cpu"  # and if so, stays as it is stored
    module.to(device=opening.device)
    return module


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _provenance(
    reason: str, files: MetaFiles, params: Params, state: _State, tokenizer: Path | None
) -> Provenance:
    notes = list(state.notes)
    notes += sampling_notes(state.tensors[e.theirs] for e in state.used if ".values" in e.theirs)
    stored = state.tensors["tok_embeddings.weight"].dtype
    if params.dtype is not None and params.dtype != stored:
        notes.append(
            f"It was trained in {_short(params.dtype)} and is computed in {_short(stored)}, as its "
            "weights are stored: scores differ from the run's own by its rounding."
        )
    limits: tuple[str, ...] = ()
    if params.memory is not None and params.memory.peer:
        limits = (
            "A read counts its weight times an activation of this token, which can be negative: no "
            "single number says how strongly a slot is read whatever the text.",
        )
    return Provenance(
        family="meta",
        recognised_by=reason,
        tensors_used=len(state.used),
        ignored=state.ignored,
        tied=(*state.copies, *(("output.weight",) if params.tied else ())),
        notes=tuple(notes),
        limits=limits,
        tokenizer=f"{params.tokenizer}, {tokenizer or 'which needs no file'}",
    )


META = register(Family("meta", recognise, open_meta))
