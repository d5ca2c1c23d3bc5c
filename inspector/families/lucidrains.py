"""The memory layers of lucidrains' packages, where they stand in a user's own model.

``product_key_memory.PKM`` (0.3.0) and ``PEER_pytorch.PEER`` (0.2.2). The module's own code runs:
hooks on its parts read what it chose, show it to the inspector's hooks and, where an edit made
other reads of it, hand those to the parts that fetch and weigh.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inspector.errors import CheckpointError
from inspector.families.base import Site, SiteInfo
from inspector.memory.product_keys import SiteReads, select_slots, slot_scores
from inspector.memory.values import ValueTable


@dataclass
class _Pass:
    """What one module has computed so far in the pass it is in. Threads have their own."""

    site: LucidrainsSite  # whose it is: a table's module may be a part of several
    x: Tensor
    half_scores: Tensor | None = None
    scores: Tensor | None = None
    weights: Tensor | None = None
    reads: SiteReads | None = None
    edited: SiteReads | None = None  # what the module is to use instead, if anything


_passing: ContextVar[_Pass | None] = ContextVar("inspector_lucidrains", default=None)


class HandedReads(nn.Module):
    """The reads that the module chose, at a place where hooks can see and replace them."""

    def forward(self, half_scores: Tensor, x: Tensor) -> SiteReads:
        """The reads of the pass under way; ``half_scores`` and ``x`` are what they're made of."""
        current = _passing.get()
        assert current is not None
        assert current.reads is not None
        return current.reads


def table_over(weight: nn.Parameter) -> ValueTable:
    """A value table whose rows are ``weight [slot d_value]`` itself, not a copy."""
    with torch.device("meta"):
        table = ValueTable(*weight.shape)
    table.weight = weight
    return table


