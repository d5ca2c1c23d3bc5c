"""What every family of checkpoints offers: its sites, its backbone, its report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from inspector.errors import SlotError
from inspector.memory.product_keys import SiteReads
from inspector.memory.values import ValueTable


@dataclass(frozen=True)
class SiteInfo:
    """The sizes of one memory layer, and how it differs from others."""

    layer: int  # 0-based block
    table: int  # number of the value table it reads
    heads: int
    knn: int  # reads per head and token
    half_keys: int  # n, per set and head
    d_model: int
    d_key: int
    d_value: int
    gated: bool  # an input-dependent gate stands between the sum of values and the output
    normalisation: str  # what turns scores into weights, e.g. "softmax"
    activation: str = "none"  # what makes a coefficient of a weight: "gelu"; it may be negative
    additive: bool = True  # the output is a sum over reads; else no contributions are shown
    projects: bool = True  # queries are a projection of x; else x itself is scored

    @property
    def name(self) -> str:
        """What the site is called everywhere: ``L4`` is the memory layer of block 4."""
        return f"L{self.layer}"

    @property
    def slots(self) -> int:
        """Number of keys and value rows: n * n."""
        return self.half_keys**2

    def pair(self, slot: int) -> tuple[int, int]:
        """The key (i, j) of ``slot``.

        Raises:
            SlotError: there is no such slot.
        """
        if not 0 <= slot < self.slots:
            raise SlotError(
                f"There is no slot {slot}: {self.name} has slots 0 to {self.slots - 1}."
            )
        return divmod(slot, self.half_keys)

    def address(self, slot: int, head: int | None = None) -> str:
        """The address people read and type: ``L4·H2·(431,77)``, or without a head."""
        i, j = self.pair(slot)
        return f"{self.name}·({i},{j})" if head is None else f"{self.name}·H{head}·({i},{j})"


class Site(ABC):
    """One memory layer of one model.

    Invariant, checked when a checkpoint is opened: the layer's output for input x is
    ``sum over reads of project(coefficient * value, gate(x)) + remainder(x)``. A site whose
    ``info.additive`` is False promises nothing of the kind, and is never asked for its parts.
    """

    info: SiteInfo
    module: nn.Module  # the memory layer: x [batch pos d_model] in, as much out
    top_slots: nn.Module  # half scores [batch pos head half half_key] and x in, SiteReads out
    table: ValueTable
    activation_table: ValueTable | None = None  # rows that x is multiplied with: ``activation``

    def activation(self, x: Tensor, slots: Tensor) -> Tensor | None:
        """What the weights of ``slots [... head knn]`` are multiplied by, ``[... head knn]``.

        None where coefficients are the weights themselves, and by default.
        """
        return None

    @abstractmethod
    def gate(self, x: Tensor) -> Tensor | None:
        """What the sum of values is multiplied by, ``[... d_value]``; None if nothing."""

    @abstractmethod
    def project(self, values: Tensor, gate: Tensor | None) -> Tensor:
        """``values [... d_value]`` into the residual stream ``[... d_model]``; linear in values."""

    @abstractmethod
    def remainder(self, x: Tensor) -> Tensor:
        """What the layer adds beside its reads, ``[... d_model]``, from its own weights."""

    @abstractmethod
    def queries(self, x: Tensor) -> Tensor:
        """Both halves of every head's query: ``[... head half d_half]``."""

    @abstractmethod
    def half_keys(self) -> Tensor:
        """Half-keys as they are scored, ``[head half half_key d_half]``."""

    @abstractmethod
    def select(
        self, half_scores: Tensor, x: Tensor | None, masked: Tensor | None = None
    ) -> SiteReads:
        """The layer's own lookup, with ``masked`` slots (``[... masked]``, -1 pads) left out.

        ``x [... d_model]`` is what the layer reads at the same positions. Without it coefficients
        are the weights, also in families that multiply them by an activation of ``x``.
        """


Part = Literal["embedding", "attention", "feed_forward"]


