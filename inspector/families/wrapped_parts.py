"""The parts of a user's own model: found by their usual names, or named by the user."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutput

from inspector.errors import CheckpointError, NotShown
from inspector.families.base import Backbone

Part = str | nn.Module  # a module, or its dotted name within the model

_EMBEDDINGS: Final = ("embed_tokens", "tok_embeddings", "token_emb", "wte", "embedding", "embed")
_NORMS: Final = ("norm", "ln_f", "final_norm", "norm_f", "final_layernorm", "ln_out")
_HEADS: Final = ("lm_head", "output", "to_logits", "head", "unembed")
_ATTENTIONS: Final = ("self_attn", "attention", "attn", "self_attention")
_FEED_FORWARDS: Final = ("mlp", "feed_forward", "ff", "ffn", "memory")
_TRUNKS: Final = ("", "model.", "transformer.", "decoder.", "backbone.")


@dataclass(frozen=True)
class Parts:
    """What was found of a model; what was not is None, or empty."""

    embedding: nn.Module | None
    blocks: tuple[tuple[nn.Module, nn.Module], ...]  # attention and feed-forward of each
    final_norm: nn.Module | None
    head: nn.Linear | None


def resolve(model: nn.Module, part: Part) -> nn.Module:
    """The module that ``part`` names.

    Raises:
        CheckpointError: there is no such module in ``model``.
    """
    if isinstance(part, nn.Module):
        if all(part is not module for module in model.modules()):
            raise CheckpointError(f"This {type(part).__name__} is no part of the model.")
        return part
    try:
        return model.get_submodule(part)
    except AttributeError:
        raise CheckpointError(
            f"The model has no module {part!r}. Names are those of model.named_modules(), such as "
            "model.norm or lm_head."
        ) from None


def find_parts(
    model: nn.Module,
    site_paths: Sequence[str],
    *,
    embedding: Part | None,
    blocks: Sequence[tuple[Part, Part]] | None,
    final_norm: Part | None,
    head: Part | None,
) -> Parts:
    """Every part that the user named, and the others by their usual names.

    Raises:
        CheckpointError: a part that the user named isn't there, or is of another kind.
    """
    found = None if head is None else resolve(model, head)
    if found is not None and not isinstance(found, nn.Linear):
        raise CheckpointError(f"The head must be a torch.nn.Linear; found {type(found).__name__}.")
    if found is None:
        found = _asked(model, "get_output_embeddings") or _named(model, _HEADS)
    if embedding is not None:
        first: nn.Module | None = resolve(model, embedding)
    else:
        first = _asked(model, "get_input_embeddings") or _named(model, _EMBEDDINGS)
    return Parts(
        embedding=first,
        blocks=(
            _blocks(model, site_paths)
            if blocks is None
            else tuple((resolve(model, a), resolve(model, f)) for a, f in blocks)
        ),
        final_norm=_named(model, _NORMS) if final_norm is None else resolve(model, final_norm),
        head=found if isinstance(found, nn.Linear) else None,
    )


def _asked(model: nn.Module, method: str) -> nn.Module | None:
    """What a model of transformers says itself."""
    ask = getattr(model, method, None)
    try:
        found: object = None if ask is None else ask()
    except (NotImplementedError, AttributeError):
        return None
    return found if isinstance(found, nn.Module) else None


def _named(model: nn.Module, names: Iterable[str]) -> nn.Module | None:
    modules: dict[str, nn.Module] = dict(model.named_modules())
    for trunk in _TRUNKS:
        for name in names:
            if trunk + name in modules:
                return modules[trunk + name]
    return None


def _blocks(model: nn.Module, site_paths: Sequence[str]) -> tuple[tuple[nn.Module, nn.Module], ...]:
    """Attention and feed-forward of each block of the list that the sites stand in."""
    numbers = {path: number_at(path) for path in site_paths}
    lists = {path[: found[0]].rstrip(".") for path, found in numbers.items() if found}
    if len(lists) != 1:
        return ()
    pairs = []
    for block in model.get_submodule(lists.pop()).children():
        children = dict(block.named_children())
        attention = next((children[name] for name in _ATTENTIONS if name in children), None)
        forward = next((children[name] for name in _FEED_FORWARDS if name in children), None)
        if attention is None or forward is None:
            return ()
        pairs.append((attention, forward))
    return tuple(pairs)


def number_at(path: str) -> tuple[int, int] | None:
    """Where the first number of a dotted name begins, and that number: the block's."""
    at = 0
    for piece in path.split("."):
        if piece.isdecimal():
            return at, int(piece)
        at += len(piece) + 1
    return None


class UnknownHead(nn.Linear):
    """Stands for a head that was not found: it has sizes and a device, and no numbers."""

    def __init__(self, rows: int, features: int, like: Tensor) -> None:
        """For ``rows`` tokens; ``like`` says where it would be and in which format."""
        nn.Module.__init__(self)
        self.in_features, self.out_features = features, rows
        self.weight = nn.Parameter(like.new_zeros(1, features), requires_grad=False)
        self.register_parameter("bias", None)

    def forward(self, _x: Tensor) -> Tensor:
        """There is nothing to compute with.

        Raises:
            NotShown: always.
        """
        raise NotShown(not_found("head"))


