"""The map of a relation: the core sets of many of its facts, and what their slots are about.

It takes a second or so for each fact, so it is made in the background, with progress, and kept.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from inspector.analyses.ablations import Ablation, Scope, SlotTarget
from inspector.analyses.core_overlap import Overlap, about, overlap
from inspector.analyses.core_sets import CLEAR, CoreSet
from inspector.analyses.facts import Fact
from inspector.analyses.locate import locate
from inspector.capture.cache import cache_folder, cache_key, replacing
from inspector.errors import CacheError, Cancelled, FactsError
from inspector.families.base import MemoryModel

FACTS: Final = 60  # of a relation, drawn at random where it has more
SEED: Final = 0
_FORMAT: Final = 1
_META: Final = b"fact map"
Report = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class FactMap:
    """Core sets of the facts of one relation, for one ablation and scope.

    ``cores`` are in the order of ``facts``, None for a fact that the model doesn't know. With
    ``drawn`` True the facts are a random sample of those of the relation.
    """

    fingerprint: str
    relation: str
    kind: Ablation
    scope: Scope
    seed: int
    drawn: bool
    facts: tuple[Fact, ...]
    cores: tuple[CoreSet | None, ...]

    def __post_init__(self) -> None:
        """Refuse facts and core sets that differ in number."""
        if len(self.facts) != len(self.cores):
            raise ValueError(f"{len(self.facts)} facts, but {len(self.cores)} core sets")

    def located(self) -> list[tuple[Fact, CoreSet]]:
        """The facts that have a core set, with it."""
        pairs = zip(self.facts, self.cores, strict=True)
        return [(fact, core) for fact, core in pairs if core is not None and core.members]

    def overlap(self) -> Overlap:
        """How far the core sets of its facts agree, by subject."""
        return overlap({fact.subject: core.members for fact, core in self.located()})

    def about(self, fact: Fact, others: Sequence[tuple[Fact, CoreSet]] = ()) -> pd.DataFrame:
        """What the slots of one of its facts are about (see ``core_overlap.about``).

        ``others``: facts of the same subject in other relations, with their core sets.
        """
        core = dict(zip(((f.relation, f.subject) for f in self.facts), self.cores, strict=True))
        own = core.get((fact.relation, fact.subject))
        if own is None:
            raise FactsError(f"The {fact.relation} of {fact.subject!r} is not in this map.")
        return about(fact, own, [*self.located(), *others])

    def to_frame(self) -> pd.DataFrame:
        """One row a fact: subject, object, known, ``slots`` in its core set, and those slots."""
        rows = [
            {
                "subject": fact.subject,
                "object": fact.object,
                "known": core is not None,
                "slots": len(core.members) if core else 0,
                "common": core.common if core else 0,
                "core": core.slots if core else (),
                "why": core.why if core else "the model does not know this fact",
            }
            for fact, core in zip(self.facts, self.cores, strict=True)
        ]
        return pd.DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """Its parameters and rows as plain values."""
        return {
            "relation": self.relation,
            "kind": self.kind,
            "scope": self.scope,
            "seed": self.seed,
            "drawn": self.drawn,
            "facts": self.to_frame().to_dict("records"),
        }


def map_relation(
    model: MemoryModel,
    facts: Sequence[Fact],
    relation: str,
    *,
    kind: Ablation = "zero",
    scope: Scope = "table",
    limit: int = FACTS,
    report: Report = lambda done, total: None,
    cancel: Callable[[], bool] = lambda: False,
) -> FactMap:
    """The map of ``relation`` over at most ``limit`` of its facts; from the cache if it's there.

    Raises:
        FactsError: there are no facts of this relation.
        Cancelled: ``cancel`` said so; nothing is kept.
        CacheError: it cannot be written.
    """
    of_it = [fact for fact in facts if fact.relation == relation]
    if not of_it:
        known = ", ".join(sorted({fact.relation for fact in facts})) or "none"
        raise FactsError(f"There are no facts of the relation {relation!r}; there are: {known}.")
    drawn = len(of_it) > limit
    chosen = random.Random(f"{SEED} map of {relation}").sample(of_it, limit) if drawn else of_it
    made_of = partial(FactMap, model.fingerprint, relation, kind, scope, SEED, drawn, tuple(chosen))
    path = _path(model, chosen, kind, scope)
    if (kept := _read(path)) is not None and len(kept) == len(chosen):
        report(len(chosen), len(chosen))
        return made_of(kept)
    cores: list[CoreSet | None] = []
    for done, fact in enumerate(chosen):
        if cancel():
            raise Cancelled(f"The map of {relation} was stopped after {done} facts.")
        found = locate(model, fact, scope=scope, kinds=(kind,), exact=0, seed=SEED)
        cores.append(found.cores.get(kind))
        report(done + 1, len(chosen))
    made = made_of(tuple(cores))
    _write(path, made)
    return made


def _path(model: MemoryModel, chosen: Sequence[Fact], kind: Ablation, scope: Scope) -> Path:
    asked = json.dumps([vars(fact) for fact in chosen], sort_keys=True, ensure_ascii=False)
    parameters = {
        "format": _FORMAT,
        "fingerprint": model.fingerprint,
        "dtype": str(model.dtype),
        "facts": hashlib.sha256(asked.encode()).hexdigest(),
        "kind": kind,
        "scope": scope,
        "clear": CLEAR,
        "seed": SEED,
    }
    return cache_folder() / "fact_maps" / f"{cache_key(parameters)}.parquet"


def _write(path: Path, made: FactMap) -> None:
    rows = [json.dumps(None if core is None else core.to_json()) for core in made.cores]
    table = pa.table({"subject": [fact.subject for fact in made.facts], "core": rows})
    about_it = {
        "relation": made.relation,
        "kind": made.kind,
        "scope": made.scope,
        "seed": made.seed,
        "fingerprint": made.fingerprint,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise CacheError(f"{path.parent} cannot be made: {problem.strerror}.") from None
    with replacing(path) as temporary:
        pq.write_table(
            table.replace_schema_metadata({_META: json.dumps(about_it).encode()}), temporary
        )


def _read(path: Path) -> tuple[CoreSet | None, ...] | None:
    """Core sets kept before; None if there are none, or the file is damaged: they are made anew."""
    try:
        rows = pq.read_table(path).column("core").to_pylist()
        return tuple(_core(json.loads(row)) for row in rows)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _core(kept: dict[str, Any] | None) -> CoreSet | None:
    if kept is None:
        return None
    members = tuple(SlotTarget(**member) for member in kept.pop("members"))
    return CoreSet(**kept, members=members)
