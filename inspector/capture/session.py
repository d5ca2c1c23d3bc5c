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

from inspector.capture.lookup_edits import Edit, LookupInput
from inspector.capture.value_edits import NewValues, Overlay, overlay_values
from inspector.errors import NotShown
from inspector.families.base import MemoryModel, Site
from inspector.memory.llama import MemoryLlamaForCausalLM
from inspector.memory.product_keys import SiteReads


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
    values: dict[int, Overlay] = field(default_factory=dict)  # by table, where edited


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


@dataclass(frozen=True)
class _Standing:
    """Edits of one model that hold for all passes of this thread, until their block ends."""

    sites: tuple[Site, ...]
    edits: tuple[Edit, ...]


_session: ContextVar[_Session | None] = ContextVar("inspector_session", default=None)
_standing: ContextVar[tuple[_Standing, ...]] = ContextVar("inspector_standing", default=())
# The reads of the site that is computing, for as long as it does, where values are edited.
_looked_up: ContextVar[SiteReads | None] = ContextVar("inspector_looked_up", default=None)


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


@contextmanager
def standing(model: MemoryModel, edits: Sequence[Edit]) -> Iterator[None]:
    """Within the block, every pass of ``model`` in this thread goes through ``edits``.

    Sessions in the block add their own after these. Blocks may be nested.
    """
    here = _Standing(tuple(model.sites.values()), tuple(edits))
    token = _standing.set((*_standing.get(), here))
    try:
        yield
    finally:
        _standing.reset(token)


def standing_edits(model: MemoryModel) -> tuple[Edit, ...]:
    """Edits that every pass of ``model`` goes through here: what is kept must not be of them."""
    return next((_standing_at(site) for site in model.sites.values()), ())


def standing_rows(site: Site, slots: Tensor) -> Tensor:
    """Values of ``slots [...]`` as a pass would fetch them here, edited or not."""
    overlay = overlay_values(_standing_at(site)).get(site.info.table)
    if overlay is None:
        return site.table.rows(slots)
    return overlay.to(slots.device).rows(site, slots)


def _standing_at(site: Site) -> tuple[Edit, ...]:
    blocks = _standing.get()
    return tuple(e for block in blocks if any(s is site for s in block.sites) for e in block.edits)


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
    current, edits = _session.get(), _edits_at(site)
    for number, edit in enumerate(edits):
        reads = edit(LookupInput(site, *inputs, edits[:number]), reads)
    if any(isinstance(edit, NewValues) for edit in edits):
        _looked_up.set(reads)
    if current is not None and current.recording is not None:
        parts = (reads.slots, reads.scores, reads.weights, reads.coefficients)
        current.recording.reads[name] = SiteReads(*(part.detach() for part in parts))
    if current is not None and current.observer is not None:
        current.observer.looked_up(site, inputs[0], reads)
    return reads if edits else None


def _edits_at(site: Site) -> tuple[Edit, ...]:
    current = _session.get()
    return (*_standing_at(site), *(() if current is None else current.edits))


def _recording(residual: bool) -> Recording | None:
    current = _session.get()
    if current is None or (residual and not current.residual):
        return None
    return current.recording


def _on_site(
    name: str, site: Site, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> Tensor | None:
    edited = _with_new_values(site, inputs[0], output)
    if (recording := _recording(residual=False)) is not None:
        recording.inputs[name] = inputs[0].detach()
        recording.outputs[name] = output.detach() if edited is None else edited.detach()
    if (current := _session.get()) is not None and current.observer is not None:
        current.observer.entered(site, inputs[0])
    return edited


def _with_new_values(site: Site, x: Tensor, output: Tensor) -> Tensor | None:
    """The site's output as its edited values make it; None where none of them was read."""
    reads = _looked_up.get()
    if reads is None:
        return None
    _looked_up.set(None)
    overlay = overlay_values(_edits_at(site)).get(site.info.table)
    if overlay is None:
        return None
    if not site.info.additive:
        raise NotShown(
            f"The output of {site.info.name} is not a sum of its reads, so what other values would "
            "make of it cannot be said. Zero or mask slots instead."
        )
    overlay = overlay.to(x.device)
    if (recording := _recording(residual=False)) is not None:
        recording.values[site.info.table] = overlay.detached()
    added = overlay.added(site, x, reads)
    return None if added is None else output + added


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


def logits_where(model: MemoryModel, ids: Tensor, where: Tensor) -> Tensor:
    """Logits of chosen positions alone, ``[position d_vocab]``: ``where [batch pos]`` bool.

    Gradients flow unless they are switched off. The head over the vocabulary is most of the work
    of a small model; where we know that it comes last, it's run for those positions only.
    """
    if isinstance(model.module, MemoryLlamaForCausalLM):
        trunk = model.module.model(input_ids=ids, use_cache=False)
        chosen: Tensor = model.backbone.head(trunk.last_hidden_state[where])
        return chosen
    whole: Tensor = model.module(input_ids=ids, use_cache=False).logits
    return whole[where]
