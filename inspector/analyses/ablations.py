"""Ablating chosen slots where a fact is asked: what is taken away, in which sense and how far.

*Zero*: the coefficients of their reads become 0. *Mask*: they are removed before the top k, and
others take their place. The scope says which reads of a slot are meant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from inspector.analyses.answers import AnswerScores, score_answers, take_rows
from inspector.analyses.recall import QuestionBatch
from inspector.capture.edits import MaskSlots, ZeroSlots
from inspector.capture.lookup_edits import Edit
from inspector.families.base import MemoryModel

Ablation = Literal["zero", "mask"]
Scope = Literal["table", "site", "head", "read"]
SCOPES: Final = get_args(Scope)
ABLATIONS: Final = get_args(Ablation)
_CELLS: Final = 2**24  # comparisons of slots in one pass, which bound the memory it takes
ROWS: Final = 256  # of one forward pass
Cancelled = Callable[[], bool]


@dataclass(frozen=True, order=True)
class SlotTarget:
    """A slot, as far as a scope reaches: None means at every site, or by every head.

    Scope *table*: all reads of the slot by all sites of the table. *Site*: those of one site.
    *Head*: those of one head of one site. *Read*: those of one head of one site at the positions
    that produce the answer.
    """

    table: int
    slot: int
    site: str | None = None
    head: int | None = None


def check_names(kind: str, scope: str) -> None:
    """Refuse what is neither.

    Raises:
        ValueError: there is no such ablation, or no such scope.
    """
    if kind not in ABLATIONS or scope not in SCOPES:
        raise ValueError(
            f"found {kind!r} and {scope!r}, expected one of {ABLATIONS} and one of {SCOPES}"
        )


def target_of(scope: Scope, table: int, slot: int, site: str, head: int) -> SlotTarget:
    """What ablating the slot of one read means at ``scope``."""
    return SlotTarget(
        table,
        slot,
        None if scope == "table" else site,
        head if scope in ("head", "read") else None,
    )


def slots_to_ablate(
    model: MemoryModel,
    batch: QuestionBatch,
    variants: Sequence[Sequence[SlotTarget]],
    scope: Scope = "table",
) -> dict[str, Tensor]:
    """Per site the slots that row b of ``batch`` loses by ``variants[b]``, padded with -1.

    ``[batch pos head slot]``, of size 1 along axes that make no difference. Sites without any are
    left out.
    """
    found: dict[str, Tensor] = {}
    for name, site in model.sites.items():
        info = site.info
        own = [
            [(t.slot, t.head) for t in each if t.table == info.table and t.site in (None, name)]
            for each in variants
        ]
        if any(own):
            slots = _by_head(own, info.heads).to(batch.ids.device)
            here = batch.answering[:, :, None, None]
            found[name] = slots.where(here, -1) if scope == "read" else slots
    return found


def ablate(
    model: MemoryModel,
    batch: QuestionBatch,
    variants: Sequence[Sequence[SlotTarget]],
    kind: Ablation,
    scope: Scope = "table",
) -> list[Edit]:
    """Edits for one pass over ``batch``, whose row b loses the slots ``variants[b]``."""
    make = ZeroSlots if kind == "zero" else MaskSlots
    slots = slots_to_ablate(model, batch, variants, scope)
    return [make(own, sites=frozenset({name})) for name, own in slots.items()]


def _by_head(own: Sequence[Sequence[tuple[int, int | None]]], heads: int) -> Tensor:
    """Slots ``[batch 1 head slot]``, padded with -1; a head has only those that it is to lose."""
    per_head = any(head is not None for each in own for _, head in each)
    rows = [
        [[slot for slot, only in each if only in (None, head)] for each in own]
        for head in (range(heads) if per_head else (None,))
    ]
    width = max(len(each) for row in rows for each in row)
    slots = torch.full((len(own), 1, len(rows), width), -1)
    for head, row in enumerate(rows):
        for place, each in enumerate(row):
            slots[place, 0, head, : len(each)] = torch.tensor(each, dtype=torch.long)
    return slots


def score_ablations(
    model: MemoryModel,
    batch: QuestionBatch,
    variants: Sequence[Sequence[SlotTarget]],
    kind: Ablation,
    scope: Scope = "table",
) -> AnswerScores:
    """Every row of ``batch`` under every variant: scores ``[variant batch]``.

    As many as fit share a forward pass, at least 64 unless they mask very many slots.
    """
    asked = len(batch.ids)
    pairs = [(each, row) for each in range(len(variants)) for row in range(asked)]
    size = _rows_at_once(model, batch, max(map(len, variants), default=0), kind)
    parts = []
    for start in range(0, len(pairs), size):
        chunk = pairs[start : start + size]
        rows = take_rows(batch, [row for _, row in chunk])
        edits = ablate(model, rows, [variants[each] for each, _ in chunk], kind, scope)
        parts.append(score_answers(model, rows, edits))
    if not parts:
        empty = torch.zeros(0, asked)
        return AnswerScores(empty, empty.bool(), empty)
    return AnswerScores(
        *(
            torch.cat([getattr(part, name) for part in parts]).view(len(variants), asked)
            for name in ("logprob", "kept", "lead")
        )
    )


def _rows_at_once(model: MemoryModel, batch: QuestionBatch, slots: int, kind: Ablation) -> int:
    """Rows of one pass, such that comparing reads with ablated slots takes bounded memory."""
    cells = 0
    for site in model.sites.values():
        info = site.info
        depth = info.knn + slots
        # about depth * ln(depth) pairs of ranks can win, and each is compared with each slot
        compared = info.knn if kind == "zero" else depth * depth.bit_length()
        cells = max(cells, batch.ids.shape[1] * info.heads * compared * max(1, slots))
    return max(1, min(ROWS, _CELLS // max(1, cells)))
