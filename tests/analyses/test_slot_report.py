"""What is known of a slot, gathered: each part is what its own analysis gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inspector.analyses.decoding import decode, gate_at
from inspector.analyses.gates import MeanGates, measure_mean_gates
from inspector.analyses.slot_address import SlotAddress
from inspector.analyses.slot_report import (
    TOP,
    Fires,
    SlotReport,
    fires,
    headline,
    report_slot,
)
from inspector.analyses.slot_triggers import Triggers
from inspector.analyses.usage_measures import table_reads
from inspector.analyses.verdicts import judge_usage
from inspector.capture.load import load
from inspector.capture.scan import scan
from inspector.capture.trace import trace
from inspector.capture.usage import Usage
from inspector.errors import SlotError
from inspector.families.base import MemoryModel
from tests.capture.test_scan import CORPUS

Written = Callable[..., Path]


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Written) -> MemoryModel:
    return load(tiny_checkpoint(memory_projection="swiglu"), device="cpu")


@pytest.fixture(scope="module")
def usage(model: MemoryModel) -> Usage:
    return scan(model, CORPUS, cache=False)


@pytest.fixture(scope="module")
def gates(model: MemoryModel) -> MeanGates:
    ids = model.tokenizer("Lima is the capital of Peru").input_ids
    return measure_mean_gates(model, [torch.tensor([ids])], "one text")


def spoken(report: SlotReport, when: Fires | None = None) -> str:
    return "".join(part if isinstance(part, str) else part[0] for part in headline(report, when))


def test_decodings_are_named_and_those_of_decode(
    model: MemoryModel, usage: Usage, gates: MeanGates
) -> None:
    slot = int(table_reads(usage, 0).argmax())
    report = report_slot(model, SlotAddress("L2", slot), gates, usage, judge_usage(usage))
    found = dict(report.decodings())
    assert report.dropped == 0
    assert len(report.in_context) == 4
    assert list(found)[:3] == ["raw", "static · L0", "static · L2"]
    expected = {
        "raw": decode(model, [slot], "L0", "raw", top=TOP),
        "static · L0": decode(model, [slot], "L0", "static", gates=gates, top=TOP),
        "static · L2": decode(model, [slot], "L2", "static", gates=gates, top=TOP),
    }
    for name, decoding in expected.items():
        assert found[name].promoted.tolist() == decoding.promoted.tolist()
        assert found[name].p_value == decoding.p_value
    assert found["static · L0"].promoted.tolist() != found["static · L2"].promoted.tolist()
    for each in report.in_context:
        traced = trace(model, ids=[list(each.context.prefix)])
        last = len(each.context.prefix) - 1
        gate = gate_at(model, traced, each.context.site, last)
        alone = decode(model, [slot], each.context.site, gate, top=TOP)
        assert each.decoding.gate == "context"
        assert each.decoding.promoted.tolist() == alone.promoted.tolist()
    assert len(report.to_frame()) == len(report.decodings())


def test_the_headline_says_what_was_counted(
    model: MemoryModel, usage: Usage, gates: MeanGates
) -> None:
    slot = int(table_reads(usage, 0).argmax())
    report = report_slot(model, SlotAddress("L2", slot, 1), gates, usage, judge_usage(usage))
    use, main = report.usage, report.main
    assert use is not None
    assert main is not None
    assert main.site == use.main_site
    assert main.gate == "static"
    text = spoken(report, Fires(" of", " Lima", 3, 4))
    i, j = divmod(slot, 8)
    assert text.startswith(f"L2·H1·({i},{j}) promotes ")
    assert f"read {int(table_reads(usage, 0)[slot]):,} times (rank 1 of 64)" in text
    assert "at  of, most surely at  Lima (in 3 of 4 contexts)" in text
    assert "and at  of (in 3 of 4 contexts)" in spoken(report, Fires(" of", " of", 3, 4))
    assert ("no clearer than a random value" in text) == (not main.passes[0])
    for token in main.texts(main.promoted[0])[:3]:
        assert (token, "token") in headline(report)
    assert text.endswith(f"judged {use.verdict.label}.")


def test_a_slot_never_read(model: MemoryModel, gates: MeanGates) -> None:
    usage = scan(model, ["A"], cache=False)
    slot = int(np.flatnonzero(table_reads(usage, 0) == 0)[0])
    report = report_slot(model, SlotAddress("L0", slot), gates, usage, judge_usage(usage))
    assert report.contexts == report.in_context == ()
    assert "no read of it was seen in the scan: not seen yet." in spoken(report)
    assert report.main is not None
    assert report.main.site == "L0"  # as addressed, since no site reads it


def test_without_a_scan_and_without_gates(model: MemoryModel) -> None:
    report = report_slot(model, SlotAddress("L0", 5))
    assert report.usage is None
    assert report.static == ()
    assert [name for name, _ in report.decodings()] == ["raw"]
    assert any("L2" in note and "not known" in note for note in report.notes)
    assert "known after a scan" in spoken(report)
    assert "taken raw" in spoken(report)


def test_without_a_gate_static_is_known_and_nothing_is_said_in_context(
    tiny_checkpoint: Written,
) -> None:
    model = load(tiny_checkpoint(memory_projection="linear", memory_d_value=20), device="cpu")
    usage = scan(model, CORPUS, cache=False)
    slot = int(table_reads(usage, 0).argmax())
    report = report_slot(model, SlotAddress("L0", slot), None, usage, judge_usage(usage))
    assert [name for name, _ in report.decodings()] == ["static · L0", "static · L2"]
    assert report.contexts
    assert report.in_context == ()
    assert any("20 dimensions" in note for note in report.notes)


def test_a_context_that_no_longer_reads_it_is_dropped(
    model: MemoryModel, usage: Usage, gates: MeanGates
) -> None:
    kept = usage.contexts[0]
    slot = int(table_reads(usage, 0).argmax())
    other = replace(kept, token=np.where(kept.slot == slot, 0, kept.token))  # nothing was there
    moved = replace(usage, contexts={0: other})
    report = report_slot(model, SlotAddress("L0", slot), gates, moved, judge_usage(usage))
    read = trace(model, ids=[[int(usage.token_ids[0])]]).reads
    strongest = report.contexts[:4]
    there = [bool((read[c.site].slots[0, -1, c.head] == slot).any()) for c in strongest]
    assert report.dropped == there.count(False) > 0
    assert len(report.in_context) == there.count(True)


def test_a_slot_there_is_none_of(model: MemoryModel) -> None:
    with pytest.raises(SlotError, match="no slot 64"):
        report_slot(model, SlotAddress("L0", 64))
    with pytest.raises(SlotError, match="no site L1"):
        report_slot(model, SlotAddress("L1", 0))


def test_when_it_fires_by_hand() -> None:
    counts = np.array([5, 40]), np.array([4, 10])
    triggers = Triggers(np.array([3, 9]), *counts, np.array([0.8, 0.25]), np.array([0.4, 0.1]))
    assert fires(triggers, "<{}>".format) == Fires("<9>", "<3>", 4, 5)
    nothing = np.zeros(0, dtype=np.int64)
    assert fires(Triggers(*[nothing] * 5), str) is None


def test_what_is_known_of_a_sample_is_said_to_be(model: MemoryModel, usage: Usage) -> None:
    slot = int(table_reads(usage, 0).argmax())
    report = report_slot(model, SlotAddress("L2", slot), None, usage, judge_usage(usage))
    whole = spoken(report, Fires("a", "b", 4, 5))
    assert " and at a, most surely at b (in 4 of 5 contexts)" in whole
    assert "sample" not in whole
    drawn = spoken(report, Fires("a", "a", 4, 5, sampled=1200))
    assert "; in a sample of 1,200 tokens most often at a (in 4 of 5 contexts)" in drawn


def test_where_an_output_is_no_sum_only_raw_is_said(tiny_checkpoint: Written) -> None:
    model = load(tiny_checkpoint(memory_layers=[1], memory_projection="swiglu"), device="cpu")
    site = model.sites["L1"]
    site.info = replace(site.info, additive=False)
    usage = scan(model, CORPUS, cache=False)
    slot = int(table_reads(usage, 0).argmax())
    report = report_slot(model, SlotAddress("L1", slot), None, usage, judge_usage(usage))
    assert [name for name, _ in report.decodings()] == ["raw"]
    assert report.contexts
    assert report.notes == (
        "What L1 writes is no sum over its reads: a single value says nothing there.",
    )
