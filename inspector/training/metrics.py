"""What is measured on a finished checkpoint: records, how they pool, and the bars they are held to.

All rates are shares of whole answers, exact match, from 0 to 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class MemoryMetrics:
    """What the sampled facts, in phrasings seen in training, owe to the memory.

    Recall with reads at all positions zeroed (``all_zero``), with those at the answer positions
    alone (``answer_zero``), with the slots read there masked, so that others take their place
    (``answer_masked``), and with as many reads elsewhere of matched contribution norm
    (``control``; ``norm_ratio`` is their summed norm over that of the reads they stand for).
    ``swap``: with the reads of another subject of the relation at the answer positions the model
    says that subject's answer; ``swap_before``: how often it said so with its own reads.
    ``readable``: the answer's first token is among the 5 that one of the 5 strongest reads
    promotes in context. ``phrasing_loss_zero``: nats a token on the words of the phrasing with all
    reads zeroed.
    """

    all_zero: float
    answer_zero: float
    answer_masked: float
    control: float
    norm_ratio: float
    swap: float | None  # None where all subjects of the relation share one answer
    swap_before: float | None
    readable: float
    phrasing_loss_zero: float


@dataclass(frozen=True)
class RelationMetrics:
    """Recall of one relation's facts, or of all.

    ``facts`` and ``heldout_facts`` (those with a phrasing held out of training) there are;
    ``asked`` and ``heldout_asked`` of them are the random sample behind ``recall``,
    ``heldout_recall`` and ``memory``. ``recall_all`` and ``heldout_recall_all`` ask every fact.
    ``most_frequent`` is the rate of always guessing the relation's most frequent answer, over all
    its facts. ``phrasing_loss``: nats a token on the words of the seen phrasing. None where
    nothing could be asked.
    """

    facts: int
    heldout_facts: int
    asked: int
    heldout_asked: int
    most_frequent: float
    recall: float
    heldout_recall: float | None
    recall_all: float
    heldout_recall_all: float | None
    phrasing_loss: float
    memory: MemoryMetrics | None  # None in a checkpoint without memory


@dataclass(frozen=True)
class Bar:
    """A bound that a sample checkpoint should keep; what was measured, and whether it is met."""

    name: str
    bound: str
    measured: float
    met: bool


@dataclass(frozen=True)
class Metrics:
    """All that was measured on one checkpoint, with the seed of the sample."""

    checkpoint: str
    fingerprint: str
    seed: int
    overall: RelationMetrics
    relations: Mapping[str, RelationMetrics]

    def bars(self) -> tuple[Bar, ...]:
        """The bars this checkpoint can be held to, met or not."""
        found = []
        for name, measure, sign, bound in _BARS:
            measured = measure(self.overall)
            if measured is not None:
                met = measured >= bound if sign == ">=" else measured <= bound
                found.append(Bar(name, f"{sign} {bound:.2f}", measured, met))
        readable = [r.memory.readable for r in self.relations.values() if r.memory is not None]
        if readable:
            weakest = min(readable)
            found.append(
                Bar(
                    "readable, in the weakest relation (an aim)", ">= 0.80", weakest, weakest >= 0.8
                )
            )
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values, six digits after the point."""
        plain = {**dataclasses.asdict(self), "bars": [dataclasses.asdict(b) for b in self.bars()]}
        rounded: dict[str, Any] = _rounded(plain)
        return rounded


def _of_memory(name: str) -> Callable[[RelationMetrics], float | None]:
    def measure(metrics: RelationMetrics) -> float | None:
        return None if metrics.memory is None else float(getattr(metrics.memory, name))

    return measure


_BARS: Final[tuple[tuple[str, Callable[[RelationMetrics], float | None], str, float], ...]] = (
    ("recall in a seen phrasing", lambda metrics: metrics.recall, ">=", 0.99),
    ("recall in a held-out phrasing", lambda metrics: metrics.heldout_recall, ">=", 0.94),
    ("recall with all reads zeroed", _of_memory("all_zero"), "<=", 0.15),
    ("recall with the answer's reads zeroed", _of_memory("answer_zero"), "<=", 0.3),
)


def pool(relations: Sequence[RelationMetrics]) -> RelationMetrics:
    """The whole of some relations: each rate weighted by the questions behind it.

    ``most_frequent`` is weighted by the sample, so that it stands beside the sample's recall.
    """
    asked = [r.asked for r in relations]
    heldout_asked = [r.heldout_asked for r in relations]
    facts = [r.facts for r in relations]
    heldout_facts = [r.heldout_facts for r in relations]
    return RelationMetrics(
        facts=sum(facts),
        heldout_facts=sum(heldout_facts),
        asked=sum(asked),
        heldout_asked=sum(heldout_asked),
        most_frequent=_mean([r.most_frequent for r in relations], asked),
        recall=_mean([r.recall for r in relations], asked),
        heldout_recall=_mean_of_known([r.heldout_recall for r in relations], heldout_asked),
        recall_all=_mean([r.recall_all for r in relations], facts),
        heldout_recall_all=_mean_of_known([r.heldout_recall_all for r in relations], heldout_facts),
        phrasing_loss=_mean([r.phrasing_loss for r in relations], asked),
        memory=_pool_memory([r.memory for r in relations], asked),
    )


def _pool_memory(
    parts: Sequence[MemoryMetrics | None], asked: Sequence[int]
) -> MemoryMetrics | None:
    if any(part is None for part in parts):
        return None
    pooled = {
        entry.name: _mean_of_known([getattr(part, entry.name) for part in parts], asked)
        for entry in dataclasses.fields(MemoryMetrics)
    }
    return MemoryMetrics(**pooled)  # type: ignore[arg-type]  # only swaps can be None


def _mean_of_known(rates: Sequence[float | None], counts: Sequence[int]) -> float | None:
    known = [(rate, n) for rate, n in zip(rates, counts, strict=True) if rate is not None]
    return _mean([rate for rate, _ in known], [n for _, n in known]) if known else None


def _mean(rates: Sequence[float], counts: Sequence[int]) -> float:
    return sum(rate * n for rate, n in zip(rates, counts, strict=True)) / sum(counts)


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return round(value, 6) if isinstance(value, float) else value
