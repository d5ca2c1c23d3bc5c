"""Which tensors a checkpoint of Meta's code holds, and what each is in ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from inspector.errors import CheckpointError, CheckpointMismatch
from inspector.families.meta_params import Memory, Params
from inspector.memory.layer import MemoryShape
from inspector.memory.llama import MemoryLlamaConfig

# Names that forks gave to the same tensors.
_ALIASES: Final = (
    (re.compile(r"(\.feed_forward\.query_proj)\.proj\.(weight|bias)$"), r"\1.query_mlps.0.\2"),
    (re.compile(r"(\.feed_forward\.values(?:_[uv])?)$"), r"\1.weight"),
)
# Buffers that the model makes anew, and what a PEER layer carries but never uses.
_UNUSED: Final = re.compile(r"(^|\.)(rope_embeddings?\.|freqs_cis$)|\.(last_indices|last_scores)$")
_UNUSED_BY_PEER: Final = re.compile(
    r"\.feed_forward\.(value_proj|swilu_projection)\.(weight|bias)$"
)


def _unturned(tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True)
class Entry:
    """One tensor: its name in the file, its name in a MemoryLlama, its shape in the file."""

    theirs: str
    ours: str
    shape: tuple[int, ...]
    turn: Callable[[Tensor], Tensor] = _unturned  # from their layout into ours
    copy: bool = False  # of a shared table: an earlier entry is the same


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` with forks' names replaced by Meta's own."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        plain = name
        for pattern, replacement in _ALIASES:
            plain = pattern.sub(replacement, plain)
        if plain in found:
            raise CheckpointMismatch(f"The checkpoint holds {plain} twice, once as {name}.", [name])
        found[plain] = tensor
    return found


def unused(params: Params, names: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Names of tensors that the computation has no use for."""
    peer = params.memory is not None and params.memory.peer
    return tuple(
        name for name in names if _UNUSED.search(name) or (peer and _UNUSED_BY_PEER.search(name))
    )


def config_of(params: Params, state: Mapping[str, Tensor], shared: bool) -> MemoryLlamaConfig:
    """The configuration of the model, from ``params`` and, for what it leaves out, the tensors.

    ``shared``: all memory layers read one table.

    Raises:
        CheckpointMismatch: the tensors are another model's.
        CheckpointError: it's none that can be built.
    """
    vocabulary, d_model = _embeddings(params, state)
    memory = params.memory
    fields = {} if memory is None else _memory_fields(params, memory, state)
    if memory is not None and shared:
        fields["memory_tables"] = [0] * len(memory.layers)
    try:
        config = MemoryLlamaConfig(
            vocab_size=vocabulary,
            hidden_size=d_model,
            intermediate_size=params.width,
            num_hidden_layers=params.layers,
            num_attention_heads=params.heads,
            num_key_value_heads=params.kv_heads,
            head_dim=params.head_width,
            max_position_embeddings=params.positions,
            rms_norm_eps=params.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": params.rope_theta},
            tie_word_embeddings=params.tied,
            **fields,
        )
        if memory is not None:
            config.memory_shape()
    except Exception as error:  # noqa: BLE001  transformers' validators raise many kinds
        raise CheckpointError(f"{params.file} describes no usable model: {error}.") from None
    return config


def _embeddings(params: Params, state: Mapping[str, Tensor]) -> tuple[int, int]:
    """Size of the vocabulary and d_model; that the file has as many blocks as it should."""
    table = state.get("tok_embeddings.weight")
    if table is None or table.ndim != 2:
        raise CheckpointMismatch(
            "The checkpoint has no matrix tok_embeddings.weight: it is no model of Meta's code.",
            ["tok_embeddings.weight"],
        )
    if table.shape[1] != params.d_model:
        _disagree(params, "model.dim", params.d_model, table.shape[1], "tok_embeddings.weight")
    blocks = {int(found[1]) for name in state if (found := re.match(r"layers\.(\d+)\.", name))}
    if len(blocks) != params.layers or max(blocks) >= params.layers:
        _disagree(params, "model.n_layers", params.layers, len(blocks), "layers.*")
    return table.shape[0], table.shape[1]


