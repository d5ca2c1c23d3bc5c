"""Every test of a page is a new user on a machine without samples or recent checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from inspector.ui import samples


@pytest.fixture(autouse=True)
def sample_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the app looks for samples: an empty folder, until a test puts one there."""
    folder = tmp_path / "samples"
    folder.mkdir()
    monkeypatch.setattr(samples, "ROOT", folder)
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def copied(tiny_checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    """A checkpoint that may be changed."""
    return Path(shutil.copytree(tiny_checkpoint(), tmp_path / "copied"))
