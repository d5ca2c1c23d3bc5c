"""Checkpoints of re133's sparse-memory-lm, on the Hub also under the name fechyy.

The model is a Llama whose queries pass a batch norm, so that it runs as our MemoryLlama once the
fused projections are split and the norm, which has fixed numbers by now, is folded into the query
projection. The value table in four bits stays in its file: only rows that are read are unpacked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from inspector.errors import CheckpointError, CheckpointMismatch
from inspector.families.base import MemoryModel, Provenance
from inspector.families.fingerprint import fingerprint_of
from inspector.families.gpt2_tokenizer import read_gpt2_tokenizer
from inspector.families.native import backbone_of, sites_of, tables_by_name
from inspector.families.re133_files import HOT_ROWS, Files, Saved, find_files, read_saved
from inspector.families.re133_layout import (
    TABLE,
    Options,
    as_ours,
    memory_layers,
    negative_variance,
    read_options,
    shapes_of,
)
from inspector.families.registry import Family, Opening, register
from inspector.families.weights import check_finite, sampling_notes
from inspector.memory.llama import MemoryLlamaForCausalLM
from inspector.memory.packed import PackedRows

_TABLE_END = TABLE.split("{}")[1]
_HEAD, _EMBEDDING = "lm_head.weight", "tok_emb.weight"


def recognise(path: Path) -> str | None:
    """``rest.pt`` with its table in four bits, or a ``model.pt`` of this training code."""
    files = find_files(path)
    if files is None:
        return None
    if files.values is not None:
        return f"there is a {files.weights.name} with its value table in {files.values.name}"
    return f"{files.weights.name} holds a model_config and a state_dict, as this code saves them"


def open_re133(path: Path, reason: str, opening: Opening) -> MemoryModel:
    """Open a checkpoint of this code; on the CPU its value tables stay in their file.

    Raises:
        CheckpointMismatch: tensors and ``model_config`` disagree; the names are given.
        TokenizerNeeded: GPT-2's tokenizer isn't beside it, and nobody said where it is.
        CheckpointError: a file is missing or broken.
    """
    files = find_files(path)
    assert files is not None, "it was recognised"
    saved = read_saved(files, _TABLE_END)
    source = str(files.weights)
    tables, numbers = _numbered(source, saved)
    options = read_options(source, saved.config, numbers, saved.state)
    used, ignored = _check(source, options, saved)
    config = options.config
    tokenizer, tokenizer_file = read_gpt2_tokenizer(
        files.weights.parent, opening.tokenizer, config.vocab_size
    )
    module = _build(source, options, used, tables, opening)
    return MemoryModel(
        name=_name(files),
        path=path,
        fingerprint=fingerprint_of((*files.contents, tokenizer_file)),
        module=module,
        tokenizer=tokenizer,
        sites=sites_of(module),
        tables=module.value_tables,
        backbone=backbone_of(module),
        positions=config.max_position_embeddings,
        provenance=Provenance(
            family="re133",
            recognised_by=reason,
            tensors_used=len(used) + len(tables),
            ignored=ignored,
            tied=_tied(saved, tables),
            notes=tuple(_notes(files, options, tables)),
            tokenizer=f"GPT-2's byte pairs, {tokenizer_file}",
        ),
        config=config.to_dict(),
    )


def _name(files: Files) -> str:
    folder = files.weights.parent.name
    return folder or files.weights.stem


def _numbered(source: str, saved: Saved) -> tuple[list[Tensor], list[int]]:
    """The different tables, and the number of the one that each memory layer reads.

    A table that several layers share is saved once, under each layer's name.
    """
    names = [TABLE.format(layer) for layer in memory_layers(source, saved.config)]
    problems = {name: "is missing" for name in names if name not in saved.tables}
    problems |= {name: "is not expected" for name in saved.tables if name not in names}
    if problems:
        raise _mismatch(source, problems)
    tables: list[Tensor] = []
    numbers = []
    for name in names:
        own = saved.tables[name]
        known = [n for n, table in enumerate(tables) if _same(table, own)]
        numbers.append(known[0] if known else len(tables))
        if not known:
            tables.append(own)
    return tables, numbers


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.data_ptr() == other.data_ptr() and one.shape == other.shape)


def _mismatch(source: str, problems: Mapping[str, str]) -> CheckpointMismatch:
    told = [f"{name} {what}" for name, what in problems.items()]
    more = f" and {len(told) - 8} more" if len(told) > 8 else ""
    return CheckpointMismatch(
        f"The tensors of {source} do not match its model_config: {'; '.join(told[:8])}{more}.",
        problems,
    )


def _check(
    source: str, options: Options, saved: Saved
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors that are used, and the names of those that are not; refuses by name."""
    ignored = tuple(name for name in saved.state if name.endswith(".num_batches_tracked"))
    problems = dict(_problems(options, saved, ignored))
    if problems:
        raise _mismatch(source, problems)
    used = {name: saved.state[name] for name in shapes_of(options)}
    for name, tensor in used.items():
        check_finite(source, name, tensor)
    impossible = negative_variance(options, used)
    if impossible is not None:
        raise CheckpointError(
            f"{source}: {impossible} holds negative numbers, which no variance is."
        )
    return used, ignored


