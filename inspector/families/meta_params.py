"""The ``params.json`` of Meta's training code: which model it says it trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from inspector.errors import CheckpointError, CheckpointNotFound
from inspector.families.tokenizer_files import read_json

_SIZES = ("dim", "n_layers", "head_dim", "n_heads", "n_kv_heads", "vocab_size", "max_seqlen")
_WIDTH = ("ffn_dim_multiplier", "multiple_of")
_MODEL: Final = {*_SIZES, *_WIDTH, "norm_eps", "rope_theta", "weight_tying", "productkey_args"}
_MEMORY_SIZES = ("mem_n_keys", "mem_heads", "mem_knn", "mem_k_dim", "mem_v_dim")
_FLAGS = ("is_enabled", "mem_share_values", "swilu_projection", "mem_gated", "peer_variant")
_MEMORY: Final = {"layers", *_MEMORY_SIZES, *_FLAGS}
_TRAINING_ONLY: Final = ("init_", "seed", "value_fixed_lr", "dropout", "_lr")
_DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Memory:
    """``model.productkey_args``. A size of None isn't stated: the tensors tell."""

    layers: tuple[int, ...]
    knn: int
    half_keys: int | None
    heads: int | None
    d_key: int | None
    d_value: int  # -1 where it is d_model
    share_values: bool
    swilu: bool
    gated: bool
    peer: bool


@dataclass(frozen=True)
class Params:
    """What of ``params.json`` decides the computation."""

    file: Path
    d_model: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    width: int  # of the dense feed-forward
    norm_eps: float
    rope_theta: float
    positions: int
    tied: bool
    memory: Memory | None
    dtype: torch.dtype | None  # it was trained in
    tokenizer: str
    tokenizer_path: str | None
    add_bos: bool


class _Section:
    """One object of ``params.json``; what it's asked for must be there and be of its kind."""

    def __init__(self, file: Path, name: str, values: Any) -> None:
        self.file, self.name = file, name
        if not isinstance(values, Mapping):
            raise CheckpointError(f"{file}: {name} is {values!r}; expected an object of settings.")
        self.values = values

    def section(self, key: str) -> _Section | None:
        if self.values.get(key) is None:
            return None
        return _Section(self.file, f"{self.name}.{key}".lstrip("."), self.values[key])

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number above 0."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
            raise self._wrong(key, value, "a whole number above 0")
        return value

    def maybe_whole(self, key: str) -> int | None:
        return None if self.values.get(key) is None else self.whole(key)

    def real(self, key: str, default: float | None = None) -> float:
        """A number above 0."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e30:
            raise self._wrong(key, value, "a number above 0")
        return float(value)

    def flag(self, key: str) -> bool:
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return bool(value)

    def check_known(self, known: Iterable[str]) -> None:
        """Refuse options that are on, could change what is computed and aren't understood."""
        on = [key for key, value in self.values.items() if value not in (None, False, "", [], {})]
        unknown = [
            key
            for key in on
            if key not in known and not any(part in key for part in _TRAINING_ONLY)
        ]
        if unknown:
            raise CheckpointError(
                f"{self.file} sets options that the inspector does not know: "
                f"{', '.join(f'{self.name}.{key} = {self.values[key]!r}' for key in unknown[:6])}. "
                "They may change what the model computes, so it isn't opened."
            )

    def _value(self, key: str, default: Any) -> Any:
        value = self.values.get(key)
        if value is None and default is None:
            raise CheckpointError(
                f"{self.file} does not say {self.name}.{key}. The params.json that the training "
                "code wrote beside its checkpoints holds the whole configuration: put it there."
            )
        return default if value is None else value

    def _wrong(self, key: str, value: Any, expected: str) -> CheckpointError:
        return CheckpointError(f"{self.file}: {self.name}.{key} is {value!r}; expected {expected}.")


def read_params(file: Path) -> Params:
    """Read and check ``params.json``.

    Raises:
        CheckpointNotFound: it isn't there.
        CheckpointError: it isn't JSON, lacks something or says what isn't understood.
    """
    top = _Section(file, "", _read(file))
    model = top.section("model")
    if model is None:
        raise CheckpointError(
            f"{file} has no section model: it is not the params.json of Meta's training code."
        )
    model.check_known(_MODEL)
    data, distributed = top.section("data"), top.section("distributed")
    tokenizer = data.section("tokenizer") if data else None
    d_model = model.whole("dim")
    heads = model.maybe_whole("n_heads")
    head_width = model.maybe_whole("head_dim") or d_model // (heads or model.whole("n_heads"))
    heads = heads or d_model // head_width
    dtype = distributed.values.get("model_dtype") if distributed else None
    return Params(
        file=file,
        d_model=d_model,
        layers=model.whole("n_layers"),
        heads=heads,
        kv_heads=model.maybe_whole("n_kv_heads") or heads,
        head_width=head_width,
        width=_width(model, d_model),
        norm_eps=model.real("norm_eps", 1e-5),
        rope_theta=model.real("rope_theta"),
        positions=model.whole("max_seqlen", data.maybe_whole("seq_len") if data else None),
        tied=model.flag("weight_tying"),
        memory=_memory(model.section("productkey_args")),
        dtype=_DTYPES.get(dtype) if isinstance(dtype, str) else None,
        tokenizer=str(tokenizer.values.get("name")) if tokenizer else "",
        tokenizer_path=_path(tokenizer),
        add_bos=data is None or data.values.get("add_bos") is not False,
    )


def _read(file: Path) -> Any:
    if not file.is_file():
        raise CheckpointNotFound(
            f"There is no {file}. Meta's training code writes params.json beside its checkpoints; "
            "how many reads a head makes and much else stands only there: put it there."
        )
    return read_json(file)


def _path(tokenizer: _Section | None) -> str | None:
    path = tokenizer.values.get("path") if tokenizer else None
    return path if isinstance(path, str) and path and "\0" not in path else None


def _width(model: _Section, d_model: int) -> int:
    """Width of the dense feed-forward: two thirds of four times d_model, rounded up."""
    width = int(8 * d_model / 3)
    if model.values.get("ffn_dim_multiplier") is not None:
        width = int(model.real("ffn_dim_multiplier") * width)
    step = model.whole("multiple_of", 256)
    return step * ((width + step - 1) // step)


def _memory(section: _Section | None) -> Memory | None:
    if section is None or not section.flag("is_enabled"):
        return None
    section.check_known(_MEMORY)
    d_value = section.values.get("mem_v_dim")
    if d_value not in (None, -1):
        d_value = section.whole("mem_v_dim")
    return Memory(
        layers=_layers(section),
        knn=section.whole("mem_knn"),
        half_keys=section.maybe_whole("mem_n_keys"),
        heads=section.maybe_whole("mem_heads"),
        d_key=section.maybe_whole("mem_k_dim"),
        d_value=-1 if d_value is None else d_value,
        share_values=section.flag("mem_share_values"),
        swilu=section.flag("swilu_projection"),
        gated=section.flag("mem_gated"),
        peer=section.flag("peer_variant"),
    )


def _layers(section: _Section) -> tuple[int, ...]:
    """Blocks with memory: ``"4,12,20"``, counted from 0."""
    value = section.values.get("layers")
    parts = value if isinstance(value, list) else str(value or "").split(",")
    try:
        return tuple(sorted(int(part) for part in parts if str(part).strip()))
    except ValueError:
        raise CheckpointError(
            f'{section.file}: {section.name}.layers is {value!r}; expected blocks as "4,12,20".'
        ) from None
