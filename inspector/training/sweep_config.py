"""What a sweep trains: one backbone, memories of several sizes, and dense models matched to them.

A memory of n half-keys takes the place of the feed-forward network of chosen blocks, as in "Memory
Layers at Scale" (Berges et al. 2024, section 4). It costs arithmetic of its own (the query, the
half-key scores, the sum of values), so the dense backbone alone is no fair comparison: a dense
model gets feed-forward networks wide enough to cost as much, and another one as many parameters.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from inspector.errors import ConfigError
from inspector.memory.layer import MemoryShape
from inspector.memory.llama import MemoryLlamaConfig
from inspector.memory.product_keys import candidate_ranks
from inspector.training.config import Optimisation, TrainingConfig

Kind = Literal["dense", "memory", "dense-flops", "dense-params"]
_TABLES: Final = ("training", "backbone", "memory", "optimisation")
_MODEL_FIELDS: Final = frozenset({"memory_half_keys", "memory_layers", "intermediate_sizes"})


@dataclass(frozen=True)
class SweepModel:
    """One model of a sweep: ``half_keys`` it has, or is matched to; 0 for the plain backbone."""

    kind: Kind
    half_keys: int
    entries: dict[str, Any]

    @property
    def name(self) -> str:
        """Such as ``memory-64``, or ``dense-params-64``: as many parameters as that one."""
        return self.kind if self.kind == "dense" else f"{self.kind}-{self.half_keys}"


@dataclass(frozen=True)
class SweepRun:
    """One training run to be made: a model from a seed."""

    model: SweepModel
    seed: int
    config: TrainingConfig


@dataclass(frozen=True)
class SweepConfig:
    """A sweep, fixed before its first run.

    ``half_keys`` are the memory sizes n (n * n slots each); ``match_flops`` and
    ``match_parameters`` those to which a dense model is matched. Every model is trained from
    ``seeds`` seeds; those named in ``late`` get their second and later ones last. ``asked`` facts
    are drawn with ``asked_seed`` for the measurement. ``blocks`` have the memory (or, in a matched
    dense model, the wider feed-forward network).

    Raises:
        ConfigError: an entry is of the wrong kind, or makes no model.
    """

    half_keys: tuple[int, ...]
    match_flops: tuple[int, ...]
    match_parameters: tuple[int, ...]
    blocks: tuple[int, ...]
    seeds: int = 3
    late: tuple[str, ...] = ()
    asked: int = 4000
    asked_seed: int = 0
    training: dict[str, Any] = field(default_factory=dict)
    backbone: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    optimisation: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no sweep can be made of."""
        for name in ("seeds", "asked"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)!r} must be at least 1, whole.")
        for name in ("half_keys", "match_flops", "match_parameters", "blocks"):
            if not all(isinstance(n, int) and n >= 0 for n in getattr(self, name)):
                raise ConfigError(f"{name} = {getattr(self, name)!r} must be whole numbers.")
        if taken := _MODEL_FIELDS & {*self.backbone, *self.memory}:
            raise ConfigError(f"{', '.join(sorted(taken))} are the sweep's own to set.")
        try:
            names = {run.model.name for run in self.runs()}
        except (TypeError, ValueError) as error:
            raise ConfigError(f"The entries make no model: {error}.") from None
        if unknown := sorted(set(self.late) - names):
            raise ConfigError(f"late names {unknown}; there are {sorted(names)}.")

    @property
    def fingerprint(self) -> str:
        """Of all that any two runs of one sweep share: data, backbone, steps, measurement."""
        own = {"half_keys", "match_flops", "match_parameters", "seeds", "late"}
        shared = {k: v for k, v in dataclasses.asdict(self).items() if k not in own}
        return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:16]

    def models(self) -> tuple[SweepModel, ...]:
        """Every model: the backbone, the memories, then what is matched to them."""
        return (
            SweepModel("dense", 0, dict(self.backbone)),
            *(self._memory(n) for n in self.half_keys),
            *(self._matched("dense-flops", n) for n in self.match_flops),
            *(self._matched("dense-params", n) for n in self.match_parameters),
        )

    def runs(self) -> tuple[SweepRun, ...]:
        """Every run in the order they are made: seed 0 of all, further seeds, the late ones'."""
        models = self.models()
        early = [model for model in models if model.name not in self.late]
        late = [model for model in models if model.name in self.late]
        more = range(1, self.seeds)
        order = [(model, 0) for model in models]
        order += [(model, seed) for group in (early, late) for seed in more for model in group]
        return tuple(SweepRun(model, seed, self._training(model, seed)) for model, seed in order)

    def to_dict(self) -> dict[str, Any]:
        """The whole configuration as plain values."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    def _training(self, model: SweepModel, seed: int) -> TrainingConfig:
        optimisation = Optimisation(**self.optimisation)
        return TrainingConfig(
            name=f"{model.name}-seed-{seed}",
            seed=seed,
            model=model.entries,
            optimisation=optimisation,
            **self.training,
        )

    def _memory(self, half_keys: int) -> SweepModel:
        layers = list(self.blocks)
        own = {"memory_layers": layers, "memory_half_keys": half_keys}
        return SweepModel("memory", half_keys, {**self.backbone, **self.memory, **own})

    def _matched(self, kind: Kind, half_keys: int) -> SweepModel:
        """The backbone with feed-forward networks as costly, or as large, as a memory's layers."""
        config = MemoryLlamaConfig(**self._memory(half_keys).entries)
        shape, width = config.memory_shape(), config.intermediate_size
        if kind == "dense-flops":
            exact = site_flops(shape) / (6 * shape.d_model)
        else:
            table = shape.slots * shape.d_value
            exact = (site_parameters(shape) + table / len(self.blocks)) / (3 * shape.d_model)
        widths = [
            max(1, round(exact)) if block in self.blocks else width
            for block in range(config.num_hidden_layers)
        ]
        return SweepModel(kind, half_keys, {**self.backbone, "intermediate_sizes": widths})