def _problems(
    options: Options, saved: Saved, ignored: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    shapes = shapes_of(options)
    for name, shape in shapes.items():
        yield from _problem(name, saved.state.get(name), shape)
    if options.layers:
        memory = options.config.memory_shape()
        for name, table in saved.tables.items():
            yield from _problem(name, table, (memory.slots, memory.d_value))
    head = saved.state.get(_HEAD)
    if head is not None and _EMBEDDING in saved.state:
        embedding = saved.state[_EMBEDDING]
        if not _same(head, embedding) and not torch.equal(head, embedding):
            yield _HEAD, f"differs from {_EMBEDDING}, to which it should be tied"
    for name in saved.state:
        if name not in shapes and name not in (_HEAD, *ignored):
            yield name, "is not expected"


def _problem(name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    if tensor is None:
        yield name, "is missing"
    elif tuple(tensor.shape) != shape:
        yield name, f"is {list(tensor.shape)}, expected {list(shape)}"
    elif not tensor.is_floating_point():
        yield name, f"is {tensor.dtype}, expected floating-point numbers"


def _build(
    source: str,
    options: Options,
    used: Mapping[str, Tensor],
    matrices: list[Tensor],
    opening: Opening,
) -> MemoryLlamaForCausalLM:
    """The model with its weights, on its device and in its format."""
    try:
        with torch.device("meta"):
            module = MemoryLlamaForCausalLM(options.config)
    except Exception as error:  # noqa: BLE001  sizes that make no model fail in many ways
        reason = str(error).split("\n", 1)[0]
        raise CheckpointError(f"The sizes in {source} make no model: {reason}.") from None
    weights: dict[str, Any] = dict(as_ours(options, used))
    module.load_state_dict(weights, strict=False, assign=True)
    tables = list(tables_by_name(module).values())
    for number, (table, matrix) in enumerate(zip(tables, matrices, strict=True)):
        check_finite(source, f"value table {number}", matrix)
        table.stay_in(matrix)
    module.tie_weights()
    module.requires_grad_(False).eval()
    module.to(dtype=opening.dtype or used[_EMBEDDING].dtype)  # tables stay as they are stored
    # Built on the meta device, where nothing takes memory; its only buffers are made again here,
    # in float32 in any format: rounded, its angles would be other positions.
    module.model.rotary_emb = LlamaRotaryEmbedding(options.config)
    for table in tables:
        # Packed rows are unpacked where they lie, and sent to the device one by one.
        table.mapped = opening.device.type == "cpu" or isinstance(table.weight, PackedRows)
    module.to(device=opening.device)
    return module


def _tied(saved: Saved, tables: list[Tensor]) -> tuple[str, ...]:
    kept = {id(table) for table in tables}
    copies = []
    for name, table in saved.tables.items():
        if id(table) in kept:
            kept.discard(id(table))
        else:
            copies.append(name)
    return (*((_HEAD,) if _HEAD in saved.state else ()), *copies)


def _notes(files: Files, options: Options, tables: list[Tensor]) -> Iterator[str]:
    if options.layers and options.batch_norm:
        yield (
            "Queries pass a batch norm with the statistics of training, folded into the query "
            "projection: the same numbers up to rounding."
        )
    if options.layers and options.scaled:
        yield (
            "Each head multiplies its scores by a learned number before the softmax. Scores are "
            "shown with it, as the softmax gets them."
        )
    yield from sampling_notes(t for t in tables if not isinstance(t, PackedRows))
    if any(isinstance(table, PackedRows) for table in tables):
        yield (
            "Values are stored in four bits a number with one scale a row, and are shown as they "
            "are unpacked: the table that was trained was finer."
        )
    if (files.weights.parent / HOT_ROWS).is_file():
        yield (
            f"{HOT_ROWS} lists rows by how often training read them, for programs that keep some "
            "in memory. It changes nothing that is computed and is not used."
        )


RE133 = register(Family("re133", recognise, open_re133))
