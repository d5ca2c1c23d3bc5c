"""A user's own model in this process: its sites are found by the classes of its modules."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from inspector.errors import CheckpointError
from inspector.families.base import MemoryModel, Provenance, Site, Tokenizer
from inspector.families.lucidrains import PeerSite, PkmSite
from inspector.families.native import NativeSite
from inspector.families.weights import some_rows
from inspector.families.wrapped_parts import (
    Adapted,
    FoundBackbone,
    Part,
    Parts,
    UnknownHead,
    Unseen,
    divides_by_rms,
    find_parts,
    not_found,
    number_at,
    resolve,
)
from inspector.memory.layer import ProductKeyMemory
from inspector.memory.values import ValueTable

_REFUSED: Final = {
    "ChunkedPEER": "runs its PEER on pieces of a text; put the PEER itself, its .peer, there",
    "PEERLora": "adds its rows to a network's matrices, so that no slot has a value of its own",
}


@dataclass(frozen=True)
class Named:
    """What the user said about the model, where its usual names don't tell."""

    name: str | None = None
    sites: Sequence[Part] | None = None
    embedding: Part | None = None
    blocks: Sequence[tuple[Part, Part]] | None = None
    final_norm: Part | None = None
    head: Part | None = None
    positions: int | None = None


@dataclass(frozen=True)
class _Kind:
    """One class of memory modules: its site, and the matrix of its values."""

    package: str
    make: type[Any]  # (layer, table, module) to a site
    values: str


_KINDS: Final = {
    "PKM": _Kind("product_key_memory", PkmSite, "values.weight"),
    "PEER": _Kind("PEER_pytorch", PeerSite, "weight_up_embed.weight"),
}


def build(model: nn.Module, tokenizer: Tokenizer, named: Named) -> MemoryModel:
    """``model`` with its sites, still without the inspector's hooks.

    It is put into evaluation mode and its weights take no gradients from here on.

    Raises:
        CheckpointError: a module cannot be shown truly, or a named part isn't there.
    """
    model.eval().requires_grad_(False)
    memories = dict(_memories(model, named.sites))
    sites = _sites(memories)
    parts = find_parts(
        model,
        tuple(memories),
        embedding=named.embedding,
        blocks=named.blocks,
        final_norm=named.final_norm,
        head=named.head,
    )
    module = _adapted(model, tokenizer, parts)
    backbone, limits = _backbone(module, parts, sites, tokenizer)
    tables = {site.info.table: site.table for site in sites.values()}
    title = named.name or type(model).__name__
    config: dict[str, Any] = getattr(getattr(model, "config", None), "to_dict", dict)()
    return MemoryModel(
        name=title,
        path=Path(f"wrapped:{title}"),
        fingerprint=fingerprint_of_weights(model, sites),
        module=module,
        tokenizer=tokenizer,
        sites=sites,
        tables=tuple(tables[number] for number in sorted(tables)),
        backbone=backbone,
        positions=_positions(named, config, tokenizer),
        provenance=Provenance(
            "wrapped",
            _recognised(memories),
            len(model.state_dict()),
            notes=("A model of your own in this process: its own code runs, watched by hooks.",),
            limits=limits,
        ),
        config=config,
    )


def _kind(module: nn.Module) -> _Kind | None:
    for parent in type(module).__mro__:
        kind = _KINDS.get(parent.__name__)
        if kind is not None and hasattr(module, "keys") and hasattr(module, "to_queries"):
            return kind
    return None


def _memories(model: nn.Module, wanted: Sequence[Part] | None) -> Iterator[tuple[str, nn.Module]]:
    """Memory modules by their dotted names; those the user named, or all there are."""
    chosen = None if wanted is None else {id(resolve(model, part)) for part in wanted}
    seen: dict[int, str] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if chosen is not None and id(module) not in chosen:
            continue
        for name in {parent.__name__ for parent in type(module).__mro__} & set(_REFUSED):
            raise CheckpointError(f"{path} is a {name}, which {_REFUSED[name]}.")
        if not isinstance(module, ProductKeyMemory) and _kind(module) is None:
            if chosen is not None:
                known = ", ".join(["ProductKeyMemory", *_KINDS])
                raise CheckpointError(
                    f"{path} is a {type(module).__name__}; sites are modules of {known}."
                )
            continue
        if id(module) in seen:
            raise CheckpointError(
                f"{seen[id(module)]} and {path} are one module, so that its two places cannot be "
                "told apart. Give each block a module of its own; they may share their weights."
            )
        seen[id(module)] = path
        yield path, module


def _sites(memories: Mapping[str, nn.Module]) -> dict[str, Site]:
    """Sites by name, in the order of their blocks."""
    tables: dict[int, int] = {}
    sites: dict[int, Site] = {}
    paths: dict[int, str] = {}
    for order, (path, module) in enumerate(memories.items()):
        number = number_at(path)
        layer = order if number is None else number[1]
        if layer in sites:
            raise CheckpointError(
                f"{paths[layer]} and {path} both stand in block {layer}, and a site is named after "
                "its block. Name one of them: inspector.wrap(model, tokenizer, sites=[...])."
            )
        paths[layer] = path
        kind = _kind(module)
        if isinstance(module, ProductKeyMemory):
            weight: Any = module.table.weight
            make: Any = NativeSite
        else:
            assert kind is not None
            weight, make = module.get_parameter(kind.values), kind.make
        sites[layer] = make(layer, tables.setdefault(id(weight), len(tables)), module)
    _share_tables(sites)
    return {sites[layer].info.name: sites[layer] for layer in sorted(sites)}