def site_flops(shape: MemoryShape) -> int:
    """Arithmetic of one memory layer for one token: a multiplication and an addition count 2.

    Query, half-key scores, the sum of values, Memory+'s two matrices, and, at one operation each,
    the comparisons of the lookup (every half-key score, every candidate) and the candidates' sums.
    """
    query = shape.d_model * shape.heads * shape.d_key
    scores = shape.heads * shape.half_keys * shape.d_key
    values = shape.heads * shape.knn * shape.d_value
    gate = shape.d_model * shape.d_value if shape.projection == "swiglu" else 0
    out = shape.d_model * shape.d_value if shape.projection != "none" else 0
    return 2 * (query + scores + values + gate + out) + lookup_operations(shape)


def lookup_operations(shape: MemoryShape) -> int:
    """Comparisons and candidate sums of one lookup for one token, over all heads."""
    candidates = len(candidate_ranks(shape.knn, min(shape.knn, shape.half_keys))[0])
    return shape.heads * (2 * shape.half_keys + 2 * candidates)


def site_parameters(shape: MemoryShape) -> int:
    """Parameters of one memory layer without the value table, which the layers share."""
    query = (shape.d_model + shape.query_bias) * shape.heads * shape.d_key
    half_keys = shape.heads * shape.half_keys * shape.d_key
    gate = (shape.d_model + 1) * shape.d_value if shape.projection == "swiglu" else 0
    out = (shape.d_value + 1) * shape.d_model if shape.projection != "none" else 0
    return query + half_keys + gate + out


def read_sweep_config(path: Path) -> SweepConfig:
    """Read a sweep from a TOML file.

    Raises:
        ConfigError: there is no such file, it is not TOML, or it has an unknown or misfit entry.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The sweep {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}.") from None
    known = {entry.name for entry in dataclasses.fields(SweepConfig)}
    if unknown := sorted(set(raw) - known):
        raise ConfigError(f"{path}: found {', '.join(unknown)}; it may have {sorted(known)}.")
    wrong = [name for name in _TABLES if not isinstance(raw.get(name, {}), dict)]
    if wrong:
        raise ConfigError(f"{path}: {', '.join(wrong)} must be a table.")
    lists = {name: tuple(value) for name, value in raw.items() if isinstance(value, list)}
    try:
        return SweepConfig(**{**raw, **lists})
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from None


def match_error(exact: int, reached: int) -> float:
    """How far a matched figure is off, as a share of what it should be."""
    return math.inf if not exact else abs(reached - exact) / exact
