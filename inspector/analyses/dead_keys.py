"""What is not alive, on what evidence, why, and what would help: verdicts and causes as a table."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import numpy as np
import pandas as pd

from inspector.analyses.causes import Diagnosis, diagnose
from inspector.analyses.coverage import unread_share
from inspector.analyses.half_key_causes import NO_CAUSE, Cause
from inspector.analyses.usage_measures import sites_of
from inspector.analyses.verdicts import Judged, Verdict, Verdicts
from inspector.capture.usage import Usage
from inspector.families.base import MemoryModel, SiteInfo

NOT_ALIVE: Final = (Verdict.DEAD, Verdict.NOT_SEEN_YET, Verdict.RARE)

_LEVELS: Final = ("value", "half-key", "address")
_REMEDIES: Final = tuple(dict.fromkeys(cause.remedy for cause in Cause))
_VOID: Final = -1  # in columns of codes and whole numbers: there is none
_WHOLE: Final = ("head", "set", "half_key", "slot", "tokens_to_decide", "best_rank")


def dead_key_table(
    usage: Usage, model: MemoryModel, verdicts: Collection[Verdict] = NOT_ALIVE
) -> pd.DataFrame:
    """All that is not alive in a scan: see ``dead_key_frame``."""
    return dead_key_frame(diagnose(usage, model), verdicts)


def dead_key_frame(diagnosis: Diagnosis, verdicts: Collection[Verdict] = NOT_ALIVE) -> pd.DataFrame:
    """One row for each value, half-key and address with one of ``verdicts``.

    ``rate_bound`` is the 95 % upper bound of its rate as a share of uniform use, ``expected`` the
    hits it would have under uniform use; about ``tokens_to_decide`` further tokens decide what was
    not seen yet; ``slots_concerned`` addresses go with it: n for a half-key. ``best_rank``,
    ``margin``, ``norm_z`` and ``reach`` are those of half-keys (see ``HalfKeyFindings``).
    """
    blocks = [_rows(diagnosis, judged, judged.chosen(*verdicts)) for judged in diagnosis.verdicts]
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    labels = {
        "level": _LEVELS,
        "site": tuple(diagnosis.sites),
        "verdict": tuple(verdict.label for verdict in Verdict),
        "cause": tuple(cause.label for cause in Cause),
        "remedy": _REMEDIES,
    }
    return pd.DataFrame(
        {
            name: _column(values, labels.get(name), name in _WHOLE)
            for name, values in columns.items()
        },
        copy=False,
    )


def _column(values: np.ndarray, labels: tuple[str, ...] | None, whole: bool) -> Any:
    if labels is not None:
        return pd.Categorical.from_codes(values.astype(np.int64), pd.Index(labels))
    return pd.arrays.IntegerArray(values, values == _VOID) if whole else values


def _rows(diagnosis: Diagnosis, judged: Judged, items: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of the rows of ``items``; texts as codes, ``_VOID`` where there is none."""
    info = _info(diagnosis, judged)
    is_half = judged.half is not None
    verdict, cause = judged.verdicts[items], diagnosis.causes(judged)[items]
    unseen, caused = verdict == Verdict.NOT_SEEN_YET, cause != NO_CAUSE
    remedies = np.array([_REMEDIES.index(each.remedy) for each in Cause])

    def all_rows(value: float | None) -> np.ndarray:
        return np.full(len(items), _VOID if value is None else value)

    return {
        "level": all_rows(_LEVELS.index(judged.level)),
        "table": all_rows(judged.table),
        "site": all_rows(None if judged.site is None else list(diagnosis.sites).index(judged.site)),
        "head": all_rows(judged.head),
        "set": all_rows(None if judged.half is None else judged.half + 1),
        "half_key": items if is_half else all_rows(None),
        "slot": all_rows(None) if is_half else items,
        "address": np.array(_addresses(judged, info, items), dtype=object),
        "verdict": verdict,
        "hits": judged.hits[items],
        "contexts": all_rows(judged.contexts),
        "expected": all_rows(float(judged.expected)),
        "rate_bound": judged.rate_bounds(items),
        "tokens_to_decide": np.where(unseen, judged.tokens_to_decide, _VOID),
        "cause": np.where(caused, cause, _VOID),
        "remedy": np.where(caused, remedies[np.where(caused, cause, 0)], _VOID),
        "slots_concerned": all_rows(info.half_keys if is_half else 1),
        **_measured(diagnosis, judged, items),
    }


