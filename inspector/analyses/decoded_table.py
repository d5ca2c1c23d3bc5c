"""Every slot of a table, decoded as one site writes it: streamed, cached and resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import torch

from inspector.analyses.decoded_store import BLOCK, Columns, DecodedStore, empty_columns
from inspector.analyses.gates import MeanGates, SiteGates, mean_gates
from inspector.analyses.slot_decoder import SlotDecoder
from inspector.analyses.token_texts import token_texts
from inspector.analyses.value_quality import TESTED_AT, significant
from inspector.capture.session import standing_edits
from inspector.errors import CacheError, Cancelled
from inspector.families.base import MemoryModel, Site

_VERSION: Final = 1  # of how a decoding is made; what other versions kept is not read


@dataclass(frozen=True, eq=False)
class DecodedTable:
    """Tokens that every value of a table promotes and suppresses, as one site writes them.

    Row i is slot i. ``promoted`` and ``suppressed`` are token ids ``[slot top]`` int32, best
    first, with their logits ``[slot top]`` float32 (inner products with the unembedding, final
    norm's scale applied, not divided by the rms). ``standing [slot]`` float32 is the top logit
    standardised over the vocabulary, ``p_value [slot]`` float64 its rank among null vectors (see
    ``value_quality``), ``fallback [slot]`` is True where a static gate had no reads and the site's
    mean stood in. ``texts_of [d_vocab]`` are the texts of all tokens.
    """

    site: str
    gate: str  # raw or static
    promoted: np.ndarray
    promoted_logits: np.ndarray
    suppressed: np.ndarray
    suppressed_logits: np.ndarray
    standing: np.ndarray
    p_value: np.ndarray
    fallback: np.ndarray
    texts_of: tuple[str, ...]
    note: str = ""  # why it could not be cached, if so

    def __post_init__(self) -> None:
        """Refuse parts that disagree in shape."""
        wide = (self.promoted_logits, self.suppressed, self.suppressed_logits)
        flat = (self.standing, self.p_value, self.fallback)
        if any(part.shape != self.promoted.shape for part in wide):
            raise ValueError("a decoded table has as many tokens as logits at both ends")
        if any(part.shape != self.promoted.shape[:1] for part in flat):
            raise ValueError(f"a decoding of {len(self)} slots has parts of other lengths")

    def __len__(self) -> int:
        """Number of slots."""
        return len(self.promoted)

    @property
    def top(self) -> int:
        """Tokens kept at either end of each value."""
        return int(self.promoted.shape[1])

    @property
    def passes(self) -> np.ndarray:
        """Whether a value stands out from null vectors at 5 %, each by itself: ``[slot]`` bool."""
        return self.p_value <= TESTED_AT

    @property
    def significant(self) -> np.ndarray:
        """Whether it still does given how many were looked at: ``[slot]`` bool.

        Benjamini and Hochberg (1995) over all slots, at 5 %.
        """
        return significant(self.p_value)

    def texts(self, ids: np.ndarray) -> list[str]:
        """Texts of token ``ids``."""
        return [self.texts_of[token] for token in ids.tolist()]

    def to_frame(self, slots: np.ndarray | None = None) -> pd.DataFrame:
        """One row a slot, of ``slots`` or of all: tokens as lists, best first."""
        rows = np.arange(len(self)) if slots is None else np.asarray(slots, dtype=np.int64)
        return pd.DataFrame(
            {
                "site": self.site,
                "gate": self.gate,
                "slot": rows,
                "promoted": [self.texts(row) for row in self.promoted[rows]],
                "promoted_logits": self.promoted_logits[rows].tolist(),
                "suppressed": [self.texts(row) for row in self.suppressed[rows]],
                "suppressed_logits": self.suppressed_logits[rows].tolist(),
                "standing": self.standing[rows],
                "p_value": self.p_value[rows],
                "passes": self.passes[rows],
                "significant": self.significant[rows],
                "fallback": self.fallback[rows],
            }
        )


def decode_table(
    model: MemoryModel,
    site: str | None = None,
    gate: str = "static",
    *,
    top: int = 20,
    gates: MeanGates | None = None,
    report: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> DecodedTable:
    """Decode all slots of the table that ``site`` reads, as ``decode`` would each of them.

    Kept in the cache folder block by block, so that stopped work goes on where it was. Within
    standing edits the edited values are decoded, and nothing is kept.

    Args:
        model: an opened checkpoint.
        site: name of a site; the first one by default.
        gate: ``static``, or ``raw`` for the values themselves times the unembedding.
        top: tokens kept at either end.
        gates: mean gates from a scan; those that the checkpoint ships by default.
        report: is told how much is done, and of how much: slots, and as much again where p-values
            may have to be made finer.
        cancel: asked often; once it says True the work stops.

    Raises:
        SlotError: no such site, or raw values do not live in the residual stream.
        NotShown: what the site writes is no sum over its reads, so that only raw values decode.
        CacheError: the site has a gate that depends on the input, and no scan says how it gates.
        ValueError: an unknown gate.
        Cancelled: it was stopped; the blocks done by then are kept.
    """
    chosen = model.site(site or next(iter(model.sites), "L0"))
    gates = _gates_for(model, chosen, gate, gates)
    decoder = SlotDecoder(model, chosen, gate, gates)
    kept = not standing_edits(model)
    store = DecodedStore(_parameters(model, chosen, gate, top, gates) if kept else None)

    total = chosen.info.slots * (2 if decoder.own_nulls else 1)

    def watch(done: float | None = None) -> None:
        if cancel is not None and cancel():
            raise Cancelled("The decoding was stopped; asked again it goes on from there.")
        if done is not None and report is not None:
            report(int(done), total)

    columns = empty_columns(chosen.info.slots, min(top, len(token_texts(model))))
    for start, block in _blocks(columns):
        watch(start)
        if not store.read(start, block):
            slots = torch.arange(start, start + len(block["standing"]), device=model.device)
            rows = decoder.rows(slots, top, watch)
            for name, column in block.items():
                column[...] = getattr(rows if hasattr(rows, name) else rows.ends, name)
            store.write(start, block)
    columns["p_value"] = _p_values(decoder, store, columns, watch)
    watch(total)
    return _table(model, chosen, gate, columns, store.note)


def _p_values(
    decoder: SlotDecoder, store: DecodedStore, columns: Columns, watch: Callable[[float], None]
) -> np.ndarray:
    """P-values as fine as the number of slots asks for, which is known when all are decoded."""
    found = store.read_p_values()
    if found is not None and len(found) == len(columns["p_value"]):
        return found
    found, slots = columns["p_value"], len(columns["p_value"])
    if decoder.own_nulls:
        found = decoder.finer(found, columns["standing"], lambda share: watch((1 + share) * slots))
    store.write_p_values(found)
    return found


def _blocks(columns: Columns) -> Iterator[tuple[int, Columns]]:
    """Views of the columns, a block at a time, and the first slot of each."""
    for start in range(0, len(columns["standing"]), BLOCK):
        yield start, {name: column[start : start + BLOCK] for name, column in columns.items()}


def stored_decoding(
    model: MemoryModel,
    site: str | None = None,
    gate: str = "static",
    top: int = 20,
    gates: MeanGates | None = None,
) -> DecodedTable | None:
    """What ``decode_table`` would give, if the cache folder holds all of it; else None.

    Raises:
        SlotError: no such site.
    """
    chosen = model.site(site or next(iter(model.sites), "L0"))
    if gate == "static" and chosen.info.gated:
        gates = gates or mean_gates(model)
        if gates is None or chosen.info.name not in gates.sites:
            return None
    store = DecodedStore(_parameters(model, chosen, gate, top, gates))
    columns = empty_columns(chosen.info.slots, min(top, len(token_texts(model))))
    p_values = store.read_p_values()
    if p_values is None or not all(store.read(start, block) for start, block in _blocks(columns)):
        return None
    return _table(model, chosen, gate, columns | {"p_value": p_values})


def _gates_for(
    model: MemoryModel, site: Site, gate: str, gates: MeanGates | None
) -> MeanGates | None:
    if gate != "static" or not site.info.gated:
        return None
    gates = gates or mean_gates(model)
    if gates is None or site.info.name not in gates.sites:
        raise CacheError(
            f"{model.name} has no scan of its own that says how {site.info.name} gates each slot. "
            "`inspector evaluate` makes it; --gate raw does without."
        )
    return gates


def _parameters(
    model: MemoryModel, site: Site, gate: str, top: int, gates: MeanGates | None
) -> dict[str, Any]:
    """All that decides a decoding."""
    own = None if gate == "raw" or gates is None else gates.sites.get(site.info.name)
    return {
        "result": "decoding",
        "version": _VERSION,
        "fingerprint": model.fingerprint,
        "dtype": str(model.dtype),
        "table": site.info.table,
        "site": None if gate == "raw" else site.info.name,
        "gate": gate,
        "gates": None if own is None else _digest(own),
        "top": top,
    }


def _digest(gates: SiteGates) -> str:
    digest = hashlib.sha256()
    for part in (gates.slots, gates.gates, gates.mean):
        digest.update(part.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:24]


def _table(
    model: MemoryModel, site: Site, gate: str, columns: Columns, note: str = ""
) -> DecodedTable:
    return DecodedTable(
        site=site.info.name, gate=gate, texts_of=token_texts(model), note=note, **columns
    )
