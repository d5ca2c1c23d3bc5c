"""Measuring a checkpoint's directory: the facts it was trained on in, the numbers beside it out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from inspector.analyses.facts import Fact, read_facts
from inspector.capture.load import load
from inspector.errors import CacheError, FactsError
from inspector.training.evaluate import evaluate
from inspector.training.gate_scan import has_gates, write_training_gates
from inspector.training.metrics import Metrics
from inspector.training.readme import MARK, readme
from inspector.training.run_folder import read_record

FACTS: Final = "facts.jsonl"


def checkpoint_facts(checkpoint: Path, named: Path | None = None) -> tuple[Fact, ...]:
    """The facts in the file ``named``, or else those a checkpoint was trained on.

    Those are its own, or, of a snapshot, those of the run that it was taken from.

    Raises:
        FactsError: there are none, or they cannot be read.
    """
    candidates = [named or checkpoint / FACTS]
    record = read_record(checkpoint)
    if named is None and record and "snapshot_of" in record:
        candidates.append(checkpoint.resolve().parent / str(record["snapshot_of"]) / FACTS)
    for file in candidates:
        if file.is_file():
            return read_facts(file)
    raise FactsError(
        f"There is no {' and no '.join(map(str, candidates))}: name a file of facts to ask for."
    )


def evaluate_checkpoint(
    checkpoint: Path,
    *,
    facts: Path | None = None,
    device: str = "auto",
    seed: int = 0,
    gates: bool = True,
    tell: Callable[[str], None] = lambda message: None,
) -> Metrics:
    """Measure a checkpoint and write ``metrics.json``, ``README.md`` and its mean gates beside it.

    A README that this function did not write is left alone; so are sites without gates. The mean
    gates, over every training sentence, are what a static decoding needs.

    Raises:
        CheckpointError: it cannot be opened.
        FactsError: no facts were found, or they cannot be read.
        CacheError: the results cannot be written.
    """
    checkpoint = checkpoint.resolve()  # its name is told, which "." has none of
    asked = checkpoint_facts(checkpoint, facts)
    model = load(checkpoint, device)
    metrics = evaluate(model, asked, seed=seed, tell=tell)
    try:
        _write_json(model.path / "metrics.json", metrics.to_json())
        page = model.path / "README.md"
        if not page.exists() or page.read_text(encoding="utf-8").startswith(MARK):
            page.write_text(readme(model, metrics, read_record(model.path)), encoding="utf-8")
        if gates and has_gates(model):
            tell("mean gates of every slot")
            write_training_gates(model, asked)
    except OSError as error:
        raise CacheError(f"{checkpoint} cannot be written to: {error.strerror}.") from None
    return metrics


def _write_json(path: Path, payload: dict[str, Any]) -> None:
    path.write_text(json.dumps(payload, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
