"""Doge's routed layer as a memory layer: its arithmetic, with the lookup in a module of its own.

"Wonderful Matrices" (Shi et al. 2024), the cross domain mixture. A linear map of x gives the half
scores at once: there is no query projection, and each half is x against the map's rows. A read
counts its weight times ``act(down . x)``, so it can be negative; a gated network that all tokens
share is added to the reads.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from transformers import DogeConfig
from transformers.activations import ACT2FN

from inspector.errors import CheckpointError, NotShown
from inspector.families.base import Site, SiteInfo
from inspector.memory.product_keys import SiteReads, look_up
from inspector.memory.values import ValueTable

Routing = Literal["token", "full"]


def routing_of(wanted: str | None) -> Routing:
    """What the user asked for, by default token by token.

    Raises:
        CheckpointError: there is no such routing.
    """
    for known in get_args(Routing):
        if wanted == known:
            return known  # type: ignore[no-any-return]
    if wanted is None:
        return "token"
    raise CheckpointError(f"There is no routing {wanted!r}: it is token (as Doge writes) or full.")


class RoutedSlots(nn.Module):
    """Half scores to reads, weights times ``act(down . x)``."""

    def __init__(self, knn: int, table: ValueTable, act: nn.Module) -> None:
        """``knn`` reads a token; ``table`` holds the rows ``down [slot d_model]``."""
        super().__init__()
        self.knn = knn
        self.act = act
        self._table = (table,)  # in a tuple: its owner alone saves it

    def forward(
        self, half_scores: Tensor, x: Tensor | None = None, masked: Tensor | None = None
    ) -> SiteReads:
        """The reads: see ``look_up``. Without ``x [... d_model]`` coefficients are the weights."""
        reads = look_up(half_scores, self.knn, masked)
        if x is None:
            return reads
        activation = self.activation(x, reads.slots).to(reads.weights.dtype)
        return replace(reads, coefficients=reads.weights * activation)

    def activation(self, x: Tensor, slots: Tensor) -> Tensor:
        """``act(down . x)`` of ``slots [... head knn]`` for ``x [... d_model]``."""
        rows = self._table[0].rows(slots).to(x.dtype)  # [... head knn d_model]
        products: Tensor = self.act(torch.einsum("...hkd,...d->...hk", rows, x))
        return products


class DogeMemory(nn.Module):
    """What transformers' ``DogeCDMoE`` computes, under the same names of parameters."""

    def __init__(self, config: DogeConfig, routing: Routing) -> None:
        """Rows beyond ``half_keys ** 2`` are left out: no pair of half-keys addresses them."""
        super().__init__()
        width, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.half_keys = math.isqrt(config.num_experts)
        self.routing = routing
        self.act_fn = ACT2FN[config.hidden_act]
        self.gate_proj = nn.Linear(width, inner, bias=bias)
        self.up_proj = nn.Linear(width, inner, bias=bias)
        self.down_proj = nn.Linear(inner, width, bias=bias)
        self.router_gate = nn.Linear(width, 2 * self.half_keys, bias=False)
        self.down_embed = ValueTable(self.half_keys**2, width)
        self.up_embed = ValueTable(self.half_keys**2, width)
        # Weights are a softmax, which sums to one: norm_topk_prob has nothing left to do.
        self.top_slots = RoutedSlots(config.num_experts_per_tok, self.down_embed, self.act_fn)

    def forward(self, x: Tensor) -> Tensor:
        """``x [batch pos d_model]`` (after the block's norm) to what the block adds."""
        reads: SiteReads = self.top_slots(self.half_scores(x), x)
        routed: Tensor = self.up_embed(reads.slots, reads.coefficients.to(x.dtype))
        return self.shared(x) + routed

    def half_scores(self, x: Tensor) -> Tensor:
        """``[batch pos 1 half half_key]``; in a full pass they mix tokens, as transformers' do.

        Raises:
            NotShown: a full pass over several texts, which would mix them too.
        """
        scores: Tensor = self.router_gate(x)
        scores = scores if scores.dtype == torch.float64 else scores.float()
        if self.routing == "token":
            alone: Tensor = scores.unflatten(-1, (1, 2, self.half_keys))
            return alone
        if len(x) != 1:
            raise NotShown(
                "A full pass of Doge lets the texts of a batch choose each other's slots, so with "
                "full routing only one text at a time can be run. Open it with routing token."
            )
        mixed = scores.view(2, x.shape[1], self.half_keys)  # half 0: rows of the first tokens
        return mixed.permute(1, 0, 2)[None, :, None]

    def shared(self, x: Tensor) -> Tensor:
        """The gated network beside the reads."""
        added: Tensor = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
        return added


class DogeSite(Site):
    """A ``DogeMemory`` as a site."""

    def __init__(self, layer: int, table: int, module: DogeMemory, activation: str) -> None:
        """The routed layer of block ``layer``; every one has its own tables."""
        width = module.router_gate.in_features
        self.info = SiteInfo(
            layer=layer,
            table=table,
            heads=1,
            knn=module.top_slots.knn,
            half_keys=module.half_keys,
            d_model=width,
            d_key=2 * width,
            d_value=width,
            gated=False,
            normalisation="softmax",
            activation=activation,
            projects=False,
        )
        self._memory = module
        self.module = module
        self.top_slots = module.top_slots
        self.table = module.up_embed
        self.activation_table = module.down_embed

    def activation(self, x: Tensor, slots: Tensor) -> Tensor | None:
        """See ``RoutedSlots.activation``."""
        return self._memory.top_slots.activation(x, slots)

    def gate(self, x: Tensor) -> Tensor | None:
        """Nothing gates the sum."""
        return None

    def project(self, values: Tensor, gate: Tensor | None) -> Tensor:
        """Values live in the residual stream."""
        return values

    def remainder(self, x: Tensor) -> Tensor:
        """See ``DogeMemory.shared``."""
        return self._memory.shared(x)

    def queries(self, x: Tensor) -> Tensor:
        """``x`` itself, for both halves: it's scored against the router's rows unprojected.

        Raises:
            NotShown: in a full pass a token is scored by other tokens' inputs.
        """
        if self._memory.routing == "full":
            raise NotShown(
                "In a full pass of Doge the half scores of a token come from other tokens, so it "
                "has no query of its own. Open it with routing token."
            )
        return x[..., None, None, :].expand(*x.shape[:-1], 1, 2, x.shape[-1])

    def half_keys(self) -> Tensor:
        """The router's rows: those of set 1, then those of set 2."""
        weight = self._memory.router_gate.weight
        rows: Tensor = weight.unflatten(0, (1, 2, self.info.half_keys))
        return rows

    def select(
        self, half_scores: Tensor, x: Tensor | None, masked: Tensor | None = None
    ) -> SiteReads:
        """See ``RoutedSlots``."""
        return self._memory.top_slots.forward(half_scores, x, masked)  # not called: no hooks
