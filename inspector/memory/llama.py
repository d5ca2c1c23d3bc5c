"""MemoryLlama: the Llama of transformers with memory layers in chosen blocks.

Everything but the feed-forward of those blocks is transformers' own code, so ``from_pretrained``,
``save_pretrained`` and ``generate`` work as for any Llama.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers import initialization as init
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM, LlamaMLP, LlamaModel

from inspector.memory.layer import HalfKeyScores, MemoryShape, ProductKeyMemory
from inspector.memory.values import ValueTable


class MemoryLlamaConfig(LlamaConfig):  # type: ignore[misc]
    """Llama's configuration, and where and what the memory layers are.

    ``memory_layers`` are the 0-based blocks; ``memory_tables[m]`` is the number of the value table
    that the m-th of them reads (all 0 by default: one table, shared). ``intermediate_sizes`` gives
    the width of the feed-forward per block (entries of memory blocks are not used); without it
    every block has ``intermediate_size``. The other fields are those of ``MemoryShape``.
    """

    model_type = "memory_llama"

    memory_layers: list[int] | None = None
    memory_tables: list[int] | None = None
    memory_heads: int = 4
    memory_knn: int = 32
    memory_half_keys: int = 128
    memory_d_key: int = 128
    memory_d_value: int | None = None
    memory_projection: str = "swiglu"
    memory_sigmoid_gate: bool = False
    memory_query_bias: bool = True
    memory_query_norm: str = "none"
    memory_key_norm: str = "none"
    memory_activation: str = "none"
    intermediate_sizes: list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Fill in what was left out and refuse a layout that the blocks cannot have."""
        self.memory_layers = self.memory_layers or []
        self.memory_tables = self.memory_tables or [0] * len(self.memory_layers)
        super().__post_init__(**kwargs)
        blocks = range(self.num_hidden_layers)
        if len(set(self.memory_layers)) != len(self.memory_layers) or not all(
            layer in blocks for layer in self.memory_layers
        ):
            raise ValueError(
                f"memory_layers = {self.memory_layers} must be distinct blocks of 0 to "
                f"{self.num_hidden_layers - 1}"
            )
        if len(self.memory_tables) != len(self.memory_layers):
            raise ValueError(
                f"memory_tables names {len(self.memory_tables)} tables for "
                f"{len(self.memory_layers)} memory layers"
            )
        pairs = sorted(zip(self.memory_layers, self.memory_tables, strict=True))
        self.memory_layers = [layer for layer, _ in pairs]
        self.memory_tables = [table for _, table in pairs]
        tables = set(self.memory_tables)
        if tables != set(range(len(tables))):
            raise ValueError(f"memory_tables = {self.memory_tables} must count up from 0")
        if self.intermediate_sizes is not None and len(self.intermediate_sizes) != len(blocks):
            raise ValueError(
                f"intermediate_sizes has {len(self.intermediate_sizes)} entries for "
                f"{len(blocks)} blocks"
            )

    def memory_shape(self) -> MemoryShape:
        """The shape all memory layers of this model have.

        Raises:
            ValueError: the fields make no memory layer.
        """
        return MemoryShape(
            d_model=self.hidden_size,
            heads=self.memory_heads,
            knn=self.memory_knn,
            half_keys=self.memory_half_keys,
            d_key=self.memory_d_key,
            d_value=self.memory_d_value or self.hidden_size,
            projection=self.memory_projection,  # type: ignore[arg-type]
            sigmoid_gate=self.memory_sigmoid_gate,
            query_bias=self.memory_query_bias,
            query_norm=self.memory_query_norm,  # type: ignore[arg-type]
            key_norm=self.memory_key_norm,  # type: ignore[arg-type]
            activation=self.memory_activation,  # type: ignore[arg-type]
        )


class _MemoryInit:
    """How memory parameters start; a mixin of both model classes below."""

    def _init_weights(self, module: nn.Module) -> None:
        """Half-keys uniform, values normal with unit expected norm, the rest as in Llama."""
        if isinstance(module, HalfKeyScores):
            bound = module.half_keys.shape[-1] ** -0.5
            init.uniform_(module.half_keys, -bound, bound)
        elif isinstance(module, ValueTable):
            init.normal_(module.weight, mean=0.0, std=module.d_value**-0.5)
        else:
            super()._init_weights(module)  # type: ignore[misc]


class MemoryLlamaModel(_MemoryInit, LlamaModel):  # type: ignore[misc]
    """Llama's trunk with memory layers; it owns the value tables that they read."""

    config_class = MemoryLlamaConfig

    def __init__(self, config: MemoryLlamaConfig) -> None:
        """Build Llama's trunk, then give each block the feed-forward or memory it should have."""
        super().__init__(config)
        layers = config.memory_layers or []
        shape = config.memory_shape() if layers else None
        self.value_tables, self.activation_tables = nn.ModuleList(), nn.ModuleList()
        if shape is not None:
            for _ in sorted(set(config.memory_tables or [])):
                self.value_tables.append(ValueTable(shape.slots, shape.d_value))
                if shape.activation != "none":
                    self.activation_tables.append(ValueTable(shape.slots, shape.d_model))
        for layer, block in enumerate(self.layers):
            if shape is not None and layer in layers:
                block.mlp = self._memory(config.memory_tables[layers.index(layer)], shape)  # type: ignore[index]
            elif config.intermediate_sizes is not None:
                own = copy.copy(config)
                own.intermediate_size = config.intermediate_sizes[layer]
                block.mlp = LlamaMLP(own)
        self.post_init()

    def _memory(self, number: int, shape: MemoryShape) -> ProductKeyMemory:
        """A memory layer that reads the tables of this number."""
        table = self.value_tables[number]
        second = self.activation_tables[number] if len(self.activation_tables) else None
        assert isinstance(table, ValueTable)
        assert second is None or isinstance(second, ValueTable)
        return ProductKeyMemory(shape, table, second)


class MemoryLlamaForCausalLM(_MemoryInit, LlamaForCausalLM):  # type: ignore[misc]
    """A causal language model with memory layers: transformers' API, our memory."""

    config_class = MemoryLlamaConfig

    def __init__(self, config: MemoryLlamaConfig) -> None:
        """Llama's head on a trunk with memory layers."""
        super().__init__(config)
        self.model = MemoryLlamaModel(config)
        self.post_init()

    @property
    def value_tables(self) -> tuple[ValueTable, ...]:
        """Value tables by their number."""
        return tuple(t for t in self.model.value_tables if isinstance(t, ValueTable))

    @property
    def activation_tables(self) -> tuple[ValueTable, ...]:
        """PEER's rows ``u``, by the number of the value table they belong to; else empty."""
        return tuple(t for t in self.model.activation_tables if isinstance(t, ValueTable))

    @property
    def memory_layers(self) -> dict[int, ProductKeyMemory]:
        """Memory layers by block number, in order."""
        return {
            layer: block.mlp
            for layer, block in enumerate(self.model.layers)
            if isinstance(block.mlp, ProductKeyMemory)
        }


AutoConfig.register(MemoryLlamaConfig.model_type, MemoryLlamaConfig, exist_ok=True)
AutoModelForCausalLM.register(MemoryLlamaConfig, MemoryLlamaForCausalLM, exist_ok=True)
