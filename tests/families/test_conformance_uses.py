"""What the app does with a model, on every family: scan, decode, map, locate and edit."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

import inspector
from inspector.analyses.costs import measure_costs
from inspector.analyses.facts import Fact
from inspector.capture.edits import MaskSlots, ZeroSlots
from inspector.capture.trace import trace
from inspector.errors import NotShown, SlotError
from inspector.families.base import MemoryModel
from tests.conftest import SENTENCES
from tests.families.conformance import random_ids

TEXTS = SENTENCES[:4]


def test_a_scan_counts_what_traces_read(model: MemoryModel) -> None:
    usage = inspector.scan(model, TEXTS)
    traces = [trace(model, text) for text in TEXTS]
    assert usage.tokens == sum(found.ids.numel() for found in traces)
    for name, site in model.sites.items():
        expected: Counter[tuple[int, int]] = Counter()
        for found in traces:
            for position in found.reads[name].slots[0].tolist():
                expected.update((head, slot) for head, row in enumerate(position) for slot in row)
        reads = usage.sites[name].reads
        assert reads.shape == (site.info.heads, site.info.slots)
        counted = {
            (head, slot): int(reads[head, slot])
            for head, slot in zip(*reads.nonzero(), strict=True)
        }
        # Batches round otherwise than a text alone, which in half precision may tip a lookup.
        differing = sum((Counter(counted) - expected).values())
        assert differing <= (0.05 if model.dtype == torch.bfloat16 else 0) * reads.sum()


def test_values_are_decoded(model: MemoryModel) -> None:
    ids = random_ids(model, rows=1)
    for name, site in model.sites.items():
        slots = trace(model, ids=ids).reads[name].slots[0, -1, 0, :2].tolist()
        if site.info.d_value != site.info.d_model:
            with pytest.raises(SlotError):
                inspector.decode(model, slots, site=name, gate="raw")
            continue
        frame = inspector.decode(model, slots, site=name, gate="raw").to_frame()
        assert frame["slot"].tolist() == slots
        logits = model.backbone.unembedding().double() @ site.table.rows(torch.tensor(slots[0])).to(
            torch.float64
        )
        assert frame["promoted_logits"][0][0] == pytest.approx(logits.max().item(), rel=1e-2)


def test_values_are_mapped(model: MemoryModel) -> None:
    for number, table in enumerate(model.tables):
        frame = inspector.value_map(model, table=number, near=5, cluster_count=3).to_frame()
        assert sorted(frame["slot"]) == list(range(table.slots))
        assert frame[["x", "y"]].notna().all().all()


def test_a_fact_is_asked_for(model: MemoryModel) -> None:
    fact = Fact("capital", "Peru", "Lima", ("The capital of Peru is", "Peru is ruled from"))
    report = inspector.locate(model, fact)
    assert report.summary()
    assert set(report.sites) == set(model.sites)
    frame = report.to_frame()
    assert set(frame["site"]) <= set(model.sites)
    assert len(frame) == len(report.effects)


@pytest.mark.parametrize("meaning", ["zero", "mask"])
def test_slots_are_ablated_in_a_block(model: MemoryModel, meaning: str) -> None:
    ids = random_ids(model)
    plain = trace(model, ids=ids)
    name, site = next(iter(model.sites.items()))
    slots = plain.reads[name].slots.flatten().unique()[:5]
    kind = ZeroSlots if meaning == "zero" else MaskSlots
    of_table = frozenset(model.sites_of(site.info.table))
    expected = trace(model, ids=ids, edits=[kind(slots, sites=of_table)]).logits
    with inspector.edit(model, **{meaning: slots.tolist()}, table=site.info.table):
        assert torch.equal(trace(model, ids=ids).logits, expected)
    assert torch.equal(trace(model, ids=ids).logits, plain.logits)
    assert not torch.equal(expected, plain.logits)


def test_a_value_is_replaced_as_if_the_table_held_it(model: MemoryModel) -> None:
    ids = random_ids(model)
    plain = trace(model, ids=ids)
    name, site = next(iter(model.sites.items()))
    slot = int(plain.reads[name].slots[0, 0, 0, 0])
    draw = torch.randn(site.info.d_value, generator=torch.Generator().manual_seed(0))
    value = draw.to(site.table.weight.dtype)
    if not site.info.additive:
        with pytest.raises(NotShown), inspector.edit(model, replace={slot: value}):
            trace(model, ids=ids)
        return
    with inspector.edit(model, replace={slot: value}, table=site.info.table):
        found = trace(model, ids=ids).logits
    before = site.table.weight[slot].clone()
    site.table.weight[slot] = value  # mapped privately: the file isn't touched
    expected = trace(model, ids=ids).logits
    site.table.weight[slot] = before
    exact = model.dtype == torch.float32
    near = torch.isclose(found, expected, *(2 * [1e-4 if exact else 0.2]))
    # In half precision what is added rounds otherwise, which may tip a later lookup.
    assert near.double().mean() >= (1 if exact else 0.9)
    assert (found - plain.logits).abs().max() > 1e-3
    assert torch.equal(trace(model, ids=ids).logits, plain.logits)


def test_costs_count_every_parameter_once(model: MemoryModel) -> None:
    costs = measure_costs(model)
    assert costs.total == sum(p.numel() for p in set(model.module.parameters()))
    assert 0 < costs.touched < costs.total
