"""The product-key memory layer: query, lookup, weighted sum of values, projection.

"Memory Layers at Scale" (Berges et al. 2024, section 3) on the lookup of "Large Memory Layers
with Product Keys" (Lample et al. 2019). Axes: ``batch pos head half half_key knn d_model d_key
d_value``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from inspector.memory.product_keys import SiteReads, look_up, score_half_keys
from inspector.memory.values import ValueTable

Projection = Literal["none", "linear", "swiglu"]
Norm = Literal["none", "layer", "rms"]
Activation = Literal["none", "gelu"]


@dataclass(frozen=True)
class MemoryShape:
    """The sizes and options of one memory layer.

    ``projection``: ``none`` adds the sum of values itself, ``linear`` sends it through ``W_o``,
    ``swiglu`` is Memory+: ``W_o(silu(W x) * sum)``. ``sigmoid_gate`` multiplies all of that by
    one number in (0, 1) per token. ``activation`` is PEER's ("Mixture of A Million Experts", He
    2024): a read counts ``weight * gelu(u . x)``, where ``u`` is its slot's row of a second table.
    """

    d_model: int
    heads: int
    knn: int
    half_keys: int
    d_key: int
    d_value: int
    projection: Projection = "none"
    sigmoid_gate: bool = False
    query_bias: bool = True
    query_norm: Norm = "none"
    key_norm: Norm = "none"
    activation: Activation = "none"

    def __post_init__(self) -> None:
        """Refuse sizes and options that make no memory layer."""
        sizes = (self.d_model, self.heads, self.knn, self.half_keys, self.d_key, self.d_value)
        if min(sizes) < 1:
            raise ValueError(f"every size of a memory layer is at least 1; found {self}")
        options = {"projection": Projection, "query_norm": Norm, "key_norm": Norm}
        options["activation"] = Activation
        for name, known in options.items():
            if (chosen := getattr(self, name)) not in get_args(known):
                raise ValueError(f"{name} = {chosen!r} is none of {', '.join(get_args(known))}")
        if self.d_key % 2:
            raise ValueError(f"d_key = {self.d_key} cannot be split into two equal halves")
        if self.knn > self.half_keys**2:
            raise ValueError(
                f"knn = {self.knn} reads per head, but {self.half_keys} half-keys make only "
                f"{self.half_keys**2} keys"
            )
        if self.projection == "none" and self.d_value != self.d_model:
            raise ValueError(
                f"d_value = {self.d_value} needs a projection to reach d_model = {self.d_model}"
            )

    @property
    def slots(self) -> int:
        """Number of keys, and of value rows: n * n."""
        return self.half_keys**2


def _norm(kind: Norm, width: int) -> nn.Module:
    if kind == "layer":
        return nn.LayerNorm(width)
    return nn.RMSNorm(width) if kind == "rms" else nn.Identity()


class HalfKeyScores(nn.Module):
    """Query projection and half-key scores: ``[... d_model] -> [... head half half_key]``."""

    def __init__(self, shape: MemoryShape) -> None:
        """Parameters for ``shape``; norms act on each half separately."""
        super().__init__()
        self.shape = shape
        d_half = shape.d_key // 2
        self.query = nn.Linear(shape.d_model, shape.heads * shape.d_key, bias=shape.query_bias)
        self.half_keys = nn.Parameter(torch.empty(shape.heads, 2, shape.half_keys, d_half))
        self.query_norm = _norm(shape.query_norm, d_half)
        self.key_norm = _norm(shape.key_norm, d_half)

    def forward(self, x: Tensor) -> Tensor:
        """Half scores of every head for ``x [... d_model]``."""
        return score_half_keys(self.queries(x).flatten(-2), self.keys())

    def queries(self, x: Tensor) -> Tensor:
        """Both halves of every head's query for ``x [... d_model]``: ``[... head half d_half]``."""
        query: Tensor = self.query(x).unflatten(-1, (self.shape.heads, 2, -1))
        normed: Tensor = self.query_norm(query)
        return normed

    def keys(self) -> Tensor:
        """Half-keys as they are scored: ``[head half half_key d_half]``."""
        normed: Tensor = self.key_norm(self.half_keys)
        return normed


