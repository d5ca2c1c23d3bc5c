"""Vectors of slots are value rows, or what a read of them adds at a site."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from inspector.analyses import slot_vectors as module
from inspector.analyses.gates import measure_mean_gates
from inspector.analyses.slot_vectors import slot_vectors, table_blocks
from inspector.capture.load import load
from inspector.errors import CacheError, SlotError
from inspector.families.base import MemoryModel

SLOTS = np.array([3, 17, 3, 63])


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")


def test_rows_are_those_of_the_table(model: MemoryModel) -> None:
    found = slot_vectors(model, 0, None, SLOTS)
    assert found.dtype == np.float32
    assert np.array_equal(found, model.tables[0].weight.numpy()[SLOTS])
    assert slot_vectors(model, 0, None, SLOTS[:0]).shape == (0, 32)


def test_contributions_go_through_each_slots_own_mean_gate(model: MemoryModel) -> None:
    gates = measure_mean_gates(model, [torch.tensor([[0, 10, 20, 30]])], "four tokens")
    own = gates.sites["L2"]
    read, unread = int(own.slots[1]), min(set(range(64)) - set(own.slots.tolist()))
    found = slot_vectors(model, 0, "L2", np.array([read, unread]), gates=gates)
    state = model.module.state_dict()
    values = state["model.value_tables.0.weight"][[read, unread]]
    gated = values * torch.stack([own.gates[1], own.mean])
    expected = gated @ state["model.layers.2.mlp.value_proj.weight"].T
    assert found == pytest.approx(expected.numpy(), abs=1e-5)


def test_blocks_are_put_together_and_told(
    model: MemoryModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = slot_vectors(model, 0, None, np.arange(64))
    monkeypatch.setattr(module, "BLOCK", 25)
    told: list[float] = []
    assert np.array_equal(slot_vectors(model, 0, None, np.arange(64), tell=told.append), whole)
    assert told == [25 / 64, 50 / 64, 1]
    blocks = list(table_blocks(model, 0, None))
    assert [start for start, _ in blocks] == [0, 25, 50]
    assert np.array_equal(np.concatenate([rows for _, rows in blocks]), whole)


def test_a_gate_that_nobody_measured_is_asked_for(model: MemoryModel) -> None:
    with pytest.raises(CacheError, match="inspector evaluate"):
        slot_vectors(model, 0, "L2", SLOTS)


@pytest.mark.parametrize("projection", ["none", "linear"])
def test_without_a_gate_no_scan_is_needed(
    tiny_checkpoint: Callable[..., Path], projection: str
) -> None:
    plain = load(tiny_checkpoint(memory_projection=projection), device="cpu")
    found = slot_vectors(plain, 0, "L0", SLOTS)
    values = plain.tables[0].weight[SLOTS]
    expected = plain.site("L0").project(values, None)
    assert found == pytest.approx(expected.numpy(), abs=1e-6)


def test_what_is_not_there_is_refused(model: MemoryModel) -> None:
    with pytest.raises(SlotError, match="0 to 63; found 3 to 64"):
        slot_vectors(model, 0, None, np.array([3, 64]))
    with pytest.raises(SlotError, match="no value table 1"):
        slot_vectors(model, 1, None, SLOTS)
    with pytest.raises(SlotError, match="no site L1"):
        slot_vectors(model, 0, "L1", SLOTS)