class Unseen(nn.Module):
    """Stands for an embedding that was not found; passing something on marks that a pass began."""

    def __init__(self, features: int, like: Tensor) -> None:
        """``like`` says where it would be and in which format."""
        super().__init__()
        self.weight = nn.Parameter(like.new_zeros(1, features), requires_grad=False)

    def forward(self, written: Tensor) -> Tensor:
        """``written`` itself."""
        return written


def not_found(what: str) -> str:
    """The sentence on what is missing."""
    keyword = what.replace("final ", "final_")
    return (
        f"The {what} of this model was not found, so what needs it is not shown. Name it: "
        f"inspector.wrap(model, tokenizer, {keyword}=...)."
    )


@dataclass(frozen=True)
class FoundBackbone(Backbone):
    """The parts of a user's model; what needs a part that was not found is refused."""

    missing: str = ""  # why vectors of the residual stream have no logits; empty if they have

    def unembedding(self) -> Tensor:
        """See ``Backbone``; a norm that subtracts the mean leaves it out of each row.

        Raises:
            NotShown: the head or the final norm was not found.
        """
        if self.missing:
            raise NotShown(self.missing)
        rows = (self.head.weight * scale_of(self.final_norm)).detach()
        return rows - rows.mean(-1, keepdim=True) if _centres(self.final_norm) else rows

    def rms(self, residual: Tensor) -> Tensor:
        """See ``Backbone``.

        Raises:
            NotShown: the head or the final norm was not found.
        """
        if self.missing:
            raise NotShown(self.missing)
        exact = residual.float()
        if _centres(self.final_norm):
            exact = exact - exact.mean(-1, keepdim=True)
        return (exact.pow(2).mean(-1) + epsilon_of(self.final_norm)).sqrt()


def scale_of(norm: nn.Module) -> Tensor:
    """What a norm multiplies by, channel by channel; one number where it has no weights."""
    weight = getattr(norm, "weight", None)
    return weight if isinstance(weight, Tensor) else torch.ones(())


def epsilon_of(norm: nn.Module) -> float:
    """What a norm adds before the root, under one of its usual names."""
    for name in ("variance_epsilon", "eps", "epsilon"):
        if isinstance(found := getattr(norm, name, None), float):
            return found
    return float(torch.finfo(torch.float32).eps)


def _centres(norm: nn.Module) -> bool:
    return isinstance(norm, nn.LayerNorm)


def divides_by_rms(norm: nn.Module, width: int) -> bool:
    """Whether ``norm`` is ``x / rms(x) * weight``, tried on a random vector."""
    like = next(norm.parameters(), None)
    if like is None or not isinstance(getattr(norm, "weight", None), Tensor):
        return False
    x = torch.randn(4, width, generator=torch.Generator().manual_seed(0)).to(like)
    with torch.no_grad():
        expected = x / (x.pow(2).mean(-1, keepdim=True) + epsilon_of(norm)).sqrt()
        slack = 2e-2 if like.dtype.itemsize < 4 else 1e-4
        return torch.allclose(norm.forward(x), expected * scale_of(norm), rtol=slack, atol=slack)


class Adapted(nn.Module):
    """A user's model, called and answering as those of transformers do."""

    def __init__(self, inner: nn.Module, ids: str, accepted: frozenset[str]) -> None:
        """``ids`` is what ``inner`` calls its input; ``accepted``, what else it may be told."""
        super().__init__()
        self.inner = inner
        self._ids, self._accepted = ids, accepted
        # Stand-ins for an embedding and a final norm that were not found, called around each
        # pass so that there is a record of them. In a list: they are no parts of the model.
        self.around: list[nn.Module | None] = [None, None]
        self.width = 0
        self.end: int | None = None  # the token that ends a text
        self.writes = False  # whether the model has a generate of its own
        self.trunk: list[nn.Module] = []  # all but its head, where that comes last

    @property
    def base_model(self) -> nn.Module:
        """The model without its head; itself where that isn't known."""
        return self.trunk[0] if self.trunk else self

    def forward(self, input_ids: Tensor, **options: Any) -> CausalLMOutput:
        """``input_ids [batch pos]`` to an output with ``.logits [batch pos d_vocab]``."""
        known = {name: value for name, value in options.items() if name in self._accepted}
        before, after = self.around
        if before is not None:
            like = next(self.inner.parameters())
            before(like.new_zeros(*input_ids.shape, self.width))
        found = self.inner(**{self._ids: input_ids}, **known)
        found = getattr(found, "logits", found)
        logits = found[0] if isinstance(found, tuple) else found
        if after is not None:
            after(logits)
        return CausalLMOutput(logits=logits)

    def generate(self, input_ids: Tensor, max_new_tokens: int, **options: Any) -> Tensor:
        """The most probable tokens, one after the other, each in a pass over all before it.

        As the model itself does it, if it has a ``generate`` of transformers.
        """
        if self.writes:
            generate: Any = self.inner.generate
            written: Tensor = generate(
                input_ids=input_ids, max_new_tokens=max_new_tokens, **options
            )
            return written
        for _ in range(max_new_tokens):
            best = self(input_ids).logits[:, -1:].argmax(-1)
            input_ids = torch.cat([input_ids, best], dim=1)
            if self.end is not None and bool((best == self.end).all()):
                break
        return input_ids
