"""How each snapshot of a training uses its memory: the same scan of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from inspector.analyses.corpus_sample import sample_texts
from inspector.analyses.snapshots import Snapshot
from inspector.analyses.training_record import norm_quantiles
from inspector.analyses.usage_measures import measure_usage
from inspector.analyses.verdicts import Verdict, judge_usage
from inspector.capture.corpus import open_corpus
from inspector.capture.load import load
from inspector.capture.scan import ScanProgress, scan
from inspector.capture.usage import Usage
from inspector.families.base import MemoryModel

CHARACTERS: Final = 80_000  # about 20,000 tokens

_DONE: Final = ScanProgress(1, 1, 0.0)

Report = Callable[[int, int, str], None]


def measure_snapshots(
    snapshots: Sequence[Snapshot],
    corpus: str | Path,
    *,
    characters: int = CHARACTERS,
    seed: int = 0,
    device: str = "auto",
    report: Report = lambda done, total, note: None,
    cancel: Callable[[], bool] = lambda: False,
) -> pd.DataFrame:
    """Scan the same texts, drawn at random from ``corpus``, with every snapshot that has memory.

    One row a snapshot, table and site, with the columns of a training's record where they mean
    the same: here the half-keys that a scan finds dead, with its evidence. Stopped by ``cancel``,
    it gives the snapshots done until then.

    Raises:
        CheckpointError: one cannot be opened.
        CorpusError: the corpus cannot be read.
    """
    texts = sample_texts(open_corpus(corpus), characters, seed)
    rows: list[dict[str, Any]] = []
    for number, snapshot in enumerate(snapshots):
        tell = partial(_tell, report, number, len(snapshots))
        tell(None)
        model = load(snapshot.path, device)
        if model.sites:
            usage = scan(model, texts, seed=seed, report=tell, cancel=cancel)
            if cancel():
                break
            rows += _rows(snapshot, model, usage)
        tell(_DONE)
    return pd.DataFrame(rows)


def _tell(report: Report, number: int, snapshots: int, now: ScanProgress | None) -> None:
    """How far all scans are together: ``number`` snapshots are done, ``now`` is of the next."""
    share = min(now.tokens / now.total, 1.0) if now and now.total else 0.0
    done = round(1000 * (number + share))
    report(done, 1000 * snapshots, f"snapshot {number + 1} of {snapshots}")


def _rows(snapshot: Snapshot, model: MemoryModel, usage: Usage) -> list[dict[str, Any]]:
    verdicts = judge_usage(usage)
    rows = []
    for measures in measure_usage(usage):
        if measures.level == "head":
            continue
        counted = measures.parts["slots", "counted"]
        sites = [measures.site] if measures.site else model.sites_of(measures.table)
        judged = [j for (site, _, _), j in verdicts.half_keys.items() if site in sites]
        row: dict[str, Any] = {
            "step": snapshot.step,
            "table": measures.table,
            "site": measures.site,
            "tokens": usage.tokens,
            "slots": counted.items,
            "slots_read": counted.read,
            "usage": counted.usage,
            "unevenness": counted.unevenness,
            "effective": counted.effective,
            "gini": counted.gini,
            "half_keys": sum(len(each.hits) for each in judged),
            "half_keys_unread": sum(int((each.hits == 0).sum()) for each in judged),
            "half_keys_dead": sum(each.count(Verdict.DEAD) for each in judged),
        }
        if measures.site is None:
            weight = model.tables[measures.table].weight
            norms = weight.detach().float().norm(dim=-1)
            row |= norm_quantiles(np.asarray(norms.cpu().numpy()))
        rows.append(row)
    return rows
