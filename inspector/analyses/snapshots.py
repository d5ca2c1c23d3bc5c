"""Snapshots of one training: which checkpoints lie beside each other, and of which steps."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inspector.errors import TrainingError

_STEP: Final = re.compile(r"(?:step[-_]|checkpoint-)(\d+)$")


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
