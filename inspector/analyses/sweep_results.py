"""The finished runs of a sweep, as they are kept in a file: one JSON object, every run in it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from inspector.errors import TrainingError

FORMAT: Final = 1
KINDS: Final = ("dense", "memory", "dense-flops", "dense-params")
_NEEDED: Final = {
    "flops": {"total"},
    "parameters": {"total", "active"},
    "seconds": {"wall"},
    "made_with": {"facts"},
}


@dataclass(frozen=True)
class Answers:
    """How the questions of one kind of phrasing were answered.

    ``recall`` is the share of whole answers, word for word; ``nll`` the negative log-likelihood
    of an answer with the end of text after it, nats, mean over the ``asked`` questions.
    """

    asked: int
    recall: float
    nll: float

    def __post_init__(self) -> None:
        """Refuse what no measurement gives."""
        if self.asked < 1 or not 0 <= self.recall <= 1 or not self.nll >= 0:
            raise ValueError(f"no measurement of answers: {self}")


@dataclass(frozen=True)
class FinishedRun:
    """One finished run of a sweep and all that was measured on it.

    ``kind`` is ``dense``, ``memory``, ``dense-flops`` or ``dense-params``; ``half_keys`` what the
    memory has, or the memory it is matched to. ``flops`` are per token, forward: what the flop
    counter counts, the sums of values, and the lookups; ``config`` names what all runs share.
    """

    model: str
    kind: str
    half_keys: int
    seed: int
    config: str
    seen: Answers
    heldout: Answers
    relations: Mapping[str, Mapping[str, Answers]]  # relation -> seen or heldout
    flops: Mapping[str, int]  # counted, values, lookup, total, head
    parameters: Mapping[str, int]  # total, active, values
    steps: int
    sentences: int
    tokens: int
    seconds: Mapping[str, float]  # wall, cpu: of all sessions together
    settings: Mapping[str, Any]
    made_with: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Refuse a kind of model that there is not, and a record that lacks something."""
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r} is none of {', '.join(KINDS)}")
        if min(self.steps, self.sentences, self.tokens) < 1:
            raise ValueError(f"a run of {self.steps} steps, {self.tokens} tokens")
        for name, needed in _NEEDED.items():
            if lacking := needed - set(getattr(self, name)):
                raise ValueError(f"{name} lacks {', '.join(sorted(lacking))}")

    @property
    def slots(self) -> int:
        """Slots of its memory; 0 of a dense model."""
        return self.half_keys**2 if self.kind == "memory" else 0

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class SweepResults:
    """A sweep so far: what it is to make (``planned`` pairs of model and seed), and what is done.

    ``settings`` are the sweep's configuration, ``config`` its fingerprint; ``times`` microseconds
    a token of each model (median, low and high quartile), or empty; ``superseded`` the runs of
    earlier configurations, kept and not shown among the others.
    """

    config: str
    settings: Mapping[str, Any]
    planned: tuple[tuple[str, int], ...]
    runs: tuple[FinishedRun, ...] = ()
    times: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    superseded: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Refuse runs that do not belong together, and times that are none."""
        for name, took in self.times.get("microseconds_per_token", {}).items():
            if not took["median"] > 0:
                raise ValueError(f"{name} takes {took['median']} microseconds a token")
        if strange := sorted({run.config for run in self.runs} - {self.config}):
            raise ValueError(f"runs of the configurations {strange} beside {self.config}")
        done = [(run.model, run.seed) for run in self.runs]
        if len(set(done)) != len(done):
            raise ValueError("a model and seed appear twice")

    @property
    def missing(self) -> tuple[tuple[str, int], ...]:
        """What is planned and not yet done, in the order it will be."""
        done = {(run.model, run.seed) for run in self.runs}
        return tuple(pair for pair in self.planned if pair not in done)

    def of(self, model: str) -> tuple[FinishedRun, ...]:
        """The finished runs of one model, by seed."""
        return tuple(sorted((r for r in self.runs if r.model == model), key=lambda r: r.seed))

    def to_frame(self) -> pd.DataFrame:
        """One row a finished run."""
        return pd.DataFrame([_row(run) for run in self.runs])

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "format": FORMAT,
            "config": self.config,
            "settings": dict(self.settings),
            "planned": [list(pair) for pair in self.planned],
            "times": dict(self.times),
            "runs": [run.to_json() for run in self.runs],
            "superseded": [dict(old) for old in self.superseded],
        }


def _row(run: FinishedRun) -> dict[str, Any]:
    return {
        "model": run.model,
        "kind": run.kind,
        "half_keys": run.half_keys,
        "slots": run.slots,
        "seed": run.seed,
        "recall": run.seen.recall,
        "nll": run.seen.nll,
        "heldout_recall": run.heldout.recall,
        "heldout_nll": run.heldout.nll,
        "flops": run.flops["total"],
        "parameters": run.parameters["total"],
        "active": run.parameters["active"],
        "steps": run.steps,
        "tokens": run.tokens,
        "seconds": run.seconds["wall"],
    }


def read_sweep(path: Path) -> SweepResults:
    """Read what a sweep has come to so far.

    Raises:
        TrainingError: there is no such file, or it is no sweep.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"The sweep {path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise TrainingError(f"{path} is no sweep: it is not JSON.") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise TrainingError(f"{path} is no sweep of format {FORMAT}: `inspector sweep` writes it.")
    try:
        return SweepResults(
            config=raw["config"],
            settings=raw["settings"],
            planned=tuple((str(model), int(seed)) for model, seed in raw["planned"]),
            runs=tuple(map(_run, raw["runs"])),
            times=raw["times"],
            superseded=tuple(raw["superseded"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TrainingError(f"{path} is a broken sweep: {error!r}.") from None


def _run(raw: Mapping[str, Any]) -> FinishedRun:
    relations = {
        name: {kind: Answers(**found) for kind, found in kinds.items()}
        for name, kinds in raw["relations"].items()
    }
    answers = {kind: Answers(**raw[kind]) for kind in ("seen", "heldout")}
    return FinishedRun(**{**raw, **answers, "relations": relations})
