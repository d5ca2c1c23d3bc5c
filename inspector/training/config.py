"""The small TOML file that says how a checkpoint is made."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from inspector.errors import ConfigError

TABLE_DTYPES: Final = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Optimisation:
    """How long and how fast. Steps and batches are in sentences; rates are peak rates.

    ``weight_decay`` acts on the backbone's matrices and never on the value table, so that what is
    rarely asked for is cheaper to keep in memory. ``prompt_weight`` is the share of the loss on
    the words of the phrasing beside 1 for the answer: the subject's name cannot be predicted.
    ``silenced`` and ``interchanged`` are shares of a batch's rows (see ``interventions``); rows are
    interchanged only after ``interchange_after`` steps: before the attention has learned to bring
    the subject to where the answer is produced, all reads are alike and there's nothing to swap.

    Raises:
        ConfigError: an entry is of the wrong kind or out of range.
    """

    steps: int = 1600
    batch: int = 256
    lr: float = 2e-3
    value_lr: float = 1e-2
    weight_decay: float = 0.1
    warmup: int = 50
    prompt_weight: float = 1.0
    silenced: float = 0.0
    interchanged: float = 0.0
    interchange_after: int = 0

    def __post_init__(self) -> None:
        """Refuse what no run can be made with."""
        for name in ("steps", "batch", "warmup"):
            value = getattr(self, name)
            _require(_is_whole(value) and value >= 1, name, value, "a whole number of at least 1")
        after = self.interchange_after
        _require(_is_whole(after) and after >= 0, "interchange_after", after, "a whole number")
        shares = ("silenced", "interchanged")
        for name in ("lr", "value_lr", "weight_decay", "prompt_weight", *shares):
            value = getattr(self, name)
            known = isinstance(value, float) or _is_whole(value)
            _require(known and 0 <= value < float("inf"), name, value, "a number of at least 0")
        both = self.silenced + self.interchanged
        _require(both <= 0.9, "silenced + interchanged", both, "at most 0.9: some rows stay whole")


@dataclass(frozen=True)
class TrainingConfig:
    """One training run: data, tokenizer, model and optimisation, all seeded by ``seed``.

    ``limits`` are the most facts per relation, ``repeats`` how often an epoch asks for each fact
    of a relation (once by default: small relations would else be rare), ``snapshots`` the steps
    after which a copy is kept, ``model`` the entries of ``MemoryLlamaConfig``, and ``table_dtype``
    the number format in which value tables are written (they are trained in float32).

    Raises:
        ConfigError: an entry is of the wrong kind or out of range.
    """

    name: str
    seed: int = 0
    vocabulary: int = 8192
    limits: dict[str, int] = field(default_factory=dict)
    repeats: dict[str, int] = field(default_factory=dict)
    snapshots: tuple[int, ...] = ()
    model: dict[str, Any] = field(default_factory=dict)
    optimisation: Optimisation = field(default_factory=Optimisation)
    table_dtype: str = "float32"

    def __post_init__(self) -> None:
        """Refuse what no run can be made with."""
        _require(isinstance(self.name, str) and self.name != "", "name", self.name, "a text")
        for name, least in (("seed", 0), ("vocabulary", 1)):
            value = getattr(self, name)
            _require(_is_whole(value) and value >= least, name, value, f"at least {least}, whole")
        model, dtype = self.model, self.table_dtype
        for name, least in (("limits", 0), ("repeats", 1)):
            table = getattr(self, name)
            counted = isinstance(table, dict) and all(
                _is_whole(number) and number >= least for number in table.values()
            )
            _require(counted, name, table, f"a table of whole numbers of at least {least}")
        _require(isinstance(model, dict), "model", model, "a table")
        _require(dtype in TABLE_DTYPES, "table_dtype", dtype, "one of " + ", ".join(TABLE_DTYPES))
        steps = self.optimisation.steps
        inside = all(_is_whole(step) and 0 <= step <= steps for step in self.snapshots)
        _require(inside, "snapshots", list(self.snapshots), f"a list of steps from 0 to {steps}")

    def to_dict(self) -> dict[str, Any]:
        """The whole configuration as plain values, as it is kept beside the checkpoint."""
        return {**dataclasses.asdict(self), "snapshots": list(self.snapshots)}


def read_config(path: Path) -> TrainingConfig:
    """Read a training configuration; its name is the file's where it has none.

    Raises:
        ConfigError: there is no such file, it is not TOML, or it has an unknown or misfit entry.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}.") from None
    try:
        return _parse({"name": path.stem, **raw})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _parse(raw: dict[str, Any]) -> TrainingConfig:
    optimisation = raw.get("optimisation", {})
    _require(isinstance(optimisation, dict), "optimisation", optimisation, "a table")
    _refuse_unknown(Optimisation, optimisation, "optimisation.")
    _refuse_unknown(TrainingConfig, raw, "")
    snapshots = raw.get("snapshots", [])
    _require(isinstance(snapshots, list), "snapshots", snapshots, "a list of steps")
    made = {"optimisation": Optimisation(**optimisation), "snapshots": tuple(snapshots)}
    return TrainingConfig(**{**raw, **made})


def _refuse_unknown(kind: type[Any], entries: Mapping[str, Any], prefix: str) -> None:
    known = {entry.name for entry in dataclasses.fields(kind)}
    if unknown := sorted(set(entries) - known):
        found = ", ".join(prefix + name for name in unknown)
        raise ConfigError(f"found {found}; it may have {', '.join(sorted(known))}.")


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{name} = {value!r} must be {expected}.")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
