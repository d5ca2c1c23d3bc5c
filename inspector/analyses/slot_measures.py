"""One row a slot: what a map can be coloured by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from inspector.analyses.decoded_table import DecodedTable
from inspector.analyses.slot_vectors import BLOCK, check_table, slot_vectors
from inspector.analyses.token_classes import TOKEN_CLASSES, token_classes
from inspector.analyses.usage_measures import sites_of
from inspector.analyses.value_map_record import ValueMap
from inspector.analyses.verdicts import Verdict, judge_usage
from inspector.capture.usage import Usage
from inspector.errors import SlotError
from inspector.families.base import MemoryModel

SITE_SHARE: Final = "share_"  # and the site's name: the share of a slot's reads that it made


def slot_measures(
    model: MemoryModel,
    table: int = 0,
    *,
    usage: Usage | None = None,
    decoded: DecodedTable | None = None,
    initial: MemoryModel | None = None,
    value_map: ValueMap | None = None,
) -> pd.DataFrame:
    """What is known of each slot of a table, row i of slot i. Columns that need more come with it.

    Always: ``slot`` and ``norm``, the length of the value row. With ``usage``: ``reads``;
    ``weight``, their summed |coefficient|, and ``weight_share`` of the table's; for each site
    ``share_L1``, the share of the slot's reads that it made (NaN if never read); ``verdict``, as
    words. With ``decoded``: ``promoted``, the best token's text (untrusted), ``token_class``, and
    ``stands_out``, whether the value passes the test of its decoding. With ``initial``: ``drift``,
    the Euclidean distance from the same row of an earlier snapshot. With ``value_map``:
    ``cluster``, -1 for none or for slots that aren't on the map.

    Raises:
        SlotError: no such table, or ``initial``, ``decoded`` or ``value_map`` is of one of another
            size.
    """
    check_table(model, table)
    slots = np.arange(model.tables[table].slots)
    columns: dict[str, Any] = {"slot": slots, "norm": _norms(model, table, slots)}
    if usage is not None and table in usage.tables:
        columns |= _usage_columns(usage, table)
    if decoded is not None:
        _same_size(len(decoded), slots, "The decoding")
        columns |= _token_columns(model, decoded)
    if initial is not None:
        columns["drift"] = _drift(model, initial, table, slots)
    if value_map is not None:
        _same_size(value_map.total, slots, "The map")
        columns["cluster"] = np.full(len(slots), -1, dtype=np.int32)
        columns["cluster"][value_map.slots] = value_map.clusters
    return pd.DataFrame(columns)


def _norms(model: MemoryModel, table: int, slots: np.ndarray) -> np.ndarray:
    norms = [
        np.linalg.norm(slot_vectors(model, table, None, part), axis=1) for part in _parts(slots)
    ]
    return np.concatenate(norms)


def _drift(model: MemoryModel, initial: MemoryModel, table: int, slots: np.ndarray) -> np.ndarray:
    if table >= len(initial.tables):
        raise SlotError(f"{initial.name} has no value table {table} to measure drift from.")
    then, now = initial.tables[table], model.tables[table]
    if (then.slots, then.d_value) != (now.slots, now.d_value):
        raise SlotError(
            f"Drift is measured between tables of one size: {model.name} has {now.slots} values of "
            f"{now.d_value} numbers, {initial.name} {then.slots} of {then.d_value}."
        )
    moved = [
        slot_vectors(model, table, None, part) - slot_vectors(initial, table, None, part)
        for part in _parts(slots)
    ]
    return np.concatenate([np.linalg.norm(part, axis=1) for part in moved])


def _parts(slots: np.ndarray) -> Sequence[np.ndarray]:
    return [slots[start : start + BLOCK] for start in range(0, len(slots), BLOCK)]


def _usage_columns(usage: Usage, table: int) -> dict[str, Any]:
    sites = sites_of(usage, table)
    per_site = {name: site.reads.sum(0) for name, site in sites.items()}
    reads = np.sum(list(per_site.values()), axis=0)
    weight = np.sum([site.weights.sum(0) for site in sites.values()], axis=0)
    labels = pd.Index([verdict.label for verdict in Verdict])
    codes = judge_usage(usage).values[table].verdicts.astype(np.int64)
    with np.errstate(invalid="ignore"):
        shares = {f"{SITE_SHARE}{name}": own / reads for name, own in per_site.items()}
    return {
        "reads": reads,
        "weight": weight,
        "weight_share": weight / (weight.sum() or 1.0),
        **shares,
        "verdict": pd.Categorical.from_codes(codes, labels),
    }


def _token_columns(model: MemoryModel, decoded: DecodedTable) -> dict[str, Any]:
    best = decoded.promoted[:, 0]
    classes = token_classes(model, best)
    return {
        "promoted": decoded.texts(best),
        "token_class": pd.Categorical(classes, categories=list(TOKEN_CLASSES)),
        "stands_out": decoded.passes,
    }


def _same_size(size: int, slots: np.ndarray, what: str) -> None:
    if size != len(slots):
        raise SlotError(f"{what} is of {size:,} slots, but the table has {len(slots):,}.")
