"""Damaged checkpoints, thousands of them: each opens and adds up, or is refused with a sentence."""

from __future__ import annotations

import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from inspector.capture.load import load, self_check
from inspector.errors import InspectorError, SelfCheckFailed
from tests.conftest import SENTENCES
from tests.families import tiny_meta, tiny_re133
from tests.families.mutations import Damage, contents, restore
from tests.families.tiny_native import write_checkpoint

# 2,080 mutations in all, in parts small enough that a failing one is soon found again.
PART = 130
PARTS = {"native": 5, "meta": 4, "re133": 3, "re133-run": 2, "dcp": 2}
SECONDS = 20  # for one of them, on a busy machine; most take a twentieth of a second
MEMORY = 3 * 2**30


def write_native(folder: Path) -> Path:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    memory = {"memory_layers": [1], "memory_half_keys": 4, "memory_d_value": 16, "memory_d_key": 4}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return write_checkpoint(folder, SENTENCES, **sizes, **heads, **memory)


def write_meta(folder: Path, write: Callable[..., Path] = tiny_meta.write_consolidated) -> Path:
    model = {"dim": 16, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1}
    config = tiny_meta.params(model, layers="1", mem_n_keys=4, mem_k_dim=4, swilu_projection=True)
    return write(folder, config, tiny_meta.random_state(config, 0))


def write_dcp(folder: Path) -> Path:
    return write_meta(folder, tiny_meta.write_dcp)


def write_re133(
    folder: Path, write: Callable[..., Path] = tiny_re133.write_packed, **more: Any
) -> Path:
    sizes = {"d_model": 16, "n_layers": 2, "n_heads": 2, "ffn_hidden": 16, "mem_layers": [1]}
    options = {**tiny_re133.OPTIONS, **sizes, "mem_n_keys": 4, "mem_k_dim": 4, **more}
    return write(folder, options, tiny_re133.random_state(options, 0))


def write_re133_run(folder: Path) -> Path:
    return write_re133(folder, tiny_re133.write_run, mem_score_scale="learned")


WRITERS = {
    "native": write_native,
    "meta": write_meta,
    "re133": write_re133,
    "re133-run": write_re133_run,
    "dcp": write_dcp,
}


@contextmanager
def limits(told: str) -> Iterator[None]:
    """No time and no memory without end."""

    def late(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"{told}: not done after {SECONDS} s")

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


def outcome(folder: Path) -> str:
    """How opening and checking it ended: ``opened``, or the name of the error."""
    try:
        model = load(folder, device="cpu")
        check = self_check(model)
    except InspectorError as error:
        return type(error).__name__ if str(error).strip() else "an error that says nothing"
    return "opened" if check.passed else SelfCheckFailed.__name__


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "part"), [(family, part) for family, count in PARTS.items() for part in range(count)]
)
def test_damage_is_refused_or_harmless(family: str, part: int, tmp_path: Path) -> None:
    folder = WRITERS[family](tmp_path / "checkpoint")
    whole = contents(folder)
    assert outcome(folder) == "opened"
    ended: Counter[str] = Counter()
    escaped = []
    for seed in range(part * PART, (part + 1) * PART):
        told = Damage(folder, seed).told
        start = time.monotonic()
        try:
            with limits(told):
                found = outcome(folder)
        except BaseException as error:  # whatever it is, it must not get here
            if isinstance(error, KeyboardInterrupt):
                raise
            escaped.append(f"{told} -> {type(error).__name__}: {str(error)[:300]}")
            found = "escaped"
        ended[found] += 1
        assert time.monotonic() - start < SECONDS
        restore(folder, whole)
    assert not escaped, "\n".join(escaped)
    assert sum(ended.values()) == PART
    assert "an error that says nothing" not in ended
    assert ended["opened"] < 0.7 * PART, "much of the damage is found"
    assert ended["SelfCheckFailed"] <= PART / 20, "few checkpoints open and do not add up"
    assert len(ended) >= 3, ended


def test_there_are_enough() -> None:
    assert sum(PARTS.values()) * PART >= 2000
    assert set(PARTS) == set(WRITERS)