class LucidrainsSite(Site):
    """What both modules have in common."""

    def __init__(self, info: SiteInfo, module: Any, table: ValueTable) -> None:
        """The module's hooks are put on here, for good; they change nothing by themselves."""
        self.info, self.module, self.table = info, module, table
        self._own = module
        self.top_slots = HandedReads()
        module.register_forward_pre_hook(self._enter)
        module.register_forward_hook(self._leave, always_call=True)

    def _enter(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        _passing.set(_Pass(self, inputs[0]))

    def _leave(self, _module: nn.Module, _inputs: Any, _output: Any) -> None:
        _passing.set(None)

    def _current(self) -> _Pass | None:
        """This module's pass in this thread, if it is in one."""
        current = _passing.get()
        return current if current is not None and current.site is self else None

    def _hand_over(self, current: _Pass) -> SiteReads | None:
        """Show the reads to the inspector's hooks; what they made of them, if anything."""
        reads = self.top_slots(current.half_scores, current.x)
        current.edited = None if reads is current.reads else reads
        return current.edited

    def _weigh(self, scores: Tensor) -> Tensor:
        """The module's own normalisation of ``scores [... head knn]``."""
        raise NotImplementedError

    def gate(self, x: Tensor) -> Tensor | None:
        """Nothing gates the sum."""
        return None

    def project(self, values: Tensor, gate: Tensor | None) -> Tensor:
        """Values live in the residual stream."""
        return values

    def remainder(self, x: Tensor) -> Tensor:
        """Nothing is added beside the reads."""
        return torch.zeros_like(x)

    def half_keys(self) -> Tensor:
        """The module has them as ``[head half_key half d_half]``."""
        keys: Tensor = self._own.keys
        return keys.permute(0, 2, 1, 3)

    def select(
        self, half_scores: Tensor, x: Tensor | None, masked: Tensor | None = None
    ) -> SiteReads:
        """The lookup that the module makes, with some slots left out."""
        slots = select_slots(self._searched(half_scores), self.info.knn, masked)
        scores = slot_scores(half_scores, slots)
        weights = self._weigh(scores)
        activation = None if x is None else self.activation(x, slots)
        weighed = weights if activation is None else weights * activation.to(weights.dtype)
        return SiteReads(slots, scores, weights, weighed)

    def _searched(self, half_scores: Tensor) -> Tensor:
        """Half scores as they are searched; those that the module leaves out are -inf."""
        return half_scores


class PkmSite(LucidrainsSite):
    """A ``product_key_memory.PKM``.

    With ``concat_values_and_combine`` the values of each head go through a matrix of its own and
    the weights are ignored: every read counts 1, and there are no contributions in one value
    space. With ``norm_output`` the sum is normed, so that it is none of its reads.
    """

    def __init__(self, layer: int, table: int, module: Any) -> None:
        """The module of block ``layer``."""
        heads, half_keys, _, d_half = module.keys.shape
        self._whole = bool(module.concat_values_and_combine)
        competing = isinstance(module.gate_activation, nn.Softmax)
        values = module.values.weight
        info = SiteInfo(
            layer=layer,
            table=table,
            heads=heads,
            knn=module.topk,
            half_keys=half_keys,
            d_model=module.to_queries.in_features,
            d_key=2 * d_half,
            d_value=values.shape[1],
            gated=False,
            normalisation="none" if self._whole else "softmax" if competing else "relu",
            additive=not self._whole and isinstance(module.output_norm, nn.Identity),
        )
        _check_pkm(info.name, module)
        super().__init__(info, module, table_over(values))
        module.query_dropout.register_forward_hook(self._on_queries)
        module.gate_activation.register_forward_hook(self._on_weights)
        module.values.register_forward_pre_hook(self._before_values, with_kwargs=True)
        if self._whole:
            module.values.register_forward_hook(self._on_rows)

    def _weigh(self, scores: Tensor) -> Tensor:
        if self._whole:
            return torch.ones_like(scores)
        weights: Tensor = self._own.gate_activation.forward(scores)  # not called: no hooks
        return weights

    def queries(self, x: Tensor) -> Tensor:
        """Projected, split by half and then by head, and each normed."""
        own = self._own
        split = own.to_queries(own.pre_layernorm(x)).unflatten(-1, (2, self.info.heads, -1))
        normed: Tensor = own.norm(split)  # [... half head d_half]
        return normed.transpose(-3, -2)

    def _on_queries(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if (current := self._current()) is None:
            return
        split = output.unflatten(0, (-1, 2, self.info.heads))  # [batch half head pos d_half]
        dots = torch.einsum("bphtd,hnpd->bthpn", split, self._own.keys)
        current.half_scores = dots if dots.dtype == torch.float64 else dots.float()

    def _on_weights(self, _module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        if (current := self._current()) is not None:
            current.scores = inputs[0]
            current.weights = torch.ones_like(output) if self._whole else output

    def _before_values(self, module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        current = self._current()
        if current is None or current.scores is None or current.weights is None:
            return None
        slots, weights = args[0].view(current.scores.shape), current.weights
        current.reads = SiteReads(slots, current.scores, weights, weights)
        edited = self._hand_over(current)
        if edited is None:
            return None
        indices = edited.slots.reshape(args[0].shape)
        if self._whole:
            return (indices,), kwargs
        weighed = edited.coefficients.to(module.weight.dtype).reshape(args[0].shape)
        return (indices,), {**kwargs, "per_sample_weights": weighed}

    def _on_rows(self, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
        current = self._current()
        if current is None or current.edited is None:
            return None
        return output * current.edited.coefficients.to(output).reshape(*output.shape[:-1], 1)


def _check_pkm(name: str, module: Any) -> None:
    if not module.use_layernorm:
        raise CheckpointError(
            f"The PKM at {name} norms its queries over the batch (use_layernorm=False), so that a "
            "token's reads depend on other texts. Only PKM with use_layernorm=True can be opened."
        )
    if module.differentiable_topk:
        raise CheckpointError(
            f"The PKM at {name} chooses slots by a relaxed top k (differentiable_topk=True), whose "
            "scores are no sums of half scores. Set differentiable_topk to False to open it."
        )


class PeerSite(LucidrainsSite):
    """A ``PEER_pytorch.PEER``: a read counts its weight times an activation of ``down . x``."""

    def __init__(self, layer: int, table: int, module: Any) -> None:
        """The module of block ``layer``."""
        heads, half_keys, _, d_half = module.keys.shape
        competing = isinstance(module.score_activation, nn.Softmax)
        values = module.weight_up_embed.weight
        info = SiteInfo(
            layer=layer,
            table=table,
            heads=heads,
            knn=module.num_experts_per_head_topk,
            half_keys=half_keys,
            d_model=module.to_queries[0].in_features,
            d_key=2 * d_half,
            d_value=values.shape[1],
            gated=False,
            normalisation="softmax" if competing else "relu",
            activation=type(module.activation).__name__.lower(),
        )
        if module.separate_embed_per_head:
            raise CheckpointError(
                f"The PEER at {info.name} gives every head rows of its own "
                "(separate_embed_per_head=True), so that a slot holds several values. Only PEER "
                "whose heads share their rows can be opened."
            )
        super().__init__(info, module, table_over(values))
        self.activation_table = table_over(module.weight_down_embed.weight)
        module.to_queries.register_forward_hook(self._on_queries)
        module.weight_down_embed.register_forward_pre_hook(self._before_down)
        module.weight_up_embed.register_forward_pre_hook(self._before_up)
        module.dropout.register_forward_hook(self._on_activation)
        module.score_activation.register_forward_hook(self._on_weights)

    def _weigh(self, scores: Tensor) -> Tensor:
        weights: Tensor = self._own.score_activation.forward(scores)  # not called: no hooks
        return weights

    def activation(self, x: Tensor, slots: Tensor) -> Tensor:
        """The module's activation of ``down . norm(x)``, ``[... head knn]``."""
        rows = self._own.weight_down_embed.weight[slots]  # [... head knn d_model]
        products = torch.einsum("...d,...hkd->...hk", self._own.norm(x), rows)
        activation: Tensor = self._own.activation(products)
        return activation

    def queries(self, x: Tensor) -> Tensor:
        """Projected, split by half and then by head."""
        own = self._own
        split: Tensor = own.to_queries[0](own.norm(x)).unflatten(-1, (2, self.info.heads, -1))
        return split.transpose(-3, -2)

    def _searched(self, half_scores: Tensor) -> Tensor:
        """The module looks at its best ``product_key_topk`` half-keys of each set only."""
        depth = self._own.product_key_topk
        if depth >= min(self.info.knn, self.info.half_keys):
            return half_scores  # then the best sums are among them
        best = half_scores.topk(depth, dim=-1)
        left_out = torch.full_like(half_scores, -torch.inf)
        return left_out.scatter(-1, best.indices, best.values)

    def _on_queries(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if (current := self._current()) is not None:
            dots = torch.einsum("pbnhd,hkpd->bnhpk", output, self._own.keys)
            current.half_scores = dots if dots.dtype == torch.float64 else dots.float()

    def _before_down(self, _module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
        """The module has chosen. It weighs later, by the same modules that are asked here."""
        current = self._current()
        if current is None or current.half_scores is None:
            return None
        slots = inputs[0]
        scores = slot_scores(current.half_scores, slots)
        weights = self._weigh(scores)
        weighed = weights * self.activation(current.x, slots).to(weights.dtype)
        current.reads = SiteReads(slots, scores, weights, weighed)
        edited = self._hand_over(current)
        return None if edited is None else (edited.slots,)

    def _before_up(self, _module: nn.Module, _inputs: Any) -> tuple[Tensor] | None:
        current = self._current()
        return None if current is None or current.edited is None else (current.edited.slots,)

    def _on_activation(self, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
        """Edited coefficients hold the activation already."""
        current = self._current()
        return None if current is None or current.edited is None else torch.ones_like(output)

    def _on_weights(self, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
        current = self._current()
        if current is None or current.edited is None:
            return None
        return current.edited.coefficients.to(output.dtype)
