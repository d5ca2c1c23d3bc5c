"""A scan that is killed, cached, run twice at once, or meets a full disk."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest

from inspector.capture import scan as scan_module
from inspector.capture import scan_recorder
from inspector.capture.cache import cache_folder, replacing
from inspector.capture.load import load
from inspector.capture.scan import ScanProgress, scan
from inspector.capture.scan_log import Log
from inspector.capture.usage import Usage
from inspector.capture.usage_files import USAGE, load_arrays, read_usage, save_arrays, write_usage
from inspector.errors import CacheError
from inspector.families.base import MemoryModel
from tests.capture.test_scan import CORPUS

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test, chunks of 128 tokens, and a save after each of them."""
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(scan_recorder, "_CHUNK_READS", 2048)
    monkeypatch.setattr("inspector.capture.scan_prefixes._BITS", 16)
    monkeypatch.setattr(scan_module, "_SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(scan_module, "_SAVE_SHARE", np.inf)
    return tmp_path / "cache"


class Killed(Exception):  # noqa: N818
    """Stands for a process that ends here."""


def killed_scan(model: MemoryModel, batches: int, **options: Any) -> None:
    left = iter(range(batches))

    def report(_progress: ScanProgress) -> None:
        if next(left, None) is None:
            raise Killed

    with pytest.raises(Killed):
        scan(model, CORPUS, batch_tokens=40, report=report, **options)


def assert_equal(one: Any, other: Any, where: str = "usage") -> None:
    """The same to the last bit, whatever the records hold."""
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype, where
        np.testing.assert_array_equal(one, other, err_msg=where)
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key, value in one.items():
            assert_equal(value, other[key], f"{where}.{key}")
    elif hasattr(one, "__dataclass_fields__"):
        assert_equal(vars(one), vars(other), where)
    else:
        assert one == other, where


def batches_of(model: MemoryModel) -> int:
    told: list[ScanProgress] = []
    scan(model, CORPUS, batch_tokens=40, report=told.append, cache=False)
    return len(told) - 1


# --- killed and taken up again ------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tokens", [None, 400])
def test_killed_and_resumed_equals_uninterrupted(
    model: MemoryModel, seed: int, tokens: int | None
) -> None:
    whole = scan(model, CORPUS, tokens, batch_tokens=40, cache=False)
    draw = random.Random(seed)
    for _ in range(draw.randint(1, 3)):
        killed_scan(model, draw.randint(0, 7), tokens=tokens)
    told: list[ScanProgress] = []
    resumed = scan(model, CORPUS, tokens, batch_tokens=40, report=told.append)
    assert_equal(resumed, whole)


def test_what_was_saved_is_not_scanned_again(model: MemoryModel) -> None:
    batches = batches_of(model)
    killed_scan(model, batches - 1)
    told: list[ScanProgress] = []
    scan(model, CORPUS, batch_tokens=40, report=told.append)
    assert told[0].tokens > 128
    assert len(told) - 1 < batches / 2


def test_a_kill_within_a_long_document_is_taken_up_there(model: MemoryModel) -> None:
    corpus = [" ".join(CORPUS)]
    whole = scan(model, corpus, cache=False)
    left = iter(range(3))

    def report(_progress: ScanProgress) -> None:
        if next(left, None) is None:
            raise Killed

    with pytest.raises(Killed):
        scan(model, corpus, report=report)
    assert_equal(scan(model, corpus), whole)


def test_a_kill_while_saving_leaves_the_state_before(
    model: MemoryModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scan(model, CORPUS, cache=False)
    save, calls = np.savez, iter(range(2))

    def killed_savez(file: Any, **arrays: np.ndarray) -> None:
        if next(calls, None) is None:
            file.write(b"half a file")
            raise Killed
        save(file, **arrays)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", killed_savez)
        with pytest.raises(Killed):
            scan(model, CORPUS)
    told: list[ScanProgress] = []
    assert_equal(scan(model, CORPUS, report=told.append), whole)
    assert told[0].tokens > 128


def _scan_until_killed(path: Path, cache: Path) -> None:
    os.environ["INSPECTOR_CACHE"] = str(cache)
    scan_recorder._CHUNK_READS = 2048  # type: ignore[misc]
    scan_module._SAVE_EVERY_S, scan_module._SAVE_SHARE = 0.0, np.inf

    def report(progress: ScanProgress) -> None:
        if progress.tokens > 400:
            os.kill(os.getpid(), 9)

    scan(load(path, device="cpu"), CORPUS, batch_tokens=40, report=report)


@pytest.mark.slow
def test_a_process_that_is_killed(model: MemoryModel, own_cache: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("inspector.capture.scan_prefixes._BITS", 28)
    # A page test may have run a script as __main__; the new process is not to run it again.
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_scan_until_killed, args=(model.path, own_cache)
    )
    process.start()
    process.join()
    assert process.exitcode == -9
    told: list[ScanProgress] = []
    resumed = scan(model, CORPUS, batch_tokens=40, report=told.append)
    assert told[0].tokens > 128
    assert_equal(resumed, scan(model, CORPUS, batch_tokens=40, cache=False))


def test_after_cancelling_it_goes_on_from_the_last_save(model: MemoryModel) -> None:
    asked = iter(range(10**6))
    cancelled = scan(model, CORPUS, batch_tokens=40, cancel=lambda: next(asked) == 8)
    tokens = cancelled.token_ids.tolist()
    told: list[ScanProgress] = []
    resumed = scan(model, CORPUS, batch_tokens=40, report=told.append)
    assert told[0].tokens > 128
    assert_equal(resumed, scan(model, CORPUS, batch_tokens=40, cache=False))
    assert cancelled.token_ids.tolist() == tokens  # what went on did not change what was returned


# --- the cache ----------------------------------------------------------------------------------


def test_a_finished_scan_is_read_from_the_cache(
    model: MemoryModel, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    first = scan(model, CORPUS)
    assert not list(own_cache.rglob("state*"))
    assert not list(own_cache.rglob("*.part"))
    monkeypatch.setattr(scan_module, "run_sites", None)  # it isn't run
    again = scan(model, CORPUS)
    assert_equal(again, first)
    assert isinstance(again.token_ids, np.memmap)


def test_what_decides_the_result_decides_the_cache(model: MemoryModel, own_cache: Path) -> None:
    usages: list[Usage] = [scan(model, CORPUS)]
    usages += [scan(model, CORPUS, 300), scan(model, CORPUS, seed=1), scan(model, CORPUS[1:])]
    assert len({usage.contexts[0].token.tobytes() for usage in usages}) == 4
    assert len(list((own_cache / "scans").iterdir())) == 4


def test_without_a_cache_nothing_is_written(model: MemoryModel, own_cache: Path) -> None:
    scan(model, CORPUS, cache=False)
    scan(model, iter(CORPUS))  # can't be read twice, so can't be known again
    assert not own_cache.exists()


def test_a_broken_result_is_scanned_anew(model: MemoryModel, own_cache: Path) -> None:
    whole = scan(model, CORPUS)
    file = next(own_cache.rglob(USAGE))
    file.write_bytes(file.read_bytes()[:1000])
    assert_equal(scan(model, CORPUS), whole)
    next(own_cache.rglob("tokens.int32")).write_bytes(b"\0" * 10)
    assert_equal(scan(model, CORPUS), whole)


def test_a_broken_state_is_scanned_anew(model: MemoryModel, own_cache: Path) -> None:
    whole = scan(model, CORPUS, batch_tokens=40, cache=False)
    killed_scan(model, 9)
    state = next(own_cache.rglob("state.npz"))
    state.write_bytes(state.read_bytes()[:1000])
    assert_equal(scan(model, CORPUS, batch_tokens=40), whole)


def test_a_state_without_its_tokens_is_scanned_anew(model: MemoryModel, own_cache: Path) -> None:
    whole = scan(model, CORPUS, batch_tokens=40, cache=False)
    killed_scan(model, 9)
    next(own_cache.rglob("tokens.int32")).write_bytes(b"\0" * 10)
    assert_equal(scan(model, CORPUS, batch_tokens=40), whole)


def test_the_same_scan_twice_at_once(model: MemoryModel, own_cache: Path) -> None:
    whole = scan(model, CORPUS, cache=False)
    killed_scan(model, 3)
    folder = next((own_cache / "scans").iterdir())
    before = {file: file.read_bytes() for file in folder.iterdir() if file.name != "lock"}
    with filelock.FileLock(folder / "lock"):
        second = scan(model, CORPUS, batch_tokens=40)
    np.testing.assert_array_equal(second.token_ids, whole.token_ids)
    assert second.notes == ("The same scan is running elsewhere. The scan was not cached.",)
    assert {file: file.read_bytes() for file in before} == before


def test_a_usage_can_be_kept_in_a_folder_of_ones_own(model: MemoryModel, tmp_path: Path) -> None:
    usage = scan(model, CORPUS)
    write_usage(tmp_path / "here" / "usage", usage)
    assert_equal(read_usage(tmp_path / "here" / "usage"), usage)
    with pytest.raises(CacheError, match="none"):
        read_usage(tmp_path / "none")


# --- a disk that is full, or not to be written ---------------------------------------------------


def test_a_full_disk_while_saving_costs_the_cache_alone(
    model: MemoryModel, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    whole = scan(model, CORPUS, cache=False)

    def full(*_args: Any, **_arrays: Any) -> None:
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        usage = scan(model, CORPUS)
    assert "No space left on device" in usage.notes[0]
    assert len(usage.notes) == 1
    assert_equal({**vars(usage), "notes": ()}, vars(whole))
    assert not list(own_cache.rglob("*.npz*"))
    assert_equal(scan(model, CORPUS), whole)


class FullFile:
    """A file that takes no more."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, _content: bytes) -> int:
        raise FULL

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("chunks", [0, 2])
def test_a_full_disk_while_logging_keeps_the_rest_in_memory(
    model: MemoryModel, monkeypatch: pytest.MonkeyPatch, own_cache: Path, chunks: int
) -> None:
    whole = scan(model, CORPUS, cache=False)
    append, calls = Log.append, iter(range(2 * chunks))

    def append_or_not(log: Log, numbers: np.ndarray) -> None:
        if next(calls, None) is None and not isinstance(log._file, FullFile):
            log._file = FullFile(log._file)  # type: ignore[assignment]
        append(log, numbers)

    with monkeypatch.context() as patch:
        patch.setattr(Log, "append", append_or_not)
        usage = scan(model, CORPUS)
    assert "No space left on device" in usage.notes[0]
    assert_equal({**vars(usage), "notes": ()}, vars(whole))
    assert not list(own_cache.rglob(USAGE))
    assert_equal(scan(model, CORPUS), whole)


def test_writing_to_a_device_that_is_full(tmp_path: Path) -> None:
    """The real error, from the kernel: the temporary name leads to /dev/full."""
    file = tmp_path / "kept.npz"
    save_arrays(file, {"a": np.arange(3)}, {})
    (tmp_path / f"kept.npz.{os.getpid()}.{threading.get_ident()}.part").symlink_to("/dev/full")
    with pytest.raises(CacheError, match="No space left on device"):
        save_arrays(file, {"a": np.zeros(10**6)}, {})
    assert load_arrays(file)[0]["a"].tolist() == [0, 1, 2]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["kept.npz"]


@pytest.fixture
def blocked_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "file" / "cache"))
    return cache_folder()


def test_a_cache_that_cannot_be_written(model: MemoryModel, blocked_cache: Path) -> None:
    usage = scan(model, CORPUS)
    assert str(blocked_cache) in usage.notes[0]
    assert_equal({**vars(usage), "notes": ()}, vars(scan(model, CORPUS, cache=False)))


def test_what_fails_is_not_renamed(tmp_path: Path) -> None:
    def write_half() -> None:
        with replacing(tmp_path / "a") as temporary:
            temporary.write_text("half")
            raise Killed

    with pytest.raises(Killed):
        write_half()
    assert not list(tmp_path.iterdir())


def test_two_threads_that_keep_the_same_result_do_not_write_into_one_file(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=20)

    def write(text: str) -> None:
        with replacing(tmp_path / "a") as temporary:
            temporary.write_text(text)
            both.wait()  # each has written its own by now
            assert temporary.read_text() == text

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, ("one", "two")))
    assert (tmp_path / "a").read_text() in ("one", "two")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("INSPECTOR_CACHE")
    assert cache_folder().name == "memory-inspector"