@dataclass(frozen=True)
class Backbone:
    """The parts that write to the residual stream, in order; each adds its output to it.

    Where a block first scales the stream, channel by channel, before it adds, those scales are
    ``residual_scales``: per block the one before attention's output and the one before the
    feed-forward's, ``[d_model]`` each. Where not all parts could be told apart, ``complete`` is
    False: then ``attentions`` and ``feed_forwards`` are empty and no direct effects are shown.
    """

    embedding: nn.Module
    attentions: tuple[nn.Module, ...]  # one per block
    feed_forwards: tuple[nn.Module, ...]  # one per block; the memory layer where there is one
    final_norm: nn.Module
    head: nn.Linear
    residual_scales: tuple[tuple[Tensor, Tensor], ...] = ()
    complete: bool = True

    def carried(self, written: Tensor, block: int, part: Part) -> Tensor:
        """What of ``written [... d_model]`` by a part of ``block`` reaches the final norm directly.

        The embedding's block is -1. All later scales of the stream multiply it; most families
        have none, and then it is ``written`` itself.
        """
        later = [scale for pair in self.residual_scales[block + 1 :] for scale in pair]
        if part == "attention" and self.residual_scales:
            later.insert(0, self.residual_scales[block][1])
        for scale in later:
            written = written * scale
        return written

    def unembedding(self) -> Tensor:
        """``[d_vocab d_model]``: the head's rows times the final norm's scale."""
        scale = self.final_norm.weight
        assert isinstance(scale, Tensor)
        return (self.head.weight * scale).detach()

    def rms(self, residual: Tensor) -> Tensor:
        """What the final norm divides ``residual [... d_model]`` by: ``[...]``, float32."""
        squares = residual.float().pow(2).mean(-1)
        epsilon = self.final_norm.variance_epsilon
        assert isinstance(epsilon, float)
        return (squares + epsilon).sqrt()


@dataclass(frozen=True)
class Provenance:
    """What was opened and how: the part of the load report that a family knows.

    A tensor that is missing is no part of it: such a checkpoint is refused by its name.
    """

    family: str
    recognised_by: str
    tensors_used: int
    ignored: tuple[str, ...] = ()  # names of tensors that the computation has no use for
    tied: tuple[str, ...] = ()  # names that are another tensor, or an identical copy of one
    notes: tuple[str, ...] = ()  # sentences on how it was opened that a reader should know
    limits: tuple[str, ...] = ()  # sentences: what this family cannot show, and why
    tokenizer: str = ""  # where it came from, if that isn't plain


class Tokenizer(Protocol):
    """What the inspector asks of a tokenizer; those of transformers do as they are."""

    @property
    def bos_token_id(self) -> int | None:
        """The token that every text begins with; None if there is none."""

    @property
    def eos_token_id(self) -> int | None:
        """The token that ends a text; None if there is none."""

    def __len__(self) -> int:
        """Number of tokens."""

    def __call__(self, text: str | Sequence[str], **options: Any) -> Any:
        """``input_ids`` of one text, or of each."""

    def decode(self, token_ids: Any) -> Any:
        """The text of some tokens."""

    def convert_ids_to_tokens(self, ids: int) -> Any:
        """How the tokenizer itself spells a token; None if it has no such token."""


@dataclass(frozen=True, eq=False)
class MemoryModel:
    """An opened checkpoint. Nothing is ever stored on it: it's shared between sessions."""

    name: str
    path: Path
    fingerprint: str  # sha256 of the files' contents
    module: nn.Module  # ids [batch pos] in, an output with .logits [batch pos d_vocab] out
    tokenizer: Tokenizer
    sites: Mapping[str, Site]
    tables: tuple[ValueTable, ...]
    backbone: Backbone
    positions: int  # longest input, in tokens
    provenance: Provenance
    config: Mapping[str, Any]

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.backbone.head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Element type of the backbone's weights."""
        return self.backbone.head.weight.dtype

    @property
    def activation_tables(self) -> tuple[ValueTable, ...]:
        """Tables that sites read beside the values, each once."""
        found = {id(s.activation_table): s.activation_table for s in self.sites.values()}
        return tuple(table for table in found.values() if table is not None)

    def site(self, name: str) -> Site:
        """The site called ``name`` (``L4``).

        Raises:
            SlotError: this model has no such site.
        """
        if name not in self.sites:
            found = ", ".join(self.sites) or "none"
            raise SlotError(f"There is no site {name} in {self.name}; its sites are: {found}.")
        return self.sites[name]

    def sites_of(self, table: int) -> tuple[str, ...]:
        """Names of the sites that read value table ``table``."""
        return tuple(name for name, site in self.sites.items() if site.info.table == table)

    def token_text(self, token: int) -> str:
        """What one token writes; a piece of a character is shown in the tokenizer's spelling.

        A token that only pads the vocabulary has no text and is shown as its number, ``<300>``.
        """
        text = self.tokenizer.decode([token])
        assert isinstance(text, str)
        if "\N{REPLACEMENT CHARACTER}" in text or not text:
            return str(self.tokenizer.convert_ids_to_tokens(token) or f"<{token}>")
        return text
