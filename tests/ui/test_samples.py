"""Which checkpoints are offered: samples by name, then those opened lately."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inspector.ui import samples


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "samples"
    monkeypatch.setattr(samples, "ROOT", root)
    return root


def checkpoint(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    return path


def recent_file(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir(exist_ok=True)
    return tmp_path / "cache" / "recent.json"


def test_the_first_sample_is_world_facts(root: Path) -> None:
    assert samples.samples() == {}
    for name in ("a-snapshot", "world-facts", "world-facts-dense"):
        checkpoint(root / name)
    (root / "no-checkpoint").mkdir()
    (root / "README.md").write_text("")
    assert list(samples.samples()) == ["world-facts", "a-snapshot", "world-facts-dense"]


def test_a_choice_is_a_sample_or_a_path(root: Path) -> None:
    own = checkpoint(root / "world-facts")
    assert samples.resolve("world-facts") == own
    assert samples.resolve(" some/where ") == Path("some/where")
    assert samples.resolve("~/x") == Path.home() / "x"
    assert samples.resolve("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")


def test_the_latest_is_remembered_first_and_once(tmp_path: Path, root: Path) -> None:
    paths = [checkpoint(tmp_path / str(number)) for number in range(10)]
    for path in (*paths, paths[5]):
        samples.remember(path)
    expected = [5, 9, 8, 7, 6, 4, 3, 2]
    assert samples.recent() == [str(paths[number]) for number in expected]


def test_samples_are_offered_anyway_and_not_remembered(root: Path) -> None:
    samples.remember(checkpoint(root / "world-facts"))
    assert samples.recent() == []


def test_what_is_gone_is_no_longer_offered(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "gone")
    samples.remember(path)
    (path / "config.json").unlink()
    path.rmdir()
    assert samples.recent() == []


@pytest.mark.parametrize("content", ["", "{", "5", '{"a": 1}', "[1, null, [2]]", '"text"', "\xff"])
def test_a_broken_list_is_an_empty_one(tmp_path: Path, content: str) -> None:
    recent_file(tmp_path).write_bytes(content.encode("latin-1"))
    assert samples.recent() == []
    path = checkpoint(tmp_path / "new")
    samples.remember(path)
    assert json.loads(recent_file(tmp_path).read_text()) == [str(path)]


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a file"
    file.write_text("")
    monkeypatch.setenv("INSPECTOR_CACHE", str(file))
    samples.remember(checkpoint(tmp_path / "new"))
    assert samples.recent() == []