def _share_tables(sites: Mapping[int, Site]) -> None:
    """Sites that read one matrix read one table."""
    first: dict[int, ValueTable] = {}
    for site in sites.values():
        site.table = first.setdefault(site.info.table, site.table)


def _recognised(memories: Mapping[str, nn.Module]) -> str:
    if not memories:
        return "you gave it; it has no modules of ProductKeyMemory, PKM or PEER"
    kinds = sorted({type(module).__name__ for module in memories.values()})
    return f"you gave it, and {', '.join(memories)} are of class {' or '.join(kinds)}"


def _adapted(model: nn.Module, tokenizer: Tokenizer, parts: Parts) -> Adapted:
    """``model`` within one of this wrapping alone: what is kept of one is not taken for another."""
    asked = inspect.signature(model.forward).parameters
    if not asked:
        raise CheckpointError(f"{type(model).__name__}.forward takes no token ids.")
    ids = "input_ids" if "input_ids" in asked else next(iter(asked))
    adapted = Adapted(model, ids, frozenset(asked) & {"attention_mask", "use_cache"})
    adapted.end = tokenizer.eos_token_id
    if isinstance(model, PreTrainedModel):
        adapted.writes = True
        if parts.final_norm is not None and parts.head is not None:
            adapted.trunk = [model.base_model]
    adapted.eval()
    return adapted


def _backbone(
    module: Adapted, parts: Parts, sites: Mapping[str, Site], tokenizer: Tokenizer
) -> tuple[FoundBackbone, tuple[str, ...]]:
    """The parts, stand-ins for those that are missing, and what cannot be shown without them."""
    like = next(module.parameters())
    embedding, norm, head = parts.embedding, parts.final_norm, parts.head
    width = next((site.info.d_model for site in sites.values()), 1 if head is None else 0)
    width = width or (head.in_features if head is not None else 1)
    limits = []
    if head is None:
        head = UnknownHead(len(tokenizer), width, like)
        limits.append(not_found("head"))
    if embedding is None:
        embedding = Unseen(width, like)
        limits.append(not_found("embedding"))
    if norm is None:
        norm = nn.Identity()
        limits.append(not_found("final norm"))
    module.width = width
    _watch_stand_ins(module, parts, embedding, norm)
    missing = next((limit for limit in limits if "embedding" not in limit), "")
    limits += _untold(parts, sites, width)
    whole = not limits
    limits += [why for site in sites.values() if (why := _not_additive(site))]
    return FoundBackbone(
        embedding=embedding,
        attentions=tuple(attention for attention, _ in parts.blocks) if whole else (),
        feed_forwards=tuple(forward for _, forward in parts.blocks) if whole else (),
        final_norm=norm,
        head=head,
        complete=whole,
        missing=missing,
    ), tuple(limits)


def _watch_stand_ins(module: Adapted, parts: Parts, embedding: nn.Module, norm: nn.Module) -> None:
    """Have stand-ins called in every pass, so that what is recorded of them is there."""

    def on_head(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        norm(inputs[0])

    module.around[0] = embedding if parts.embedding is None else None
    if parts.final_norm is None and parts.head is not None:
        parts.head.register_forward_pre_hook(on_head)
    elif parts.final_norm is None:
        module.around[1] = norm


def _untold(parts: Parts, sites: Mapping[str, Site], width: int) -> list[str]:
    """Why the logits cannot be split over the model's parts; empty if they can."""
    split = "so direct effects are not shown"
    if parts.final_norm is None or parts.head is None or parts.embedding is None:
        return []  # said already
    written = [id(forward) for _, forward in parts.blocks]
    if not parts.blocks or any(
        site.info.layer >= len(written) or written[site.info.layer] != id(site.module)
        for site in sites.values()
    ):
        return [
            "Each block's attention and feed-forward, with the memory layers in their places, were "
            f"not found, {split}. Name them: inspector.wrap(model, tokenizer, blocks=...)."
        ]
    if not divides_by_rms(parts.final_norm, width):
        return [f"The final norm is more than x / rms(x) times a weight, {split}."]
    if parts.head.bias is not None and bool(parts.head.bias.any()):
        return [f"The head adds a bias, which no part of the model writes, {split}."]
    return []


def _not_additive(site: Site) -> str:
    if site.info.additive:
        return ""
    name, module = site.info.name, site.module
    if getattr(module, "concat_values_and_combine", False):
        why = "sends each head's values through a matrix of its own and ignores their weights"
    else:
        why = "norms its sum of values (norm_output)"
    own = "so a read has no contribution of its own. Ablation measures what it does."
    return f"{name} {why}, {own}"


def _positions(named: Named, config: Mapping[str, Any], tokenizer: Tokenizer) -> int:
    """The longest input, in tokens.

    Raises:
        CheckpointError: nothing says it.
    """
    keys = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_len")
    said = [named.positions, *(config.get(key) for key in keys)]
    said.append(getattr(tokenizer, "model_max_length", None))
    for number in said:
        if isinstance(number, int) and 0 < number < 10**9:
            return number
    raise CheckpointError(
        "Nothing says how long a text this model can read. Say it, in tokens: "
        "inspector.wrap(model, tokenizer, positions=...)."
    )


def fingerprint_of_weights(model: nn.Module, sites: Mapping[str, Site]) -> str:
    """Over its architecture as torch prints it, its sites and its weights; of large ones, rows."""
    digest = hashlib.sha256(repr(model).encode())
    digest.update(repr([site.info for site in sites.values()]).encode())
    own = {f"table {site.info.table}": site.table.weight for site in sites.values()}
    for name, tensor in (model.state_dict() | own).items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(_bytes(some_rows(tensor)))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
