"""Snapshots of one training: which lie beside each other, and how each uses its memory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from inspector.analyses.training_record import norm_quantiles
from inspector.analyses.usage_measures import measure_usage
from inspector.analyses.verdicts import Verdict, judge_usage
from inspector.capture.load import load
from inspector.capture.scan import ScanProgress, scan
from inspector.capture.usage import Usage
from inspector.errors import TrainingError
from inspector.families.base import MemoryModel

TOKENS: Final = 20_000
_STEP: Final = re.compile(r"(?:step[-_]|checkpoint-)(\d+)$")

Report = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Snapshot:
    """A checkpoint of one moment of a training; recall where ``metrics.json`` tells it."""

    path: Path
    step: int
    run: str
    recall: float | None
    heldout_recall: float | None


def find_snapshots(path: Path) -> tuple[Snapshot, ...]:
    """The snapshots of one run, by ascending step.

    Args:
        path: a checkpoint of the run, whose fellows lie beside it, or a folder of them. Where a
            folder holds those of several runs, the run with most snapshots is taken.

    Raises:
        TrainingError: there are no two checkpoints whose step is known.
    """
    folder = path.parent if (path / "config.json").is_file() else path
    if not folder.is_dir():
        raise TrainingError(f"There is no folder {folder}.")
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise TrainingError(f"{folder} cannot be listed: {error.strerror}.") from None
    found: dict[str, list[Snapshot]] = {}
    for each in inside:
        if (each / "config.json").is_file() and (snapshot := _snapshot(each)) is not None:
            found.setdefault(snapshot.run, []).append(snapshot)
    own = _snapshot(path) if folder != path else None
    chosen = found.get(own.run, []) if own else max(found.values(), key=len, default=[])
    if len(chosen) < 2:
        raise TrainingError(
            f"{path} holds no snapshots of a training: expected at least two checkpoints side by "
            "side, with the step in training.json or at the end of their names (NAME-step-500, "
            "checkpoint-500)."
        )
    return tuple(sorted(chosen, key=lambda snapshot: snapshot.step))


def _snapshot(folder: Path) -> Snapshot | None:
    """The checkpoint in ``folder`` as a snapshot; None if nothing says of which step."""
    record = _json(folder / "training.json")
    named = _STEP.search(folder.name)
    step = record.get("step", int(named[1]) if named else None)
    if not isinstance(step, int):
        return None
    run = record.get("snapshot_of") or (folder.name[: named.start()] if named else folder.name)
    overall = _json(folder / "metrics.json").get("overall")
    known_rates = overall if isinstance(overall, dict) else {}
    rates = [known_rates.get(name) for name in ("recall_all", "heldout_recall_all")]
    known = [float(rate) if isinstance(rate, int | float) else None for rate in rates]
    return Snapshot(folder, step, str(run).rstrip("-_"), known[0], known[1])


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def measure_snapshots(
    snapshots: Sequence[Snapshot],
    corpus: str | Path,
    *,
    tokens: int = TOKENS,
    device: str = "auto",
    report: Report = lambda done, total, note: None,
    cancel: Callable[[], bool] = lambda: False,
) -> pd.DataFrame:
    """Scan the same ``tokens`` of ``corpus`` with every snapshot that has memory.

    One row a snapshot, table and site, with the columns of a training's record where they mean
    the same: here the half-keys that a scan finds dead, with its evidence. Stopped by ``cancel``,
    it gives the snapshots done until then.

    Raises:
        CheckpointError: one cannot be opened.
        CorpusError: the corpus cannot be read.
    """
    rows: list[dict[str, Any]] = []
    for number, snapshot in enumerate(snapshots):
        tell = partial(_tell, report, number, len(snapshots), tokens)
        tell(None)
        model = load(snapshot.path, device)
        if model.sites:
            usage = scan(model, corpus, tokens, report=tell, cancel=cancel)
            if cancel():
                break
            rows += _rows(snapshot, model, usage)
    return pd.DataFrame(rows)


def _tell(
    report: Report, number: int, snapshots: int, tokens: int, now: ScanProgress | None
) -> None:
    """How far all scans are together: ``number`` snapshots are done, ``now`` is of the next."""
    total = snapshots * tokens
    done = number * tokens + (now.tokens if now else 0)
    report(min(done, total), total, f"snapshot {number + 1} of {snapshots}")


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
