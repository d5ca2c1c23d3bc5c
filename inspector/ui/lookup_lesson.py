"""The lesson: what each step is called, says, asks, and what a presenter may add."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from inspector.ui import lookup_steps
from inspector.ui.lookup_stage import Stage

Parts = Sequence[str | tuple[str, str]]


@dataclass(frozen=True)
class Question:
    """What to guess before the picture is shown; ``answer`` is the right one of ``options``."""

    text: str
    options: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class Step:
    """One step of the lesson."""

    title: str
    says: Callable[[Stage], Parts]
    show: Callable[[Stage], None]
    note: str  # for the presenter
    ask: Callable[[Stage], Question | None]


def _who(stage: Stage) -> Parts:
    if stage.tiny:
        return ["A query of four whole numbers, set at the left, asks the tiny memory."]
    size = stage.walk.query.size
    return [
        "At the token ",
        (stage.token, "token"),
        f", head {stage.head} of {stage.site} turns what the model knows so far into a ",
        ("query", "strong"),
        f" of {size} numbers.",
    ]


def _split(stage: Stage) -> Parts:
    half = stage.walk.query.shape[1]
    return [
        "The query is ",
        ("split in two", "strong"),
        f": {half} numbers for each of the two sets of half-keys.",
    ]


def _score(stage: Stage) -> Parts:
    n = stage.walk.n
    return [
        f"Each half is multiplied with all {n:,} half-keys of its set: ",
        (f"{2 * n:,} scores", "strong"),
        f", where the memory has {n * n:,} keys.",
    ]


def _keep(stage: Stage) -> Parts:
    ranks = stage.walk.best.shape[1]
    return ["Of each set only the ", (f"best {ranks}", "strong"), " half-keys are kept."]


def _candidates(stage: Stage) -> Parts:
    ranks = stage.walk.best.shape[1]
    return [
        "Every half-key kept from set 1 meets every one kept from set 2: ",
        (f"{ranks} × {ranks} = {ranks**2} candidates", "strong"),
        ".",
    ]


def _best(stage: Stage) -> Parts:
    walk = stage.walk
    return [
        "A key's score is the sum of its two half scores, and the ",
        (f"best {walk.knn}", "strong"),
        f" win. No other of the {walk.n**2:,} keys can beat them.",
    ]


def _slots(stage: Stage) -> Parts:
    i, j = stage.walk.pair(0)
    n = stage.walk.n
    return [
        f"Half-key {i} of set 1 and half-key {j} of set 2 make ",
        (f"slot {i} × {n} + {j} = {i * n + j}", "strong"),
        ".",
    ]


def _values(stage: Stage) -> Parts:
    walk = stage.walk
    rest = walk.n**2 - walk.knn
    return [
        f"Each slot holds a value of {walk.values.shape[1]} learned numbers. ",
        (f"{walk.knn} are fetched", "strong"),
        f"; the other {rest:,} rows of the table are not touched.",
    ]


def _weighted(stage: Stage) -> Parts:
    how = _WEIGHTS[stage.info.normalisation if stage.info else "softmax"]
    activation = stage.info.activation if stage.info else "none"
    if activation != "none":
        how += f" Each is multiplied by {activation} of what the token has in common with a vector "
        how += "of the slot: its coefficient, which may be negative."
    return [f"{how} The values are ", ("added in these proportions", "strong"), "."]


_WEIGHTS = {
    "softmax": "Softmax turns the scores into weights that add up to one.",
    "relu": "ReLU makes weights of the scores: those below nought count as nothing, and the sum "
    "need not be one.",
    "none": "The scores themselves are the weights here; they need not add up to one.",
}


def _gate(stage: Stage) -> Parts:
    if stage.effect is None:
        return ["Nothing gates or projects here: the sum is what the tiny memory puts out."]
    heads = "The sum" if stage.heads == 1 else f"All {stage.heads} heads' sums are added, and that"
    if stage.effect.gate is None:
        effect, same = stage.effect, stage.effect.summed.shape == stage.effect.written.shape
        if same and np.allclose(effect.summed, effect.written, rtol=1e-3, atol=1e-6):
            return [f"{heads} goes on as it is: nothing in this layer depends on the token again."]
        return [
            f"{heads} goes through a ",
            ("fixed linear map", "strong"),
            " to the model's width: nothing in this layer depends on the token again.",
        ]
    return [
        f"{heads} is multiplied, number by number, by a ",
        ("gate", "strong"),
        " that this very token sets, then projected to the model's width.",
    ]


def _logits(stage: Stage) -> Parts:
    if stage.effect is None:
        return [
            "The sum has a number for each of sixteen words: it ",
            ("is the logits", "strong"),
            ".",
        ]
    effect = stage.effect
    (said, chance), (other, rest) = effect.with_reads[0], effect.without_reads[0]
    return [
        "It joins the residual stream. With these reads the model says ",
        (said, "token"),
        (f" {chance:.1%}", "strong"),
        ", without them ",
        (other, "token"),
        (f" {rest:.1%}", "strong"),
        ".",
    ]


def _price(stage: Stage) -> Parts:
    return [
        "Nothing was missed, and little was paid: ",
        ("two sets of 1,000 half-keys", "strong"),
        " address a million slots.",
    ]


def _ask_nothing(stage: Stage) -> None:
    return None


def _ask_scores(stage: Stage) -> Question:
    n = stage.walk.n
    options = (f"{n:,}", f"{2 * n:,}", f"{n * n:,}")
    return Question("How many scores are worked out for this query?", options, 1)


def _ask_candidates(stage: Stage) -> Question:
    ranks = stage.walk.best.shape[1]
    options = tuple(dict.fromkeys((f"{2 * ranks}", f"{ranks**2}", f"{stage.walk.n**2:,}")))
    answer = options.index(f"{ranks**2}")
    return Question("How many keys are still in the race now?", options, answer)


def _ask_best(stage: Stage) -> Question:
    found = stage.walk.pair(0)
    top = (int(stage.walk.best[0][0]), int(stage.walk.best[1][0]))
    others = [(top[1], top[0]), (top[0], int(stage.walk.best[1][-1]))]
    pairs = list(dict.fromkeys([*others, found]))
    options = tuple(f"({i}, {j})" for i, j in pairs)
    return Question("Which key has the largest score?", options, pairs.index(found))


def _ask_slot(stage: Stage) -> Question:
    (i, j), n = stage.walk.pair(0), stage.walk.n
    numbers = list(dict.fromkeys([i + j, j * n + i, i * n + j]))
    options = tuple(f"{number:,}" for number in numbers)
    return Question(f"Which slot is key ({i}, {j})?", options, numbers.index(i * n + j))


def _ask_weight(stage: Stage) -> Question | None:
    if stage.info is not None and stage.info.normalisation != "softmax":
        return None  # such weights have no bounds to choose from
    first = float(stage.walk.weights[0])
    bounds = ((0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.01))
    options = tuple(f"{low:.0%} to {min(high, 1):.0%}" for low, high in bounds)
    answer = next(n for n, (low, high) in enumerate(bounds) if low <= first < high)
    return Question("How much weight does the best read get?", options, answer)


def _ask_price(stage: Stage) -> Question:
    options = ("2,000", "100,000", "1,000,000")
    return Question("How many half-keys does a memory of a million slots need?", options, 0)


LESSON: tuple[Step, ...] = (
    Step(
        "The query",
        _who,
        lookup_steps.query,
        "The query is a linear function of what the residual stream holds at this token. Point at "
        "a few bars: no single one means anything, the direction does.",
        _ask_nothing,
    ),
    Step(
        "Split in two",
        _split,
        lookup_steps.split,
        "This is the whole trick: two short queries for two small sets instead of one long query "
        "for a huge one. Ask what a key must look like for that to work: a pair.",
        _ask_nothing,
    ),
    Step(
        "Score both sets",
        _score,
        lookup_steps.score,
        "A score is a dot product: multiply number by number, add up. Slide to a half-key and "
        "check one (in the 4 × 4 memory, by hand).",
        _ask_scores,
    ),
    Step(
        "Keep the best of each",
        _keep,
        lookup_steps.keep,
        "Why is this safe? A key that wins has both halves among the best: if one half were "
        "beaten by k others, so would be the key, by k keys with the same other half.",
        _ask_nothing,
    ),
    Step(
        "Pair them up",
        _candidates,
        lookup_steps.candidates,
        "The pair of ranks (a, b), counted from 1, has a × b - 1 pairs that are sure to be as "
        "good. Once that reaches k it can be left out: the pale corner of the grid's work.",
        _ask_candidates,
    ),
    Step(
        "Add, and take the best",
        _best,
        lookup_steps.best,
        "The best key need not pair the two best half-keys with everything else: watch the frames "
        "spread from the upper left corner.",
        _ask_best,
    ),
    Step(
        "From pairs to slots",
        _slots,
        lookup_steps.slots,
        "Like row and column of a seat: the pair is the address, the slot its running number.",
        _ask_slot,
    ),
    Step(
        "Fetch the values",
        _values,
        lookup_steps.values,
        "The table may be larger than all the rest of the model, and one token still touches a "
        "handful of rows. That is what buys capacity without compute.",
        _ask_nothing,
    ),
    Step(
        "Weigh and add",
        _weighted,
        lookup_steps.weighted,
        "Weights are relative: only differences of scores matter. Two reads one apart share "
        "73 to 27.",
        _ask_weight,
    ),
    Step(
        "Gate and project",
        _gate,
        lookup_steps.gate,
        "Because of the gate a value has no meaning of its own: the same row can say different "
        "things at different tokens.",
        _ask_nothing,
    ),
    Step(
        "Into the residual stream",
        _logits,
        lookup_steps.logits,
        "The chips are the direct path to the logits; the bars at the right are a second forward "
        "pass without these reads, with all that follows from it.",
        _ask_nothing,
    ),
    Step(
        "Proof and price",
        _price,
        lookup_steps.price,
        "The proof runs live on this very query. Then let n grow: the work for product keys grows "
        "with n, that of a search over every key with n squared.",
        _ask_price,
    ),
)
