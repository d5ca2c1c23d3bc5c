"""Bring your own model: one that is in this process already, opened where it stands."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import nn

from inspector.capture.contributions import relative_error
from inspector.capture.session import Recording, install_hooks, logits, session
from inspector.capture.trace import written_parts
from inspector.errors import CheckpointError
from inspector.families.base import MemoryModel, Tokenizer
from inspector.families.wrapped import Named, build, fingerprint_of_weights
from inspector.families.wrapped_parts import Part, UnknownHead

_PROBE_TOKENS: Final = 8
_ROUNDING: Final = {torch.float64: 1e-6, torch.float32: 1e-4}  # in half precision, 0.05
_HOOKS: Final = ("_forward_hooks", "_forward_pre_hooks")


@dataclass(frozen=True)
class _Wrapped:
    """How a model was wrapped, and the hooks that are on it since. Nothing in it keeps it alive."""

    model: weakref.ref[MemoryModel]
    named: Named
    hooks: tuple[tuple[weakref.ref[nn.Module], str, int], ...]


_WRAPPED: weakref.WeakKeyDictionary[nn.Module, _Wrapped] = weakref.WeakKeyDictionary()


def wrap(  # noqa: PLR0913  a name for each part of the model
    model: nn.Module,
    tokenizer: Tokenizer,
    *,
    name: str | None = None,
    sites: Sequence[Part] | None = None,
    embedding: Part | None = None,
    blocks: Sequence[tuple[Part, Part]] | None = None,
    final_norm: Part | None = None,
    head: Part | None = None,
    positions: int | None = None,
) -> MemoryModel:
    """A torch model of your own, ready to be traced.

    Its memory layers are found by class: our ``ProductKeyMemory``, lucidrains' ``PKM``
    (product_key_memory) and ``PEER`` (PEER_pytorch). It goes on computing by its own code, in
    evaluation mode and without gradients for its weights. Parts are modules or their dotted names;
    those that aren't named are looked for by their usual names, and what needs a part that isn't
    found is not shown: ``model.provenance.limits`` says so. Wrapping a model again replaces the
    earlier wrapping, unless neither weights nor arguments changed.

    Args:
        model: token ids ``[batch pos]`` in; logits ``[batch pos d_vocab]`` out, or an output that
            has them as ``.logits`` or comes first in a tuple.
        tokenizer: its tokenizer, of transformers or with the same methods.
        name: what it's called in the app and in exports.
        sites: only these memory layers; by default all.
        embedding: of tokens.
        blocks: attention and feed-forward (or memory layer) of every block, in order.
        final_norm: before the head.
        head: the linear map to the vocabulary.
        positions: longest input, in tokens.

    Raises:
        CheckpointError: a memory layer cannot be shown truly, or a named part isn't there.
    """
    named = Named(name, sites, embedding, blocks, final_norm, head, positions)
    if (found := _as_before(model, tokenizer, named)) is not None:
        return found
    unwrap(model)
    before = set(_hooks(model))
    try:
        built = build(model, tokenizer, named)
        install_hooks(built)
        built = _probed(built)
    except BaseException:
        _take_off(model, set(_hooks(model)) - before)
        raise
    put_on = set(_hooks(model)) - before
    modules = {id(module): weakref.ref(module) for module in model.modules()}
    hooks = tuple((modules[owner], kind, key) for owner, kind, key in put_on)
    _WRAPPED[model] = _Wrapped(weakref.ref(built), named, hooks)
    return built


def unwrap(model: nn.Module) -> None:
    """Take the inspector's hooks off ``model``, if it was wrapped."""
    wrapped = _WRAPPED.pop(model, None)
    for owner, kind, key in () if wrapped is None else wrapped.hooks:
        if (module := owner()) is not None:
            getattr(module, kind).pop(key, None)


def _as_before(model: nn.Module, tokenizer: Tokenizer, named: Named) -> MemoryModel | None:
    wrapped = _WRAPPED.get(model)
    found = None if wrapped is None else wrapped.model()
    if wrapped is None or found is None or wrapped.named != named:
        return None
    same = fingerprint_of_weights(model, found.sites) == found.fingerprint
    return found if same and found.tokenizer is tokenizer else None


def _hooks(model: nn.Module) -> Iterator[tuple[int, str, int]]:
    """Every forward hook on it: the module's id, which kind, and its key there."""
    for module in model.modules():
        for kind in _HOOKS:
            for key in getattr(module, kind):
                yield id(module), kind, key


def _take_off(model: nn.Module, hooks: set[tuple[int, str, int]]) -> None:
    modules = {id(module): module for module in model.modules()}
    for owner, kind, key in hooks:
        getattr(modules[owner], kind).pop(key, None)


def _probed(model: MemoryModel) -> MemoryModel:
    """``model`` once a pass over a few tokens showed which of its parts add up."""
    count = min(len(model.tokenizer), model.backbone.head.out_features)
    length = min(_PROBE_TOKENS, model.positions)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(count, (1, length), generator=generator).to(model.device)
    with session(record=True, residual=True) as recording:
        scores = logits(model, ids)
    if not isinstance(scores, torch.Tensor) or scores.shape[:2] != ids.shape or scores.ndim != 3:
        found = tuple(getattr(scores, "shape", ())) or type(scores).__name__
        raise CheckpointError(
            f"For ids [1 {length}] the model gave {found}; expected logits [1 {length} d_vocab]."
        )
    if isinstance(model.backbone.head, UnknownHead):
        model.backbone.head.out_features = scores.shape[-1]
    if silent := [name for name in model.sites if name not in recording.reads]:
        raise CheckpointError(
            f"{', '.join(silent)} did not compute when the model ran, or not with its input as the "
            "first argument, so what it reads cannot be seen."
        )
    why = _does_not_add_up(model, recording, scores) if model.backbone.complete else ""
    if not why:
        return model
    backbone = replace(model.backbone, attentions=(), feed_forwards=(), complete=False)
    limits = (*model.provenance.limits, f"{why}, so direct effects are not shown.")
    return replace(model, backbone=backbone, provenance=replace(model.provenance, limits=limits))


def _does_not_add_up(model: MemoryModel, recording: Recording, scores: torch.Tensor) -> str:
    slack = _ROUNDING.get(model.dtype, 0.05)
    with torch.inference_mode():
        parts = written_parts(model, recording)
        total = sum(parts.all(), parts.embedding)
        if total.shape != parts.final.shape:
            return "The parts that were found write vectors of another width"
        error = relative_error(total, parts.final)
        if not error <= slack:
            return (
                "What the embedding, attentions, feed-forwards and memory layers write does not "
                f"add up to what the final norm reads (it is off by {error:.1%})"
            )
        head, norm = model.backbone.head, model.backbone.final_norm
        error = relative_error(head.forward(norm.forward(parts.final)), scores)
    return "" if error <= slack else "The logits are more than the head of the final norm's output"
