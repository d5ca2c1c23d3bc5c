"""Every test of a page is a new user on a machine without samples or recent checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import app_test

from inspector.ui import samples


@pytest.fixture(autouse=True)
def sample_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the app looks for samples: an empty folder, until a test puts one there."""
    folder = tmp_path / "samples"
    folder.mkdir()
    monkeypatch.setattr(samples, "ROOT", folder)
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "cache"))
    return folder


class SecondVisit(PagesManager):
    """A server that has run the frame before, and so runs it before every page.

    AppTest forgets that between runs. What a server does on its first visit: tests/browser.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        PagesManager.uses_pages_directory = False
        super().__init__(*args, **options)


@pytest.fixture(autouse=True)
def frame_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PagesManager, "uses_pages_directory", False)
    monkeypatch.setattr(app_test, "PagesManager", SecondVisit)


@pytest.fixture
def copied(tiny_checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    """A checkpoint that may be changed."""
    return Path(shutil.copytree(tiny_checkpoint(), tmp_path / "copied"))
