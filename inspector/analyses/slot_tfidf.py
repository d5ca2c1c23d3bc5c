"""Which slots does this text read that others don't? TF-IDF of slots between two scans."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from inspector.analyses.usage_measures import table_reads
from inspector.capture.usage import Usage
from inspector.errors import InspectorError


@dataclass(frozen=True, eq=False)
class SlotTfidf:
    """TF-IDF of the slots of one table: what a text reads more than the background does.

    All fields are ``[slot]``. ``score = reads / sum of reads * log((|B| + 1) / (1 + b))`` where b
    of the background's |B| documents read the slot (Lin et al. 2025, "Continual Learning via
    Sparse Memory Finetuning", which counts batches).
    """

    table: int
    reads: np.ndarray  # int64, in the text
    background: np.ndarray  # int32, documents of the background that read it
    background_documents: int  # |B|
    score: np.ndarray  # float64

    def to_frame(self, top: int | None = None) -> pd.DataFrame:
        """The slots that the text reads, highest score first; all, or the ``top`` first."""
        order = np.argsort(-self.score, kind="stable")
        order = order[self.reads[order] > 0][:top]
        return pd.DataFrame(
            {
                "slot": order,
                "reads": self.reads[order],
                "share": self.reads[order] / max(int(self.reads.sum()), 1),
                "background_documents": self.background[order],
                "score": self.score[order],
            }
        )


def slot_tfidf(text: Usage, background: Usage, table: int = 0) -> SlotTfidf:
    """Hold the scan of a text against that of a background.

    Raises:
        InspectorError: the scans are not of tables of one size.
    """
    found = [len(u.tables[table].documents) if table in u.tables else 0 for u in (text, background)]
    if found[0] != found[1] or not found[0]:
        raise InspectorError(
            f"The two scans read tables {table} of {found[0]:,} and of {found[1]:,} slots. Slots "
            f"can be compared between scans of the same checkpoint only."
        )
    reads = table_reads(text, table)
    rarity = np.log((background.documents + 1) / (1 + background.tables[table].documents))
    return SlotTfidf(
        table=table,
        reads=reads,
        background=background.tables[table].documents,
        background_documents=background.documents,
        score=reads / max(int(reads.sum()), 1) * rarity,
    )
