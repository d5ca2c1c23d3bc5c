"""The one door: families register under distinct names, and the first that recognises opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from inspector.errors import CheckpointNotFound, UnknownFamily
from inspector.families import registry
from inspector.families.registry import Family, Opening, families, open_checkpoint, register


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FAMILIES", {})


def family(name: str, marker: str, seen: list[Any]) -> Family:
    """A family of the directories that hold a file called ``marker``."""

    def recognise(path: Path) -> str | None:
        return f"there is a {marker}" if (path / marker).exists() else None

    def opens(path: Path, reason: str, opening: Opening) -> Any:
        seen.append((name, path, reason, opening))

    return Family(name, recognise, opens)


def test_the_first_family_that_recognises_a_path_opens_it(tmp_path: Path) -> None:
    seen: list[Any] = []
    for name, marker in (("first", "a"), ("second", "b"), ("third", "b")):
        register(family(name, marker, seen))
    assert [f.name for f in families()] == ["first", "second", "third"]
    (tmp_path / "b").touch()
    device = torch.device("cpu")
    words = tmp_path / "words"
    open_checkpoint(tmp_path, device=device, dtype=torch.float16, tokenizer=words)
    given = Opening(device, torch.float16, words)
    assert seen == [("second", tmp_path, "there is a b", given)]


def test_a_name_is_given_once() -> None:
    register(family("own", "a", []))
    with pytest.raises(ValueError, match="'own' is registered already"):
        register(family("own", "b", []))
    assert len(families()) == 1


def test_the_families_that_were_asked_are_named(tmp_path: Path) -> None:
    register(family("own", "a", []))
    register(family("other", "b", []))
    with pytest.raises(UnknownFamily, match=r"can be opened here \(own, other\)"):
        open_checkpoint(tmp_path, device=torch.device("cpu"))


def test_a_folder_that_may_not_be_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(family("own", "a", []))

    def refuse(self: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(CheckpointNotFound, match=r"cannot be opened: Permission denied\."):
        open_checkpoint(tmp_path, device=torch.device("cpu"))
