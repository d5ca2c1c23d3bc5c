"""Snapshots of a training, made of one checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def plant_snapshots(checkpoint: Path, folder: Path) -> Path:
    """Three snapshots of one run in ``folder``, and a checkpoint of another."""
    for name, step in (("tiny-step-10", 10), ("tiny-step-200", 200), ("tiny", 1000), ("lone", 7)):
        copy = Path(shutil.copytree(checkpoint, folder / name))
        record = {"settings": {}, "step": step}
        if "step" in name:
            record["snapshot_of"] = "tiny"
        (copy / "training.json").write_text(json.dumps(record))
        overall = {"overall": {"recall_all": step / 1000, "heldout_recall_all": None}}
        (copy / "metrics.json").write_text(json.dumps(overall))
    return folder
