"""Each thing is computed once, for all users, and again when its checkpoint changes."""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from inspector.analyses.decoding import decode
from inspector.capture.load import load
from inspector.capture.trace import trace
from inspector.errors import CheckpointNotFound, EmptyPrompt, SlotError
from inspector.ui import cache

Written = Callable[..., Path]


@pytest.fixture(scope="module")
def opened(tiny_checkpoint: Written) -> cache.Opened:
    return cache.opened(str(tiny_checkpoint()), "cpu")


def test_a_checkpoint_is_opened_once(tiny_checkpoint: Written, opened: cache.Opened) -> None:
    path = str(tiny_checkpoint())
    assert cache.opened(path, "cpu") is opened
    assert opened.check.passed
    assert opened.costs.total == sum(p.numel() for p in opened.model.module.parameters())
    assert opened.gates is None


def test_a_file_that_changed_is_opened_anew(tiny_checkpoint: Written, tmp_path: Path) -> None:
    path = Path(shutil.copytree(tiny_checkpoint(), tmp_path / "copy"))
    before = cache.opened(str(path), "cpu")
    later = (path / "config.json").stat().st_mtime + 5
    os.utime(path / "config.json", (later, later))
    assert cache.opened(str(path), "cpu") is not before


def test_a_failure_is_not_kept(tiny_checkpoint: Written, tmp_path: Path) -> None:
    path = tmp_path / "later"
    with pytest.raises(CheckpointNotFound):
        cache.opened(str(path), "cpu")
    shutil.copytree(tiny_checkpoint(), path)
    assert cache.opened(str(path), "cpu").check.passed


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "~nobody-of-this-name"])
def test_a_path_that_can_be_none_is_told(path: str) -> None:
    with pytest.raises(CheckpointNotFound):
        cache.opened(path, "cpu")


def test_a_text_is_traced_once(opened: cache.Opened) -> None:
    found, length = cache.traced(opened, "Lima speaks")
    assert cache.traced(opened, "Lima speaks")[0] is found
    assert length == found.ids.shape[1]
    assert torch.equal(found.logits, trace(opened.model, "Lima speaks").logits)
    longer, same = cache.traced(opened, "Lima speaks", 3)
    assert same == length
    assert longer.ids.shape[1] in range(length + 1, length + 4)
    assert torch.equal(longer.ids[:, :length], found.ids)


def test_two_checkpoints_of_one_text_are_two_traces(
    tiny_checkpoint: Written, opened: cache.Opened
) -> None:
    other = cache.opened(str(tiny_checkpoint(seed=1)), "cpu")
    one, two = (cache.traced(source, "Lima speaks")[0] for source in (opened, other))
    assert not torch.equal(one.logits, two.logits)


def test_an_empty_text_is_refused_every_time(opened: cache.Opened) -> None:
    for _ in range(2):
        with pytest.raises(EmptyPrompt):
            cache.traced(opened, " ")


def test_effects_are_those_of_the_trace(opened: cache.Opened) -> None:
    found, _ = cache.traced(opened, "Lima speaks", 2)
    effect = cache.explained(opened, "Lima speaks", 2, 1, token=5, against=9)
    logits = found.logits[0, 1]
    assert effect.total == pytest.approx(float(logits[5] - logits[9]), abs=1e-6)
    assert cache.explained(opened, "Lima speaks", 2, 1, 5, 9) is effect


def test_reads_are_decoded_in_their_order(opened: cache.Opened) -> None:
    found, _ = cache.traced(opened, "Lima speaks")
    decoding = cache.decoded_reads(opened, "Lima speaks", 0, 2, "L2")
    assert decoding.slots.tolist() == found.reads["L2"].slots[0, 2].flatten().tolist()
    assert decoding.gate == "context"


def test_a_slot_is_decoded_as_the_library_does(
    tiny_checkpoint: Written, opened: cache.Opened
) -> None:
    found = cache.decoded_slot(opened, 7, "L0", "raw")
    expected = decode(load(tiny_checkpoint(), device="cpu"), [7], "L0", "raw")
    assert found.promoted.tolist() == expected.promoted.tolist()
    narrow = cache.opened(str(tiny_checkpoint(memory_d_value=24)), "cpu")
    with pytest.raises(SlotError):
        cache.decoded_slot(narrow, 7, "L0", "raw")


def test_a_checkpoint_that_is_no_longer_used_is_forgotten(tiny_checkpoint: Written) -> None:
    """Four are kept; what a fifth replaced is gone when a sixth is opened."""
    model = cache.opened(str(tiny_checkpoint(seed=10)), "cpu").model
    layer, table = weakref.ref(model.sites["L0"].module), weakref.ref(model.tables[0])
    del model
    for seed in range(11, 16):
        cache.opened(str(tiny_checkpoint(seed=seed)), "cpu")
    assert layer() is None
    assert table() is None


def test_users_at_the_same_moment_get_the_same(tiny_checkpoint: Written) -> None:
    path = str(tiny_checkpoint(seed=3))
    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(lambda _: cache.opened(path, "cpu"), range(16)))
    assert len({id(model) for model in models}) == 1