def _disagree(params: Params, option: str, said: int, found: int, name: str) -> None:
    raise CheckpointMismatch(
        f"{params.file} says {option} = {said}, but by the shape of {name} it is {found}. They "
        "belong to different runs.",
        [name],
    )


def _memory_fields(
    params: Params, memory: Memory, state: Mapping[str, Tensor]
) -> dict[str, object]:
    blocks = range(params.layers)
    if not memory.layers or any(layer not in blocks for layer in memory.layers):
        raise CheckpointError(
            f"{params.file}: model.productkey_args.layers names blocks {list(memory.layers)}; "
            f"expected some of 0 to {params.layers - 1}."
        )
    sizes = _memory_sizes(params, memory, state)
    if memory.knn > sizes["memory_half_keys"]:
        raise CheckpointError(
            f"{params.file} says mem_knn = {memory.knn}, but each set has only "
            f"{sizes['memory_half_keys']} half-keys to choose the best {memory.knn} from."
        )
    projected = not memory.peer and (memory.swilu or memory.d_value > 0)
    linear = "swiglu" if memory.swilu else "linear"
    return {
        **sizes,
        "memory_layers": list(memory.layers),
        "memory_tables": list(range(len(memory.layers))),
        "memory_knn": memory.knn,
        "memory_d_value": params.d_model if memory.peer or memory.d_value < 0 else memory.d_value,
        "memory_projection": linear if projected else "none",
        "memory_sigmoid_gate": memory.gated,
        "memory_activation": "gelu" if memory.peer else "none",
    }


def _memory_sizes(params: Params, memory: Memory, state: Mapping[str, Tensor]) -> dict[str, int]:
    """Heads, half-keys and d_key as the first memory layer's shapes have them."""
    prefix = f"layers.{memory.layers[0]}.feed_forward."
    keys, query = (state.get(prefix + n) for n in ("keys", "query_proj.query_mlps.0.weight"))
    if keys is None or query is None or keys.ndim != 2 or query.ndim != 2:
        raise CheckpointMismatch(
            f"{params.file} says that block {memory.layers[0]} has a memory, but {prefix}keys and "
            f"{prefix}query_proj.query_mlps.0.weight are not both there as matrices.",
            [f"{prefix}keys"],
        )
    d_key = 2 * keys.shape[1]
    heads = query.shape[0] // max(d_key, 1)
    half_keys = keys.shape[0] // max(2 * heads, 1)
    said = (memory.heads, memory.half_keys, memory.d_key)
    options = ("mem_heads", "mem_n_keys", "mem_k_dim")
    for option, stated, found in zip(options, said, (heads, half_keys, d_key), strict=True):
        if stated is not None and stated != found:
            _disagree(params, f"model.productkey_args.{option}", stated, found, f"{prefix}keys")
    return {"memory_heads": heads, "memory_half_keys": half_keys, "memory_d_key": d_key}


