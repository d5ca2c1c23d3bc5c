"""What the slots of a map say: a decoding for each, from the site that it is shown at.

A map of contributions is decoded at its site. Value rows are decoded at every site that reads
their table, and each slot speaks as it does at the site where it stands out most from null
vectors, among those that read it: at the others a stand-in for its gate would decide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from inspector.capture.visible_text import visible_text
from inspector.ui.components import Tips

if TYPE_CHECKING:
    from inspector.analyses.decoded_table import DecodedTable
    from inspector.ui.cache import Opened

TOP = 5  # tokens that are shown of a slot, and searched

Report = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class Words:
    """Decodings ``tables [site]`` of one value table; ``speaker [slot]`` is whose words count."""

    tables: tuple[DecodedTable, ...]
    speaker: np.ndarray

    def __post_init__(self) -> None:
        """Refuse decodings of other tables."""
        if any(len(table) != len(self.speaker) for table in self.tables):
            raise ValueError(f"decodings are not of {len(self.speaker):,} slots")

    @property
    def how(self) -> str:
        """Which decoding this is, in words."""
        if len(self.tables) == 1:
            (table,) = self.tables
            return "raw" if table.gate == "raw" else f"static, at {table.site}"
        names = ", ".join(table.site for table in self.tables)
        return f"static, at the one of {names} where each value stands out most"

    @cached_property
    def promoted(self) -> np.ndarray:
        """Ids of the tokens each slot promotes, ``[slot top]``."""
        return self._of_speakers("promoted")

    @cached_property
    def logits(self) -> np.ndarray:
        """Their logits, ``[slot top]``."""
        return self._of_speakers("promoted_logits")

    @cached_property
    def p_value(self) -> np.ndarray:
        """How likely a null vector would be as clear, ``[slot]``, at one site or another.

        A slot speaks where it stands out most of the sites that read it, or of all if none does,
        so that its p-value there is multiplied by how many those are (Bonferroni).
        """
        read = (~np.stack([table.fallback for table in self.tables])).sum(0)
        looked_at = np.where(read > 0, read, len(self.tables))
        return np.asarray(np.minimum(self._of_speakers("p_value") * looked_at, 1.0))

    def site_of(self, slot: int) -> str:
        """The site whose words a slot is shown with."""
        return self.tables[int(self.speaker[slot])].site

    def texts(self, slot: int, top: int = TOP) -> list[str]:
        """The tokens that a slot promotes, with their white space visible."""
        return [visible_text(text) for text in self.tables[0].texts(self.promoted[slot, :top])]

    def tips(self, slots: np.ndarray) -> Tips:
        """What hovering the points of ``slots`` tells."""
        used, tokens = np.unique(self.promoted[slots, :TOP], return_inverse=True)
        shape = (len(slots), min(TOP, self.promoted.shape[1]))
        return Tips(tokens.reshape(shape), self.tables[0].texts(used))

    def _of_speakers(self, name: str) -> np.ndarray:
        if len(self.tables) == 1:
            return np.asarray(getattr(self.tables[0], name))
        stacked = np.stack([getattr(table, name) for table in self.tables])
        return np.asarray(stacked[self.speaker, np.arange(len(self.speaker))])


def find_words(
    opened: Opened,
    table: int,
    site: str | None,
    report: Report,
    cancel: Callable[[], bool],
) -> Words | None:
    """Decode every slot; None where no decoding means anything without a scan of gates.

    Raises:
        Cancelled: it was stopped.
    """
    from inspector.analyses.cluster_names import decoding_sites
    from inspector.analyses.decoded_table import decode_table

    model = opened.model
    sites = decoding_sites(model, table, site, opened.gates)
    tables = []
    for number, name in enumerate(sites):

        def tell(done: int, total: int, number: int = number) -> None:
            report("decoding every value", (number + done / total) / len(sites))

        at = name or model.sites_of(table)[0]
        gate = "raw" if name is None else "static"
        tables.append(decode_table(model, at, gate, gates=opened.gates, report=tell, cancel=cancel))
    return Words(tuple(tables), speakers(tables)) if tables else None


def speakers(tables: list[DecodedTable]) -> np.ndarray:
    """Which decoding speaks for each slot, ``[slot]``: see the module."""
    unread = np.stack([table.fallback for table in tables])
    p_value = np.stack([table.p_value for table in tables])
    standing = np.stack([table.standing for table in tables])
    order = np.lexsort((-standing, p_value, unread), axis=0)
    return np.asarray(order[0])
