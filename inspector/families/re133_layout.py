"""Which tensors a checkpoint of re133's sparse-memory-lm holds, and what each is in ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from reprlib import repr as brief
from typing import Any, Final

from torch import Tensor

from inspector.errors import CheckpointError, CheckpointMismatch
from inspector.memory.llama import MemoryLlamaConfig

TABLE: Final = "layers.{}.ffn.values.weight"
_NORM_EPSILON: Final = 1e-5  # of torch's BatchNorm1d
_SIZES: Final = ("vocab_size", "d_model", "n_layers", "n_heads", "ffn_hidden", "max_seq_len")
_MEMORY_SIZES: Final = ("mem_n_keys", "mem_heads", "mem_knn", "mem_k_dim")
_MEMORY: Final = ("mem_layers", "mem_v_dim", "mem_query_norm", "mem_swilu", "mem_score_scale")
_TRAINING_ONLY: Final = (
    *("init_std", "mem_value_impl", "mem_keys_weight_decay", "mem_score_scale_init"),
    *("mem_share_values", "mem_value_grad", "mem_impl"),
)
_KNOWN: Final = {*_SIZES, *_MEMORY_SIZES, *_MEMORY, *_TRAINING_ONLY, "rope_theta", "norm_eps"}

Weights = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Options:
    """What ``model_config`` decides of the computation."""

    config: MemoryLlamaConfig
    batch_norm: bool  # of the queries
    scaled: bool  # each head multiplies its scores by a learned number

    @property
    def layers(self) -> list[int]:
        """Blocks with a memory."""
        return list(self.config.memory_layers or [])


def read_options(source: str, said: Any, tables: list[int], names: Iterable[str]) -> Options:
    """What ``model_config``, as found in ``source`` beside tensors of these names, says.

    ``tables`` is the number of the table that each memory layer reads, in their order.

    Raises:
        CheckpointError: it's no configuration, or says what isn't understood.
    """
    layers = memory_layers(source, said)
    unknown = [key for key, value in said.items() if value and key not in _KNOWN]
    if unknown:
        raise CheckpointError(
            f"{source} sets options that the inspector does not know: "
            f"{', '.join(f'{key} = {brief(said[key])}' for key in unknown[:6])}. They may "
            "change what the model computes, so it isn't opened."
        )
    numbers = {name: _whole(source, said, name) for name in (*_SIZES, *_MEMORY_SIZES)}
    blocks = {found[1] for name in names if (found := re.match(r"layers\.(\d+)\.", name))}
    if numbers["n_layers"] > len(blocks):  # a model of far more would fill the memory
        raise CheckpointMismatch(
            f"{source} says n_layers = {numbers['n_layers']}, but there are tensors of "
            f"{len(blocks)} blocks: others are missing.",
            ["n_layers"],
        )
    if layers and numbers["mem_knn"] > numbers["mem_n_keys"]:
        raise CheckpointError(
            f"{source} says mem_knn = {numbers['mem_knn']}, but each set has only "
            f"{numbers['mem_n_keys']} half-keys to choose the best {numbers['mem_knn']} from."
        )
    norm = _one_of(source, said, "mem_query_norm", ("batchnorm", "none"))
    scale = _one_of(source, said, "mem_score_scale", ("none", "learned"))
    try:
        config = MemoryLlamaConfig(
            memory_layers=layers,
            memory_tables=tables,
            memory_projection="swiglu" if _flag(source, said, "mem_swilu") else "none",
            memory_d_value=_d_value(source, said),
            rms_norm_eps=_real(source, said, "norm_eps", 1e-5),
            rope_parameters={
                "rope_type": "default",
                "rope_theta": _real(source, said, "rope_theta", 1e4),
            },
            tie_word_embeddings=True,
            **_named_as_ours(numbers),
        )
        if layers:
            config.memory_shape()
    except Exception as error:  # noqa: BLE001  transformers' validators raise many kinds
        raise CheckpointError(f"{source} describes no usable model: {error}.") from None
    return Options(config, norm == "batchnorm", scale == "learned")


_DEFAULTS: Final[dict[str, Any]] = {
    "mem_layers": [],
    "mem_n_keys": 512,
    "mem_heads": 4,
    "mem_knn": 32,
    "mem_k_dim": 256,
    "mem_v_dim": -1,
    "mem_query_norm": "batchnorm",
    "mem_swilu": True,
    "mem_score_scale": "none",
}


def _named_as_ours(numbers: Mapping[str, int]) -> dict[str, Any]:
    heads = numbers["n_heads"]
    if numbers["d_model"] % heads:
        raise ValueError(f"d_model = {numbers['d_model']} is no multiple of n_heads = {heads}")
    return {
        "vocab_size": numbers["vocab_size"],
        "hidden_size": numbers["d_model"],
        "intermediate_size": numbers["ffn_hidden"],
        "num_hidden_layers": numbers["n_layers"],
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": numbers["d_model"] // heads,
        "max_position_embeddings": numbers["max_seq_len"],
        "memory_half_keys": numbers["mem_n_keys"],
        "memory_heads": numbers["mem_heads"],
        "memory_knn": numbers["mem_knn"],
        "memory_d_key": numbers["mem_k_dim"],
    }


def memory_layers(source: str, said: Any) -> list[int]:
    """Blocks with a memory, counted from 0.

    Raises:
        CheckpointError: ``said`` is no configuration, or doesn't say it.
    """
    if not isinstance(said, Mapping):
        raise CheckpointError(
            f"{source}: model_config is a {type(said).__name__}; expected its settings by name."
        )
    value = said.get("mem_layers", [])
    if not isinstance(value, list | tuple) or not all(type(layer) is int for layer in value):
        raise CheckpointError(
            f"{source}: mem_layers is {brief(value)}; expected numbers of blocks."
        )
    return sorted(value)


def _whole(source: str, said: Mapping[str, Any], key: str) -> int:
    value = said.get(key, _DEFAULTS.get(key))
    if type(value) is not int or not 0 < value < 2**31:
        raise CheckpointError(
            f"{source}: {key} is {brief(value)}; expected a whole number above 0."
        )
    return value


def _real(source: str, said: Mapping[str, Any], key: str, default: float) -> float:
    value = said.get(key, default)
    if type(value) not in (int, float) or not 0 < value < 1e30:
        raise CheckpointError(f"{source}: {key} is {brief(value)}; expected a number above 0.")
    return float(value)


def _flag(source: str, said: Mapping[str, Any], key: str) -> bool:
    value = said.get(key, _DEFAULTS[key])
    if not isinstance(value, bool):
        raise CheckpointError(f"{source}: {key} is {brief(value)}; expected True or False.")
    return value


def _one_of(source: str, said: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str:
    value = said.get(key, _DEFAULTS[key])
    if value not in known:
        raise CheckpointError(f"{source}: {key} is {brief(value)}; expected {' or '.join(known)}.")
    return str(value)


def _d_value(source: str, said: Mapping[str, Any]) -> int:
    chosen = said.get("mem_v_dim", -1)
    return _whole(source, said, "mem_v_dim" if chosen != -1 else "d_model")


def shapes_of(options: Options) -> Shapes:
    """Every tensor that a checkpoint holds beside its value tables, and its shape."""
    config = options.config
    d = config.hidden_size
    shapes: Shapes = {"tok_emb.weight": (config.vocab_size, d), "norm.weight": (d,)}
    for block in range(config.num_hidden_layers):
        own: Shapes = {
            "attn_norm.weight": (d,),
            "ffn_norm.weight": (d,),
            "attn.wqkv.weight": (3 * d, d),
            "attn.wo.weight": (d, d),
        }
        if block in options.layers:
            own |= {f"ffn.{name}": shape for name, shape in _memory_shapes(options).items()}
        else:
            own["ffn.w13.weight"] = (2 * config.intermediate_size, d)
            own["ffn.w2.weight"] = (d, config.intermediate_size)
        shapes |= {f"layers.{block}.{name}": shape for name, shape in own.items()}
    return shapes


def _memory_shapes(options: Options) -> Shapes:
    shape = options.config.memory_shape()
    d, width = shape.d_model, shape.heads * shape.d_key
    named: Shapes = {
        "keys": (shape.heads, 2, shape.half_keys, shape.d_key // 2),
        "query_proj.weight": (width, d),
        "query_proj.bias": (width,),
    }
    if options.batch_norm:
        parts = ("weight", "bias", "running_mean", "running_var")
        named |= {f"query_norm.{part}": (width,) for part in parts}
    if options.scaled:
        named["log_score_scale"] = (shape.heads,)
    if shape.projection == "swiglu":
        named |= {"swilu_proj.weight": (shape.d_value, d), "swilu_proj.bias": (shape.d_value,)}
        named |= {"value_proj.weight": (d, shape.d_value), "value_proj.bias": (d,)}
    return named


def as_ours(options: Options, theirs: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The weights under the names of a MemoryLlama, split and folded as it has them."""
    yield "model.embed_tokens.weight", theirs["tok_emb.weight"].clone()
    yield "model.norm.weight", theirs["norm.weight"].clone()
    for block in range(options.config.num_hidden_layers):
        at, to = f"layers.{block}.", f"model.layers.{block}."
        yield f"{to}input_layernorm.weight", theirs[f"{at}attn_norm.weight"].clone()
        yield f"{to}post_attention_layernorm.weight", theirs[f"{at}ffn_norm.weight"].clone()
        for kind, part in zip("qkv", theirs[f"{at}attn.wqkv.weight"].chunk(3), strict=True):
            yield f"{to}self_attn.{kind}_proj.weight", part.clone()
        yield f"{to}self_attn.o_proj.weight", theirs[f"{at}attn.wo.weight"].clone()
        if block in options.layers:
            yield from _memory(options, theirs, f"{at}ffn.", f"{to}mlp.")
            continue
        gate, up = theirs[f"{at}ffn.w13.weight"].chunk(2)
        yield f"{to}mlp.gate_proj.weight", gate.clone()
        yield f"{to}mlp.up_proj.weight", up.clone()
        yield f"{to}mlp.down_proj.weight", theirs[f"{at}ffn.w2.weight"].clone()


