"""A text tried on a slot: standings from a full sort, effects from the text run with edits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inspector.analyses import slot_trial
from inspector.analyses.slot_trial import stand, try_text
from inspector.capture.edits import MaskSlots, ZeroSlots
from inspector.capture.load import load
from inspector.capture.session import run_sites, session
from inspector.capture.trace import trace
from inspector.errors import PromptError
from inspector.families.base import MemoryModel
from inspector.memory.product_keys import look_up
from tests.capture.recount import Seen

TEXT = "Lima is the capital of Peru"


@pytest.fixture(scope="module", params=[{}, {"memory_tables": [0, 1]}], ids=["shared", "apart"])
def model(tiny_checkpoint: Callable[..., Path], request: pytest.FixtureRequest) -> MemoryModel:
    return load(tiny_checkpoint(**request.param), device="cpu")


def test_ranks_are_those_of_a_full_sort(
    model: MemoryModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_trial, "_PAIRS_AT_ONCE", 300)  # several blocks
    traced = trace(model, TEXT)
    seen = Seen()
    with session(observer=seen):
        run_sites(model, traced.ids)
    for slot in (0, 13, 63):
        found = try_text(model, TEXT, 0, slot)
        assert tuple(found.sites) == model.sites_of(0)
        for name, own in found.sites.items():
            halves = seen.half_scores[name]  # [pos head half half_key]
            sums = (halves[:, :, 0, :, None] + halves[:, :, 1, None, :]).reshape(
                *own.read.shape, -1
            )
            order = np.argsort(-sums, axis=-1, kind="stable")
            reads = traced.reads[name]
            np.testing.assert_array_equal(own.ranks, (order == slot).argmax(-1) + 1)
            np.testing.assert_array_equal(own.read, (reads.slots[0] == slot).any(-1).numpy())
            np.testing.assert_array_equal(own.read, own.ranks <= 4)
            np.testing.assert_allclose(own.scores, sums[..., slot])
            last = np.take_along_axis(sums, order[..., 3:4], -1)[..., 0]
            np.testing.assert_allclose(own.to_beat, last, atol=1e-5)
            gaps = np.where(own.read, 0, last - sums[..., slot])
            np.testing.assert_allclose(own.gaps, gaps, atol=1e-5)


def test_of_equal_scores_the_lower_slot_ranks_first() -> None:
    half_scores = torch.zeros(1, 2, 1, 2, 3)  # [batch pos head half half_key]
    half_scores[0, 1, 0, 0, 2] = 1.0
    reads = look_up(half_scores, 4)
    ranks = [stand(half_scores[0], reads, slot).ranks[:, 0].tolist() for slot in range(9)]
    assert ranks == [[1, 4], [2, 5], [3, 6], [4, 7], [5, 8], [6, 9], [7, 1], [8, 2], [9, 3]]
    read = [stand(half_scores[0], reads, slot).read[:, 0].tolist() for slot in range(9)]
    assert read == [[rank <= 4 for rank in row] for row in ranks]


@pytest.mark.parametrize(("meaning", "edit"), [("zero", ZeroSlots), ("mask", MaskSlots)])
def test_effects_are_those_of_the_edit(model: MemoryModel, meaning: Any, edit: Any) -> None:
    intact = trace(model, TEXT)
    slot = int(intact.reads["L0"].slots[0, 3, 0, 0])
    found = try_text(model, TEXT, 0, slot)
    sites = frozenset(model.sites_of(0))
    changed = trace(model, TEXT, edits=[edit(torch.tensor([slot]), sites=sites)])
    first, second = (each.logits[0].double().log_softmax(-1) for each in (intact, changed))
    kl = (first.exp() * (first - second)).sum(-1)
    assert kl.max() > 1e-4
    removed = found.removed[meaning]
    np.testing.assert_allclose(removed.kl, kl, atol=1e-5)
    following = intact.ids[0, 1:]
    change = (second - first)[:-1].gather(-1, following[:, None])[:, 0]
    np.testing.assert_allclose(removed.change[:-1], change, atol=1e-5)
    assert np.isnan(removed.change[-1])
    for pos, best in enumerate(removed.top):
        assert [token for token, _ in best] == second[pos].topk(3).indices.tolist()
    assert [token for token, _ in found.intact[0]] == first[0].topk(3).indices.tolist()


def test_the_nearest_miss_ranks_best_of_all_that_missed(model: MemoryModel) -> None:
    for slot in range(0, 64, 7):
        found = try_text(model, TEXT, 0, slot)
        frame = found.to_frame()
        missed = frame[~frame["read"]].sort_values("rank", kind="stable").iloc[0]
        miss = found.nearest_miss()
        assert miss is not None
        pos, name, head = miss
        assert found.sites[name].ranks[pos, head] == missed["rank"]
        assert not found.sites[name].read[pos, head]
        weight = frame["coefficient"].abs().groupby(frame["pos"]).sum()
        np.testing.assert_allclose(found.weight, weight, atol=1e-6)
        assert found.read.tolist() == frame["read"].groupby(frame["pos"]).any().tolist()


def test_where_every_slot_is_read_none_misses(tiny_checkpoint: Callable[..., Path]) -> None:
    model = load(tiny_checkpoint(memory_half_keys=2, memory_knn=4), device="cpu")
    found = try_text(model, TEXT, 0, 1)
    assert found.nearest_miss() is None
    assert list(found.removed) == ["zero"]  # there is none to take its place


def test_a_text_that_cannot_be_read_is_told(model: MemoryModel) -> None:
    with pytest.raises(PromptError, match="empty"):
        try_text(model, "  ", 0, 0)