def _info(diagnosis: Diagnosis, judged: Judged) -> SiteInfo:
    """The site judged; for values, one of those that read the table: their sizes are the same."""
    if judged.site is not None:
        return diagnosis.sites[judged.site]
    return next(info for info in diagnosis.sites.values() if info.table == judged.table)


def _measured(diagnosis: Diagnosis, judged: Judged, items: np.ndarray) -> dict[str, np.ndarray]:
    """What was measured on half-keys; void for what is none."""
    if judged.site is None or judged.half is None:
        nothing = np.full(len(items), np.nan)
        void = np.full(len(items), _VOID)
        return {"best_rank": void, "margin": nothing, "norm_z": nothing, "reach": nothing}
    findings, at = diagnosis.half_keys[judged.site], (judged.head, judged.half, items)
    return {
        "best_rank": findings.best_rank[at].astype(np.int64),
        "margin": findings.margin[at].astype(np.float64),
        "norm_z": findings.norm_z[at],
        "reach": findings.reach[at],
    }


def _addresses(judged: Judged, info: SiteInfo, items: np.ndarray) -> list[str]:
    """``L4·H2·(431,77)``; a half-key's has a star for all that it pairs with: ``(431,*)``."""
    place = "" if judged.site is None else f"{judged.site}·H{judged.head}·"
    if judged.half is not None:
        return [
            f"{place}({item},*)" if judged.half == 0 else f"{place}(*,{item})" for item in items
        ]
    first = [f"{place}({i}," for i in range(info.half_keys)]
    second = [f"{j})" for j in range(info.half_keys)]
    i, j = np.divmod(items, info.half_keys)
    return [first[a] + second[b] for a, b in zip(i.tolist(), j.tolist(), strict=True)]


def cause_summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Each cause, its remedy, and how many dead values, half-keys and addresses it concerns.

    Args:
        frame: from ``dead_key_table``. An address that two dead half-keys share counts once.
    """
    counts = frame.groupby(["cause", "level"], observed=False).size()
    return pd.DataFrame(
        {
            "cause": [cause.label for cause in Cause],
            "remedy": [cause.remedy for cause in Cause],
            "values": [int(counts[cause.label, "value"]) for cause in Cause],
            "half_keys": [int(counts[cause.label, "half-key"]) for cause in Cause],
            "addresses": [int(counts[cause.label, "address"]) for cause in Cause],
        }
    )


def headline(usage: Usage, verdicts: Verdicts, table: int = 0) -> str:
    """The answer in one sentence, with the evidence it rests on."""
    values = verdicts.values[table]
    half_keys = [judged for judged in verdicts.half_keys.values() if judged.table == table]
    dead = sum(judged.count(Verdict.DEAD) for judged in half_keys)
    reads = sum(int(site.reads.sum()) for site in sites_of(usage, table).values())
    unread = np.count_nonzero(values.hits[values.chosen(Verdict.DEAD)] == 0)
    missed = float(unread_share(usage, table, np.array(usage.tokens))) * len(values.hits)
    return (
        f"{values.count(Verdict.DEAD):,} of {len(values.hits):,} values are dead ({unread:,} of "
        f"them never read), "
        f"{values.count(Verdict.NOT_SEEN_YET):,} not seen yet, {values.count(Verdict.RARE):,} rare "
        f"and {values.count(Verdict.ALIVE):,} alive, and {dead:,} of "
        f"{sum(len(judged.hits) for judged in half_keys):,} half-keys are dead, on the evidence of "
        f"{reads:,} reads at {usage.tokens:,} tokens in {usage.distinct_contexts:,} distinct "
        f"contexts, where uniform use would have left {missed:,.0f} values unread."
    )
