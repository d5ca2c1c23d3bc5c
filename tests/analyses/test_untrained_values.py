"""Values never trained: told by their norm where norms can tell, "unknown" where they can't."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from inspector.analyses.untrained_values import find_untrained, initial_norms
from inspector.families.base import MemoryModel, Provenance
from inspector.memory.llama import MemoryLlamaForCausalLM
from tests.analyses.planted_usage import D_VALUE, SLOTS, Planted
from tests.families.tiny_native import tiny_config

ASKED, READ = np.arange(100), np.arange(100, SLOTS)


@pytest.fixture
def model() -> MemoryModel:
    """All values as initialised, but those of slots 50 and above, which are three times as long."""
    opened = Planted().model
    weight = opened.tables[0].weight
    weight.copy_(torch.randn(weight.shape) * D_VALUE**-0.5)
    weight[50:] *= 3
    return opened


def test_initial_norms_are_those_our_initialisation_gives(model: MemoryModel) -> None:
    found = initial_norms(model, 0)
    assert found is not None
    fresh = MemoryLlamaForCausalLM(tiny_config(memory_half_keys=100, memory_d_value=D_VALUE))
    norms = fresh.value_tables[0].weight.detach().norm(dim=-1)
    assert found == pytest.approx((norms.mean().item(), norms.std().item()), rel=0.03)


def test_values_at_their_initial_norm_are_untrained(model: MemoryModel) -> None:
    found = find_untrained(model, 0, ASKED, READ)
    assert found.known
    assert found.untrained.tolist() == [slot < 50 for slot in ASKED]
    assert "0.0% have such a norm" in found.note


def test_half_precision_does_not_change_the_answer(model: MemoryModel) -> None:
    model.tables[0].to(torch.bfloat16)
    assert find_untrained(model, 0, ASKED, READ).untrained.sum() == 50


def test_where_values_that_are_read_look_alike_it_is_unknown(model: MemoryModel) -> None:
    model.tables[0].weight[100:115] /= 3
    found = find_untrained(model, 0, ASKED, READ)
    assert not found.known
    assert not found.untrained.any()
    assert "cannot be told: 10% of 156 values that are read" in found.note


def test_a_few_that_look_alike_do_not_matter(model: MemoryModel) -> None:
    model.tables[0].weight[100:107] /= 3
    assert find_untrained(model, 0, ASKED, READ).untrained.sum() == 50


def test_other_families_start_in_ways_unknown(model: MemoryModel) -> None:
    foreign = dataclasses.replace(model, provenance=Provenance("peer", "planted", 0))
    assert initial_norms(foreign, 0) is None
    found = find_untrained(foreign, 0, ASKED, READ)
    assert (found.known, found.untrained.sum()) == (False, 0)
    assert "how a peer checkpoint's values start" in found.note


def test_without_values_that_are_read_it_is_unknown(model: MemoryModel) -> None:
    found = find_untrained(model, 0, ASKED, np.zeros(0, dtype=np.int64))
    assert (found.known, found.untrained.sum()) == (False, 0)


def test_nothing_asked_nothing_found(model: MemoryModel) -> None:
    found = find_untrained(model, 0, np.zeros(0, dtype=np.int64), READ)
    assert (found.known, len(found.untrained)) == (True, 0)
