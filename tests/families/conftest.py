"""A checkpoint of each family's variants, and one of its own for each test that damages one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from inspector.families.base import MemoryModel
from tests.families.conformance import CASES, Case


@pytest.fixture
def checkpoint(tiny_checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(tiny_checkpoint(), tmp_path / "copy"))


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@pytest.fixture(scope="module")
def path(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return case.write(tmp_path_factory.mktemp(case.name) / "checkpoint", 0)


@pytest.fixture(scope="module")
def model(case: Case, path: Path) -> MemoryModel:
    return case.open(path, device="cpu")
