"""What a slot does: each context run by itself, with the edit made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from inspector.analyses.read_index import index_reads
from inspector.analyses.slot_ablation import MEANINGS, SlotAblation, ablate_slot
from inspector.analyses.slot_contexts import ReadContext, studied_contexts
from inspector.capture.contributions import read_contributions
from inspector.capture.edits import MaskSlots, ZeroSlots
from inspector.capture.load import load
from inspector.capture.scan import scan
from inspector.capture.trace import trace
from inspector.families.base import MemoryModel
from tests.capture.test_scan import CORPUS

Groups = tuple[tuple[ReadContext, ...], tuple[ReadContext, ...]]


@pytest.fixture(scope="module", params=[{}, {"memory_tables": [0, 1]}], ids=["shared", "apart"])
def model(tiny_checkpoint: Callable[..., Path], request: pytest.FixtureRequest) -> MemoryModel:
    return load(tiny_checkpoint(**request.param), device="cpu")


@pytest.fixture(scope="module")
def studied(model: MemoryModel) -> tuple[int, Groups]:
    usage = scan(model, CORPUS, cache=False)
    index = index_reads(model, usage, cache=False)
    assert index is not None
    slot = int(np.diff(index.tables[0].offsets).argmax())
    strongest, random = studied_contexts(model, usage, index.of_slot(0, slot))
    return slot, (strongest[:6], random[:5])


def alone(model: MemoryModel, context: ReadContext, slot: int, meaning: str) -> tuple[float, float]:
    """KL and change of the next token's log-probability, of one context by itself."""
    sites = frozenset(model.sites_of(0))
    edit = (ZeroSlots if meaning == "zero" else MaskSlots)(torch.tensor([slot]), sites=sites)
    first, second = (
        trace(model, ids=[list(context.prefix)], edits=edits).logits[0, -1].double().log_softmax(-1)
        for edits in ((), (edit,))
    )
    kl = float((first.exp() * (first - second)).sum())
    if not context.following:
        return kl, float("nan")
    following = context.following[0]
    return kl, float(second[following] - first[following])


def group(found: SlotAblation, name: str, meaning: str) -> list[tuple[float, float]]:
    (own,) = [each for each in found.groups if (each.group, each.meaning) == (name, meaning)]
    return list(zip(own.kl.tolist(), own.change.tolist(), strict=True))


@pytest.mark.parametrize("meaning", MEANINGS)
def test_effects_are_those_of_each_context_alone(
    model: MemoryModel, studied: tuple[int, Groups], meaning: str
) -> None:
    slot, (strongest, random) = studied
    found = ablate_slot(model, 0, slot, strongest, random)
    for name, contexts in (("strongest", strongest), ("random", random)):
        expected = [alone(model, context, slot, meaning) for context in contexts]
        np.testing.assert_allclose(group(found, name, meaning), expected, atol=1e-5)
        assert max(kl for kl, _ in expected) > 1e-4, "an ablation that does nothing shows nothing"


def test_the_control_is_another_read_that_fired(
    model: MemoryModel, studied: tuple[int, Groups]
) -> None:
    """At the site where the slot's own contribution is largest, that with the nearest norm."""
    slot, (strongest, _) = studied
    found = ablate_slot(model, 0, slot, strongest, ())
    expected, norms, own_norms = [], [], []
    for context in strongest:
        traced = trace(model, ids=[list(context.prefix)])
        sizes = {}
        for name in model.sites_of(0):
            reads = traced.reads[name]
            written = read_contributions(model.site(name), traced.inputs[name], reads)
            pairs = zip(
                reads.slots[0, -1].flatten().tolist(),
                written[0, -1].flatten(0, 1).norm(dim=-1).tolist(),
                strict=True,
            )
            sizes[name] = list(pairs)
        own = {n: max([s for k, s in rows if k == slot] or [0.0]) for n, rows in sizes.items()}
        site = max(own, key=lambda name: own[name])
        other = min(
            (row for row in sizes[site] if row[0] != slot), key=lambda r: abs(r[1] - own[site])
        )
        expected.append(other[0])
        norms.append(other[1])
        own_norms.append(own[site])
    for each in found.groups:
        if each.group == "another read":
            assert each.slots.tolist() == expected
    assert found.norm_ratio == pytest.approx(sum(norms) / sum(own_norms), rel=1e-4)
    for meaning in MEANINGS:
        rows = [
            alone(model, context, other, meaning)
            for context, other in zip(strongest, expected, strict=True)
        ]
        np.testing.assert_allclose(group(found, "another read", meaning), rows, atol=1e-5)


def test_counts_and_means(model: MemoryModel, studied: tuple[int, Groups]) -> None:
    slot, (strongest, random) = studied
    found = ablate_slot(model, 0, slot, strongest, random)
    assert found.sites == model.sites_of(0)
    frame = found.to_frame()
    assert frame["group"].tolist() == [
        name for name in ("strongest", "random", "another read") for _ in MEANINGS
    ]
    assert frame["contexts"].tolist() == [6, 6, 5, 5, 6, 6]
    for row in frame.to_dict("records"):
        own = np.array(group(found, row["group"], row["ablation"]))
        assert row["kl"] == pytest.approx(own[:, 0].mean())
        assert row["with_next"] == np.isfinite(own[:, 1]).sum()
        assert row["change"] == pytest.approx(np.nanmean(own[:, 1]))


def test_a_slot_that_was_not_read_has_no_effect_to_show(model: MemoryModel) -> None:
    found = ablate_slot(model, 0, 3, (), ())
    assert found.groups == ()
    assert len(found.to_frame()) == 0
    assert np.isnan(found.norm_ratio)


def test_where_every_read_is_the_slot_there_is_no_control(
    tiny_checkpoint: Callable[..., Path],
) -> None:
    model = load(tiny_checkpoint(memory_heads=1, memory_knn=1, memory_layers=[1]), device="cpu")
    ids = model.tokenizer("Lima is").input_ids
    slot = int(trace(model, ids=[ids]).reads["L1"].slots[0, -1, 0, 0])
    context = ReadContext("strongest", "L1", 0, 1.0, len(ids) - 1, tuple(ids), ())
    found = ablate_slot(model, 0, slot, (context,), ())
    assert {each.group for each in found.groups} == {"strongest"}
    assert np.isnan(found.norm_ratio)
    assert np.isnan(found.to_frame()["change"]).all()  # nothing follows
