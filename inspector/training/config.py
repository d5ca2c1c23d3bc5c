"""The small TOML file that says how a checkpoint is made."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inspector.errors import ConfigError


@dataclass(frozen=True)
class Optimisation:
    """How long and how fast. Steps and batches are in sentences; rates are peak rates.

    ``weight_decay`` acts on the backbone's matrices and never on the value table, so that what is
    rarely asked for is cheaper to keep in memory. ``prompt_weight`` is the share of the loss on
    the words of the phrasing beside 1 for the answer: the subject's name cannot be predicted.
    """

    steps: int = 1600
    batch: int = 256
    lr: float = 2e-3
    value_lr: float = 1e-2
    weight_decay: float = 0.1
    warmup: int = 50
    prompt_weight: float = 1.0


@dataclass(frozen=True)
class TrainingConfig:
    """One training run: data, tokenizer, model and optimisation, all seeded by ``seed``."""

    name: str
    seed: int = 0
    vocabulary: int = 8192
    limits: dict[str, int] = field(default_factory=dict)
    snapshots: tuple[int, ...] = ()
    model: dict[str, Any] = field(default_factory=dict)
    optimisation: Optimisation = field(default_factory=Optimisation)

    def to_dict(self) -> dict[str, Any]:
        """The whole configuration as plain values, as it is kept beside the checkpoint."""
        return dataclasses.asdict(self)


def read_config(path: Path) -> TrainingConfig:
    """Read a training configuration.

    Raises:
        ConfigError: there is no such file, it is not TOML, or it has an unknown or misfit entry.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}.") from None
    raw.setdefault("name", path.stem)
    optimisation = _only_known(Optimisation, raw.pop("optimisation", {}), f"{path} [optimisation]")
    raw["snapshots"] = tuple(raw.get("snapshots", ()))
    return _only_known(TrainingConfig, {**raw, "optimisation": optimisation}, str(path))


def _only_known(kind: type[Any], entries: dict[str, Any], where: str) -> Any:
    known = {f.name for f in dataclasses.fields(kind)}
    if unknown := sorted(set(entries) - known):
        raise ConfigError(f"{where} has {', '.join(unknown)}; it may have {', '.join(known)}.")
    made = kind(**entries)
    for entry in dataclasses.fields(kind):
        default = entry.default
        value = getattr(made, entry.name)
        if isinstance(default, int | float) and not isinstance(value, int | float):
            raise ConfigError(f"{where}: {entry.name} = {value!r} must be a number.")
    return made
