"""Which checkpoints the picker offers: the samples that ship, and those opened lately."""

from __future__ import annotations

import json
from pathlib import Path

from inspector.capture.cache import cache_folder

ROOT = Path(__file__).resolve().parents[2] / "sample_checkpoints"
FIRST = "world-facts"
_KEPT = 8


def samples() -> dict[str, Path]:
    """Sample checkpoints by name, the one to start with first."""
    if not ROOT.is_dir():
        return {}
    names = sorted(
        (path.name for path in ROOT.iterdir() if (path / "config.json").is_file()),
        key=lambda name: (name != FIRST, name),
    )
    return {name: ROOT / name for name in names}


def resolve(choice: str) -> Path:
    """The path that a choice of the picker (a sample's name or a path) stands for."""
    path = Path(choice.strip())
    try:
        return samples().get(choice) or path.expanduser()
    except RuntimeError:  # there is no such user: opening the path will say so
        return path


def _recent_file() -> Path:
    return cache_folder() / "recent.json"


def recent() -> list[str]:
    """Paths opened lately that are still there, newest first."""
    try:
        listed = json.loads(_recent_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(listed, list):
        return []
    return [path for path in listed if isinstance(path, str) and Path(path).exists()][:_KEPT]


def remember(path: Path) -> None:
    """Put ``path`` first among the recent ones; a cache that can't be written is no error."""
    if path.parent == ROOT:
        return
    file = _recent_file()
    entries = [str(path), *(entry for entry in recent() if entry != str(path))][:_KEPT]
    if entries == recent():
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(entries), encoding="utf-8")
        part.replace(file)
    except OSError:
        return
