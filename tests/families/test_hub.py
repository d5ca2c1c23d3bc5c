"""Checkpoints by their name on the Hub, against a small one on this machine."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

import inspector
from inspector.errors import Cancelled, CheckpointNotFound, UnsafeCheckpoint
from inspector.families import hub as hub_module
from inspector.families.hub import HubId, fetch, fetched, hub_id, list_files
from tests.families.small_hub import SHA, SmallHub, serving


@pytest.fixture
def hub(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SmallHub]:
    """One repository with a native checkpoint, code and weights that nobody opens."""
    own = Path(shutil.copytree(tiny_checkpoint(), tmp_path / "repository"))
    (own / "modeling_evil.py").write_text("raise SystemExit('never run')")
    (own / "pytorch_model.bin").write_bytes(b"pickled")
    (own / "facts.jsonl").write_text("{}\n")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(SmallHub({"org/tiny": own})) as served:
        _point_at(served.url, monkeypatch)
        yield served


def _point_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", HubId("org/name")),
        ("org/name@v1.0", HubId("org/name", "v1.0")),
        ("org/name@refs/pr/1", HubId("org/name", "refs/pr/1")),
        ("name", None),
        ("/org/name", None),
        ("./org/name", None),
        ("~/name", None),
        ("../name", None),
        ("org/name/more", None),
        ("org/na me", None),
        ("org/name@", None),
        ("org/name@..", None),
        ("org/name@../../evil", None),
        ("org/name@/etc", None),
        ("org/name@a//b", None),
    ],
)
def test_names_are_told_from_paths(text: str, expected: HubId | None) -> None:
    assert hub_id(text) == expected
    if expected is not None:
        assert str(expected) == text


def test_a_path_here_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub_id("org/name") == HubId("org/name")
    (tmp_path / "org").mkdir()
    assert hub_id("org/name") is None, "a folder org is here: name is missing in it"
    (tmp_path / "org" / "name").touch()
    assert hub_id("org/name") is None


def test_it_opens_by_its_name(hub: SmallHub) -> None:
    model = inspector.load("org/tiny", device="cpu")
    direct = inspector.load(hub.repositories["org/tiny"], device="cpu")
    assert model.name == "org/tiny"
    assert model.fingerprint == direct.fingerprint
    assert inspector.self_check(model).passed
    sent = hub.files_sent()
    assert "model.safetensors" in sent
    assert "facts.jsonl" in sent
    assert not {"modeling_evil.py", "pytorch_model.bin"} & set(sent)
    assert not list(model.path.glob("*.py"))


def test_it_is_fetched_once(hub: SmallHub) -> None:
    told: list[tuple[int, int, str]] = []
    folder = fetch(HubId("org/tiny"), lambda *state: told.append(state))
    size = list_files(HubId("org/tiny")).size
    assert told[-1][:2] == (size, size)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    first = hub.files_sent()
    assert fetch(HubId("org/tiny")) == folder == fetched(HubId("org/tiny"))
    assert hub.files_sent() == first


def test_a_revision_is_fetched(hub: SmallHub) -> None:
    assert fetch(HubId("org/tiny", "v1")).name == SHA
    with pytest.raises(CheckpointNotFound, match="has no revision v9"):
        fetch(HubId("org/tiny", "v9"))


def test_what_isnt_there_is_told(hub: SmallHub) -> None:
    with pytest.raises(CheckpointNotFound, match="no such repository on the Hub"):
        inspector.load("org/typo", device="cpu")


def test_a_gated_repository_is_told(hub: SmallHub) -> None:
    hub.gated.add("org/tiny")
    with pytest.raises(CheckpointNotFound, match=r"is gated.*hf auth login"):
        inspector.load("org/tiny", device="cpu")


def test_a_repository_of_something_else_is_told(hub: SmallHub, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "pytorch_model.bin").write_bytes(b"pickled")
    hub.repositories["org/other"] = other
    with pytest.raises(CheckpointNotFound, match=r"no checkpoint.*It has: pytorch_model.bin"):
        fetch(HubId("org/other"))
    assert "pytorch_model.bin" not in hub.files_sent()


def test_without_a_network_what_was_fetched_opens(
    hub: SmallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetch(HubId("org/tiny"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        _point_at(f"http://127.0.0.1:{unused.getsockname()[1]}", monkeypatch)
    assert fetch(HubId("org/tiny")) == folder
    with pytest.raises(CheckpointNotFound, match=r"Hub cannot be reached.*hf download org/gone"):
        fetch(HubId("org/gone"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(HubId("org/tiny")) == folder
    with pytest.raises(CheckpointNotFound, match="HF_HUB_OFFLINE is set"):
        fetch(HubId("org/gone"))


def test_a_hub_that_fails_is_told(hub: SmallHub) -> None:
    hub.failing = True
    with pytest.raises(CheckpointNotFound, match="503"):
        fetch(HubId("org/tiny"))


def test_fetching_can_be_stopped(hub: SmallHub) -> None:
    def stop(done: int, total: int, file: str) -> None:
        raise Cancelled("It was stopped.")

    with pytest.raises(Cancelled):
        fetch(HubId("org/tiny"), stop)


def test_a_full_disk_is_told_before_anything_is_fetched(
    hub: SmallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(hub_module.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(CheckpointNotFound, match=r"only 0\.0 GB free"):
        fetch(HubId("org/tiny"))
    assert not hub.files_sent()


def test_roots_hold_for_what_is_fetched(
    hub: SmallHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSPECTOR_ROOTS", str(tmp_path / "elsewhere"))
    with pytest.raises(UnsafeCheckpoint, match="INSPECTOR_ROOTS"):
        inspector.load("org/tiny", device="cpu")
    assert not hub.asked


def test_half_of_it_is_not_fetched_by_opening_what_is_here(
    hub: SmallHub, tiny_checkpoint: Callable[..., Path]
) -> None:
    own = hub.repositories["org/tiny"]
    (own / "model.safetensors").unlink()
    shutil.copytree(tiny_checkpoint(max_shard_size="20KB"), own, dirs_exist_ok=True)
    shards = sorted(own.glob("model*.safetensors"))
    assert len(shards) > 1

    def stop(done: int, total: int, file: str) -> None:
        if file == shards[1].name:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        fetch(HubId("org/tiny"), stop)
    sent = len(hub.files_sent())
    assert fetched(HubId("org/tiny")) is None
    with pytest.raises(CheckpointNotFound, match="not fetched from the Hub yet, or not all"):
        inspector.load("org/tiny", "cpu", offline=True)
    assert len(hub.files_sent()) == sent
    fetch(HubId("org/tiny"))
    hub.failing = True
    assert inspector.load("org/tiny", "cpu", offline=True).name == "org/tiny"


def test_a_revision_that_is_a_folder_of_the_cache_is_not_here(
    hub: SmallHub, tmp_path: Path
) -> None:
    fetch(HubId("org/tiny"))
    refs = tmp_path / "cache" / "models--org--tiny" / "refs"
    (refs / "feature").mkdir()
    assert fetched(HubId("org/tiny", "feature")) is None