def interleaved_to_halves(heads: int) -> Callable[[Tensor], Tensor]:
    """Rows of a query or key projection, from rotary pairs side by side to pairs a half apart."""

    def turn(weight: Tensor) -> Tensor:
        pairs = weight.view(heads, weight.shape[0] // heads // 2, 2, weight.shape[1])
        return pairs.transpose(1, 2).reshape(weight.shape)

    return turn


def layout(config: MemoryLlamaConfig) -> Iterator[Entry]:
    """Every tensor that a checkpoint of this configuration holds."""
    d, vocabulary = config.hidden_size, config.vocab_size
    yield Entry("tok_embeddings.weight", "model.embed_tokens.weight", (vocabulary, d))
    yield Entry("norm.weight", "model.norm.weight", (d,))
    if not config.tie_word_embeddings:
        yield Entry("output.weight", "lm_head.weight", (vocabulary, d))
    layers, tables = config.memory_layers or [], config.memory_tables or []
    for block in range(config.num_hidden_layers):
        theirs, ours = f"layers.{block}.", f"model.layers.{block}."
        yield Entry(f"{theirs}attention_norm.weight", f"{ours}input_layernorm.weight", (d,))
        yield Entry(f"{theirs}ffn_norm.weight", f"{ours}post_attention_layernorm.weight", (d,))
        yield from _attention(config, theirs, ours)
        if block not in layers:
            yield from _dense(d, config.intermediate_size, f"{theirs}feed_forward.", f"{ours}mlp.")
            continue
        shape, place = config.memory_shape(), layers.index(block)
        yield from _memory(shape, f"{theirs}feed_forward.", f"{ours}mlp.")
        copy = tables[place] in tables[:place]
        yield from _tables(shape, f"{theirs}feed_forward.", tables[place], copy=copy)


def _dense(d: int, width: int, theirs: str, ours: str) -> Iterator[Entry]:
    yield Entry(f"{theirs}w1.weight", f"{ours}gate_proj.weight", (width, d))
    yield Entry(f"{theirs}w3.weight", f"{ours}up_proj.weight", (width, d))
    yield Entry(f"{theirs}w2.weight", f"{ours}down_proj.weight", (d, width))


def _attention(config: MemoryLlamaConfig, theirs: str, ours: str) -> Iterator[Entry]:
    d, width = config.hidden_size, config.head_dim
    for kind, heads in (
        ("q", config.num_attention_heads),
        ("k", config.num_key_value_heads),
        ("v", config.num_key_value_heads),
    ):
        names = f"{theirs}attention.w{kind}.weight", f"{ours}self_attn.{kind}_proj.weight"
        turn = _unturned if kind == "v" else interleaved_to_halves(heads)
        yield Entry(*names, (heads * width, d), turn)
    size = (d, config.num_attention_heads * width)
    yield Entry(f"{theirs}attention.wo.weight", f"{ours}self_attn.o_proj.weight", size)


def _memory(shape: MemoryShape, theirs: str, ours: str) -> Iterator[Entry]:
    d, n, d_half = shape.d_model, shape.half_keys, shape.d_key // 2
    queries = shape.heads * shape.d_key
    query, scores = "query_proj.query_mlps.0", f"{ours}half_key_scores"

    def by_head(keys: Tensor) -> Tensor:
        return keys.view(shape.heads, 2, n, d_half)

    yield Entry(f"{theirs}keys", f"{scores}.half_keys", (2 * shape.heads * n, d_half), by_head)
    yield Entry(f"{theirs}{query}.weight", f"{scores}.query.weight", (queries, d))
    yield Entry(f"{theirs}{query}.bias", f"{scores}.query.bias", (queries,))
    linears = []
    if shape.projection == "swiglu":
        linears.append(("swilu_projection", "gate_proj", shape.d_value, d))
    if shape.projection != "none":
        linears.append(("value_proj", "value_proj", d, shape.d_value))
    if shape.sigmoid_gate:
        linears.append(("gating", "sigmoid_gate", 1, d))
    for name, module, rows, columns in linears:
        yield Entry(f"{theirs}{name}.weight", f"{ours}{module}.weight", (rows, columns))
        yield Entry(f"{theirs}{name}.bias", f"{ours}{module}.bias", (rows,))


def table_names(prefix: str, peer: bool) -> tuple[str, ...]:
    """Names of the values, and in a PEER layer also of the rows that make activations."""
    names = ("values_v", "values_u") if peer else ("values",)
    return tuple(f"{prefix}{name}.weight" for name in names)


def _tables(shape: MemoryShape, theirs: str, table: int, *, copy: bool) -> Iterator[Entry]:
    peer = shape.activation != "none"
    ours = ("value_tables", "activation_tables")
    widths = (shape.d_value, shape.d_model)
    for name, kind, width in zip(table_names(theirs, peer), ours, widths, strict=False):
        yield Entry(name, f"model.{kind}.{table}.weight", (shape.slots, width), copy=copy)
