"""The text around a slot's reads: what the model had before it, and what came next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from inspector.analyses.read_index import SlotReads
from inspector.analyses.scanned_text import window_of
from inspector.capture.usage import Usage
from inspector.families.base import MemoryModel

KINDS: Final = ("strongest", "weakest quarter", "second quarter", "third quarter", "top quarter")
STRONGEST: Final = 16  # contexts that a study of a slot takes, and as many at random
_AFTER: Final = 6  # tokens shown after the one that read
_TOKENS: Final = 8192  # of one study's contexts together, padded to the longest


@dataclass(frozen=True)
class ReadContext:
    """One read in its text. ``prefix`` are the window's token ids up to the one that read, with
    it; ``following`` those after it in the same window, a few of them.
    """

    kind: str
    site: str
    head: int
    coefficient: float
    token: int  # its place among the scan's tokens
    prefix: tuple[int, ...]
    following: tuple[int, ...]


def read_context(
    model: MemoryModel, usage: Usage, token: int, kind: str, read: tuple[str, int, float]
) -> ReadContext:
    """The context of a read ``(site, head, coefficient)`` at the scan's ``token``."""
    start, end = window_of(model, usage, token)
    prefix = tuple(np.asarray(usage.token_ids[start : token + 1]).tolist())
    following = np.asarray(usage.token_ids[token + 1 : min(end, token + 1 + _AFTER)]).tolist()
    return ReadContext(kind, *read, token, prefix, tuple(following))


def scanned_contexts(
    model: MemoryModel, usage: Usage, table: int, slot: int
) -> tuple[ReadContext, ...]:
    """A slot's strongest reads and those drawn from its quarters: what a scan keeps of it.

    In the order of ``KINDS``, strongest first in each.
    """
    kept = usage.contexts[table]
    first, last = np.searchsorted(kept.slot, [slot, slot + 1])
    names = {model.site(name).info.layer: name for name in model.sites_of(table)}
    return tuple(
        read_context(
            model,
            usage,
            int(kept.token[at]),
            KINDS[int(kept.kind[at])],
            (names[int(kept.site[at])], int(kept.head[at]), float(kept.weight[at])),
        )
        for at in range(int(first), int(last))
    )


def studied_contexts(
    model: MemoryModel, usage: Usage, reads: SlotReads, seed: int = 0
) -> tuple[tuple[ReadContext, ...], tuple[ReadContext, ...]]:
    """The contexts that read a slot most strongly, and as many drawn at random from the others.

    Both from a sample of the scan's text; fewer where the contexts are long.

    Args:
        model: the one that was scanned.
        usage: its scan.
        reads: of the slot, strongest first, from an index of ``usage``.
        seed: decides which are drawn.
    """
    place = np.sort(np.unique(reads.token, return_index=True)[1])  # of a context its strongest read
    strongest, others = place[:STRONGEST], place[STRONGEST:]
    drawn = np.random.default_rng(seed).permutation(others)[:STRONGEST]

    def contexts(chosen: np.ndarray, kind: str) -> tuple[ReadContext, ...]:
        found: list[ReadContext] = []
        longest = 0
        for at in chosen.tolist():
            read = (str(reads.site[at]), int(reads.head[at]), float(reads.coefficient[at]))
            each = read_context(model, usage, int(reads.token[at]), kind, read)
            longest = max(longest, len(each.prefix))
            if found and longest * (len(found) + 1) > _TOKENS:
                break
            found.append(each)
        return tuple(found)

    return contexts(strongest, "strongest"), contexts(drawn, "random")


def contexts_frame(model: MemoryModel, contexts: Sequence[ReadContext]) -> pd.DataFrame:
    """One row a read, with the text before it, the token that read, and the text after it."""

    def text(ids: Sequence[int]) -> str:
        return "".join(model.token_text(token) for token in ids)

    return pd.DataFrame(
        [
            {
                "kind": each.kind,
                "site": each.site,
                "head": each.head,
                "coefficient": each.coefficient,
                "before": text(each.prefix[:-1]),
                "token": text(each.prefix[-1:]),
                "after": text(each.following),
                "place": each.token,
            }
            for each in contexts
        ]
    )
