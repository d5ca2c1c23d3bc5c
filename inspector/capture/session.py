"""One forward pass under observation: what to change in it and where to write what it did.

Hooks are installed once per model and do nothing outside a session. A session lives in a context
variable, so that passes in other threads never see it: neither its recordings nor its edits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from inspector.families.base import MemoryModel, Site
from inspector.memory.product_keys import SiteReads


@dataclass(frozen=True)
class LookupInput:
    """What one lookup of a pass is made from."""

    site: Site
    half_scores: Tensor  # [batch pos head half half_key]
    x: Tensor  # [batch pos d_model] what the site reads

    def without(self, masked: Tensor) -> SiteReads:
        """The site's own lookup with ``masked`` slots (``[... masked]``, -1 pads) left out."""
        return self.site.select(self.half_scores, self.x, masked)


class Edit(Protocol):
    """A change to the reads of one forward pass."""

    def __call__(self, made_from: LookupInput, reads: SiteReads) -> SiteReads:
        """The reads that the site is to use instead of ``reads``, all ``[batch pos head knn]``."""


@dataclass
class Recording:
    """What one forward pass did. Tensors are detached and otherwise as the model made them."""

    reads: dict[str, SiteReads] = field(default_factory=dict)
    inputs: dict[str, Tensor] = field(default_factory=dict)  # per site [batch pos d_model]
    outputs: dict[str, Tensor] = field(default_factory=dict)  # per site [batch pos d_model]
    embedding: Tensor | None = None  # [batch pos d_model]
    attentions: dict[int, Tensor] = field(default_factory=dict)
    feed_forwards: dict[int, Tensor] = field(default_factory=dict)  # blocks without memory
    residual: Tensor | None = None  # input of the final norm


class Observer(Protocol):
    """Sees what passes through the sites and keeps what it needs: nothing is stored for it."""

    def looked_up(self, site: Site, half_scores: Tensor, reads: SiteReads) -> None:
        """``site`` chose ``reads`` by ``half_scores [batch pos head half half_key]``."""

    def entered(self, site: Site, x: Tensor) -> None:
        """``site`` has computed on ``x [batch pos d_model]``; it comes after ``looked_up``."""


@dataclass(frozen=True)
class _Session:
    edits: tuple[Edit, ...]
    recording: Recording | None
    residual: bool  # also record what every part of the backbone writes
    observer: Observer | None


_session: ContextVar[_Session | None] = ContextVar("inspector_session", default=None)


@contextmanager
def session(
    edits: Sequence[Edit] = (),
    *,
    record: bool = False,
    residual: bool = False,
    observer: Observer | None = None,
) -> Iterator[Recording]:
    """Within the block, passes of this thread apply ``edits`` and, if asked to, are recorded.

    A later pass in the same block overwrites the recording of an earlier one. ``observer`` is
    shown the reads as edited.
    """
    recording = Recording()
    kept = recording if record else None
    token = _session.set(_Session(tuple(edits), kept, residual, observer))
    try:
        yield recording
    finally:
        _session.reset(token)


def install_hooks(model: MemoryModel) -> None:
    """Put the permanent hooks on ``model``; called once, when it is opened."""
    for name, site in model.sites.items():
        site.top_slots.register_forward_hook(partial(_on_lookup, name, site))
        site.module.register_forward_hook(partial(_on_site, name, site))
    backbone = model.backbone
    backbone.embedding.register_forward_hook(_on_embedding)
    memory = {site.info.layer for site in model.sites.values()}
    for block, attention in enumerate(backbone.attentions):
        attention.register_forward_hook(partial(_on_part, "attentions", block))
        if block not in memory:
            backbone.feed_forwards[block].register_forward_hook(
                partial(_on_part, "feed_forwards", block)
            )
    backbone.final_norm.register_forward_hook(_on_final_norm)


def _on_lookup(
    name: str, site: Site, _module: nn.Module, inputs: tuple[Tensor, Tensor], reads: SiteReads
) -> SiteReads | None:
    current = _session.get()
    if current is None:
        return None
    for edit in current.edits:
        reads = edit(LookupInput(site, *inputs), reads)
    if current.recording is not None:
        parts = (reads.slots, reads.scores, reads.weights, reads.coefficients)
        current.recording.reads[name] = SiteReads(*(part.detach() for part in parts))
    if current.observer is not None:
        current.observer.looked_up(site, inputs[0], reads)
    return reads if current.edits else None


def _recording(residual: bool) -> Recording | None:
    current = _session.get()
    if current is None or (residual and not current.residual):
        return None
    return current.recording


def _on_site(
    name: str, site: Site, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> None:
    if (recording := _recording(residual=False)) is not None:
        recording.inputs[name] = inputs[0].detach()
        recording.outputs[name] = output.detach()
    if (current := _session.get()) is not None and current.observer is not None:
        current.observer.entered(site, inputs[0])


def _on_embedding(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
    if (recording := _recording(residual=True)) is not None:
        recording.embedding = output.detach()


def _on_part(kind: str, block: int, _module: nn.Module, _inputs: Any, output: Any) -> None:
    if (recording := _recording(residual=True)) is not None:
        written = output[0] if isinstance(output, tuple) else output
        getattr(recording, kind)[block] = written.detach()


def _on_final_norm(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
    if (recording := _recording(residual=True)) is not None:
        recording.residual = inputs[0].detach()


def logits(model: MemoryModel, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """One plain forward pass: ``ids [batch pos]`` to logits ``[batch pos d_vocab]``."""
    with torch.inference_mode():
        output = model.module(input_ids=ids, attention_mask=attention_mask, use_cache=False)
    result: Tensor = output.logits
    return result


def run_sites(model: MemoryModel, ids: Tensor) -> None:
    """One forward pass over ``ids [batch pos]`` for what the sites do in it, without logits.

    The head over the vocabulary is left out where the model is a transformers one, whose trunk is
    its ``base_model``.
    """
    trunk = getattr(model.module, "base_model", model.module)
    with torch.inference_mode():
        trunk(input_ids=ids, use_cache=False)