def _memory(
    options: Options, theirs: Mapping[str, Tensor], at: str, to: str
) -> Iterator[tuple[str, Tensor]]:
    yield f"{to}half_key_scores.half_keys", theirs[f"{at}keys"].clone()
    weight, bias = _folded_query(options, theirs, at)
    yield f"{to}half_key_scores.query.weight", weight
    yield f"{to}half_key_scores.query.bias", bias
    if options.config.memory_projection == "swiglu":
        for name, ours in (("swilu_proj", "gate_proj"), ("value_proj", "value_proj")):
            for part in ("weight", "bias"):
                yield f"{to}{ours}.{part}", theirs[f"{at}{name}.{part}"].clone()


def _folded_query(options: Options, theirs: Mapping[str, Tensor], at: str) -> tuple[Tensor, Tensor]:
    """The query projection with what follows it: once trained, both are linear.

    A batch norm with running statistics subtracts, divides, multiplies and adds fixed numbers; a
    head's scale multiplies all of its scores, and so may as well multiply its query.
    """
    stored = theirs[f"{at}query_proj.weight"]
    weight, bias = stored.double(), theirs[f"{at}query_proj.bias"].double()
    if options.batch_norm:
        scale, shift, mean, variance = (
            theirs[f"{at}query_norm.{part}"].double()
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = scale / (variance + _NORM_EPSILON).sqrt()
        weight, bias = weight * scale[:, None], (bias - mean) * scale + shift
    if options.scaled:
        by_head = theirs[f"{at}log_score_scale"].double().exp()
        by_row = by_head.repeat_interleave(len(weight) // len(by_head))
        weight, bias = weight * by_row[:, None], bias * by_row
    return weight.to(stored.dtype), bias.to(stored.dtype)


def negative_variance(options: Options, theirs: Mapping[str, Tensor]) -> str | None:
    """The name of a running variance that cannot be one; None if all can."""
    for block in options.layers if options.batch_norm else ():
        name = f"layers.{block}.ffn.query_norm.running_var"
        if (theirs[name] < 0).any():
            return name
    return None