class TopSlots(nn.Module):
    """Half scores to reads. A module of its own, so that a hook sees what the model computed."""

    def __init__(self, knn: int, activation_table: ValueTable | None = None) -> None:
        """``knn`` reads per head; PEER's ``u`` are rows of the table, which others may share."""
        super().__init__()
        self.knn = knn
        self._activation_table = (activation_table,)  # in a tuple: its owner alone saves it

    @property
    def activation_table(self) -> ValueTable | None:
        """PEER's rows ``u [slot d_model]``, if it has them."""
        return self._activation_table[0]

    def forward(
        self, half_scores: Tensor, x: Tensor | None = None, masked: Tensor | None = None
    ) -> SiteReads:
        """The reads of every head: see ``look_up``; ``x [... d_model]`` makes PEER's activations.

        Without ``x`` coefficients are the weights.
        """
        reads = look_up(half_scores, self.knn, masked)
        activation = None if x is None else self.activation(x, reads.slots)
        if activation is None:
            return reads
        return replace(reads, coefficients=reads.weights * activation.to(reads.weights.dtype))

    def activation(self, x: Tensor, slots: Tensor) -> Tensor | None:
        """``gelu(u . x)`` of ``slots [... head knn]`` for ``x [... d_model]``; None if no ``u``."""
        if self.activation_table is None:
            return None
        rows = self.activation_table.rows(slots).to(x.dtype)  # [... head knn d_model]
        return functional.gelu(torch.einsum("...hkd,...d->...hk", rows, x))


class ProductKeyMemory(nn.Module):
    """One memory layer: what replaces the feed-forward network of a transformer block.

    Its output is ``sum over reads of project(weight * value, gate(x)) + remainder(x)``, where
    ``project`` is linear in the value once the token's gate is known. That decomposition is what
    the inspector shows, and what its self-check holds against ``forward``.
    """

    def __init__(
        self, shape: MemoryShape, table: ValueTable, activation_table: ValueTable | None = None
    ) -> None:
        """A layer reading these tables, which it refers to but doesn't own (others may share them).

        Raises:
            ValueError: an activation needs a table of its own, and nothing else has one.
        """
        super().__init__()
        self.shape = shape
        self._table = (table,)  # in a tuple: not registered, so that the owner alone saves it
        self.half_key_scores = HalfKeyScores(shape)
        if (shape.activation == "none") != (activation_table is None):
            raise ValueError(f"activation = {shape.activation!r}, its table: {activation_table}")
        self.top_slots = TopSlots(shape.knn, activation_table)
        self.gate_proj = self.value_proj = self.sigmoid_gate = None
        if shape.projection == "swiglu":
            self.gate_proj = nn.Linear(shape.d_model, shape.d_value)
        if shape.projection != "none":
            self.value_proj = nn.Linear(shape.d_value, shape.d_model)
        if shape.sigmoid_gate:
            self.sigmoid_gate = nn.Linear(shape.d_model, 1)

    @property
    def table(self) -> ValueTable:
        """The value table this layer reads."""
        return self._table[0]

    def forward(self, x: Tensor) -> Tensor:
        """``x [... d_model]`` (after the block's norm) to what is added to the residual stream."""
        reads: SiteReads = self.top_slots(self.half_key_scores(x), x)
        total = self.table(reads.slots, reads.coefficients.to(x.dtype))  # [... d_value]
        if self.gate_proj is not None:
            total = total * functional.silu(self.gate_proj(x))
        output: Tensor = total if self.value_proj is None else self.value_proj(total)
        return output if self.sigmoid_gate is None else output * self.sigmoid_gate(x).sigmoid()

    def gate(self, x: Tensor) -> Tensor | None:
        """What the sum of values is multiplied by before ``value_proj``: ``[... d_value]``.

        The sigmoid gate is folded in: it scales the whole and so may as well act here. None where
        nothing gates the sum, so that a value means the same for every token.
        """
        gate = None if self.gate_proj is None else functional.silu(self.gate_proj(x))
        if self.sigmoid_gate is None:
            return gate
        scale: Tensor = self.sigmoid_gate(x).sigmoid()
        return scale.expand(*x.shape[:-1], self.shape.d_value) if gate is None else gate * scale

    def project(self, values: Tensor, gate: Tensor | None) -> Tensor:
        """Vectors of the value space through a gate into the residual stream, without bias.

        ``values [... d_value]`` and ``gate [... d_value]`` broadcast; linear in each.
        """
        gated = values if gate is None else values * gate
        return (
            gated if self.value_proj is None else functional.linear(gated, self.value_proj.weight)
        )

    def remainder(self, x: Tensor) -> Tensor:
        """What the layer adds beside its reads, from its own weights: bias times sigmoid gate."""
        if self.value_proj is None:
            return torch.zeros_like(x)
        bias = self.value_proj.bias + torch.zeros_like(x)  # not a view of the parameter
        return bias if self.sigmoid_gate is None else bias * self.sigmoid_gate(x).sigmoid()
