"""New values in one session: equal to a table that holds them, and seen by nobody else."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from inspector.analyses.direct_effect import direct_effect
from inspector.capture.contributions import read_contributions, rebuild_output
from inspector.capture.edits import MaskSlots, ZeroSlots
from inspector.capture.load import load, self_check
from inspector.capture.session import logits, session, standing, standing_edits, standing_rows
from inspector.capture.trace import trace
from inspector.capture.value_edits import NewValues, Overlay, check_values, overlay_values
from inspector.errors import NotShown, SlotError
from inspector.families.base import MemoryModel
from inspector.families.native_edit import put_rows, table_rows

IDS = torch.tensor([[0, 41, 7, 299, 5], [0, 3, 260, 270, 8]])
GATES = {
    "none": {},
    "linear": {"memory_projection": "linear"},
    "swiglu": {"memory_projection": "swiglu", "memory_d_value": 24},
    "sigmoid": {"memory_projection": "swiglu", "memory_sigmoid_gate": True},
}
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 0.1}


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(memory_projection="swiglu"), device="cpu")


def read_slots(model: MemoryModel, count: int = 6) -> Tensor:
    """Slots that the input reads at the last position of its first row."""
    slots = trace(model, ids=IDS).reads["L0"].slots[0, -1].flatten().unique()
    return slots[:count]


def new_values(model: MemoryModel, seed: int = 0, table: int = 0, count: int = 6) -> NewValues:
    slots = read_slots(model, count)
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(len(slots), model.tables[table].d_value, generator=draw)
    return NewValues(table, slots, rows.to(model.tables[table].weight.dtype))


# --- what they do -------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_an_edit_does_what_a_table_with_those_values_does(
    tiny_checkpoint: Callable[..., Path], gate: str, dtype: torch.dtype
) -> None:
    folder = tiny_checkpoint(**GATES[gate], dtype=dtype)
    model, copy = load(folder, "cpu"), load(folder, "cpu")
    edit = new_values(model)
    with session([edit]):
        edited = logits(model, IDS)
    put_rows(copy, [table_rows(0, edit.slots, edit.values)])
    expected = logits(copy, IDS)
    assert edited.dtype == dtype
    scale = expected.abs().max()
    assert (edited - expected).abs().max() / scale <= TOLERANCE[dtype]
    assert (logits(model, IDS) - expected).abs().max() / scale > 0.15


def test_what_is_added_equals_a_sum_by_hand(model: MemoryModel) -> None:
    site, edit = model.sites["L0"], new_values(model)
    plain = trace(model, ids=IDS)
    x, reads = plain.inputs["L0"], plain.reads["L0"]
    added = Overlay(edit.slots, edit.values).added(site, x, reads)
    assert added is not None
    for row in range(2):
        for pos in range(5):
            total = torch.zeros(site.info.d_value)
            for head in range(2):
                for rank in range(4):
                    slot = int(reads.slots[row, pos, head, rank])
                    if slot in edit.slots.tolist():
                        new = edit.values[edit.slots.tolist().index(slot)]
                        change = new - site.table.rows(torch.tensor(slot))
                        total += reads.coefficients[row, pos, head, rank] * change
            gate = site.gate(x[row, pos])
            assert gate is not None
            torch.testing.assert_close(added[row, pos], site.project(total * gate, None))


def test_slots_that_nothing_reads_change_nothing(model: MemoryModel) -> None:
    read = torch.cat([r.slots.flatten() for r in trace(model, ids=IDS).reads.values()])
    free = [slot for slot in range(64) if slot not in read.tolist()][:3]
    edit = NewValues(0, torch.tensor(free), torch.full((3, 32), 9.0))
    with session([edit]):
        assert torch.equal(logits(model, IDS), plain_logits(model))


def plain_logits(model: MemoryModel) -> Tensor:
    return logits(model, IDS)


def test_of_two_edits_of_a_slot_the_later_counts(model: MemoryModel) -> None:
    first, second = new_values(model, 1), new_values(model, 2, count=3)
    both = overlay_values([first, second])[0]
    expected = torch.cat([second.values, first.values[3:]])
    assert torch.equal(both.slots, first.slots)
    assert torch.equal(both.values, expected)
    with session([first, second]):
        stacked = logits(model, IDS)
    with session([NewValues(0, first.slots, expected)]):
        assert torch.equal(stacked, logits(model, IDS))


def test_rows_of_a_batch_can_have_values_of_their_own(model: MemoryModel) -> None:
    first, second = new_values(model, 1), new_values(model, 2)
    ids = IDS[:1].expand(2, -1)
    with session([NewValues(0, first.slots, torch.stack([first.values, second.values]))]):
        both = logits(model, ids)
    for row, edit in enumerate((first, second)):
        with session([edit]):
            alone = logits(model, ids[:1])
        torch.testing.assert_close(both[row], alone[0], atol=1e-5, rtol=1e-5)


def test_it_goes_together_with_edits_of_reads(model: MemoryModel) -> None:
    edit = new_values(model)
    with session([ZeroSlots(edit.slots), edit]):
        zeroed = logits(model, IDS)
    with session([ZeroSlots(edit.slots)]):
        assert torch.equal(zeroed, logits(model, IDS))
    with session([edit, MaskSlots(edit.slots)]):
        masked = logits(model, IDS)
    with session([MaskSlots(edit.slots)]):
        assert torch.equal(masked, logits(model, IDS))


def test_the_gradient_of_the_values_equals_finite_differences(
    tiny_checkpoint: Callable[..., Path],
) -> None:
    folder = tiny_checkpoint(memory_projection="swiglu", dtype=torch.float64)
    model = load(folder, "cpu", torch.float64)
    edit = new_values(model, count=2)

    site, values = model.sites["L0"], edit.values.double().requires_grad_()
    plain = trace(model, ids=IDS[:1])
    x, reads = plain.inputs["L0"].clone(), plain.reads["L0"]

    def added(values: Tensor) -> Tensor:
        found = Overlay(edit.slots, values).added(site, x, reads)
        assert found is not None
        return found

    assert torch.autograd.gradcheck(added, (values,))

    def logit(values: Tensor) -> Tensor:
        with session([NewValues(0, edit.slots, values)]):
            scores: Tensor = model.module(input_ids=IDS[:1], use_cache=False).logits
        return scores[0, -1, 7] - scores[0, -1, 11]

    # Llama's norms compute in float32 even here, which the step must drown
    assert torch.autograd.gradcheck(logit, (values,), eps=1e-3, atol=1e-3, rtol=1e-2)


def test_a_site_that_is_no_sum_of_reads_refuses(tiny_checkpoint: Callable[..., Path]) -> None:
    model = load(tiny_checkpoint(seed=5), "cpu")
    site = model.sites["L0"]
    site.info = replace(site.info, additive=False)
    with (
        pytest.raises(NotShown, match="L0 is not a sum of its reads"),
        session([new_values(model)]),
    ):
        logits(model, IDS)


# --- what is shown ------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", GATES)
def test_contributions_and_remainder_are_the_output_under_edits_too(
    tiny_checkpoint: Callable[..., Path], gate: str
) -> None:
    model = load(tiny_checkpoint(**GATES[gate]), "cpu")
    traced = trace(model, ids=IDS, edits=[new_values(model)])
    for name, site in model.sites.items():
        parts = (traced.inputs[name], traced.reads[name])
        with torch.no_grad():
            rebuilt = rebuild_output(site, *parts, traced.overlay(name))
            plain = rebuild_output(site, *parts)
        output = traced.residual.sites[name]
        torch.testing.assert_close(rebuilt, output, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(plain, output, atol=1e-3)
    effect = direct_effect(model, traced, 4, 7)
    assert effect.error < 1e-4
    written = traced.residual.embedding + sum(traced.residual.all())
    torch.testing.assert_close(written, traced.residual.final, atol=1e-5, rtol=1e-5)


def test_contributions_of_a_batch_with_values_of_its_own(model: MemoryModel) -> None:
    values = torch.stack([new_values(model, seed).values for seed in (1, 2)])
    traced = trace(model, ids=IDS, edits=[NewValues(0, read_slots(model), values)])
    site, x, reads = model.sites["L0"], traced.inputs["L0"], traced.reads["L0"]
    whole = read_contributions(site, x, reads, traced.values[0])
    for row in range(2):
        own = type(reads)(*(getattr(reads, part)[row] for part in vars(reads)))
        alone = read_contributions(site, x[row], own, traced.overlay("L0", row))
        torch.testing.assert_close(whole[row], alone)


def test_a_trace_without_edits_has_no_values_of_its_own(model: MemoryModel) -> None:
    traced = trace(model, ids=IDS)
    assert traced.values == {}
    assert traced.overlay("L0") is None


# --- nobody else sees them ----------------------------------------------------------------------


def test_the_table_and_its_file_stay_as_they_are(tiny_checkpoint: Callable[..., Path]) -> None:
    folder = tiny_checkpoint(seed=4)
    model = load(folder, "cpu")
    files = {f: hashlib.sha256(f.read_bytes()).digest() for f in folder.iterdir() if f.is_file()}
    before, plain = model.tables[0].weight.clone(), logits(model, IDS)
    with session([new_values(model)]):
        assert not torch.equal(logits(model, IDS), plain)
    assert torch.equal(model.tables[0].weight, before)
    assert torch.equal(logits(model, IDS), plain)
    assert files == {f: hashlib.sha256(f.read_bytes()).digest() for f in files}


def test_32_sessions_with_different_edits_never_see_each_other(model: MemoryModel) -> None:
    edits = [new_values(model, seed) for seed in range(32)]
    expected = []
    for edit in edits:
        with session([edit]):
            expected.append(logits(model, IDS))
    assert len({tuple(each.flatten().tolist()) for each in expected}) == 32
    wrong: list[int] = []
    together = threading.Barrier(32)

    def use(number: int) -> None:
        together.wait()
        for _ in range(5):
            if number % 2:
                with session([edits[number]]):
                    found = logits(model, IDS)
            else:
                with standing(model, [edits[number]]):
                    found = logits(model, IDS)
            if not torch.equal(found, expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_failed_pass_leaves_nothing_behind(model: MemoryModel) -> None:
    plain = logits(model, IDS)
    wide = NewValues(0, read_slots(model), torch.zeros(6, 5))
    with pytest.raises(RuntimeError), session([wide]):
        logits(model, IDS)
    assert torch.equal(logits(model, IDS), plain)


# --- edits that stand ---------------------------------------------------------------------------


def test_standing_edits_hold_for_every_pass_of_their_model(
    model: MemoryModel, tiny_checkpoint: Callable[..., Path]
) -> None:
    other = load(tiny_checkpoint(memory_projection="swiglu"), "cpu")
    plain, edit = logits(model, IDS), new_values(model)
    with session([edit]):
        expected = logits(model, IDS)
    with standing(model, [edit]):
        assert torch.equal(logits(model, IDS), expected)
        with session(record=True):
            assert torch.equal(logits(model, IDS), expected)
        assert torch.equal(logits(other, IDS), plain)
        assert standing_edits(model) == (edit,)
        assert standing_edits(other) == ()
        rows = standing_rows(model.sites["L0"], edit.slots)
        assert torch.equal(rows, edit.values)
        assert self_check(model).passed
        traced = trace(model, ids=IDS)
        parts = (model.sites["L0"], traced.inputs["L0"], traced.reads["L0"])
        told = read_contributions(*parts, traced.overlay("L0"))
        assert torch.equal(read_contributions(*parts), told)
        assert not torch.equal(read_contributions(*parts, None), told)
    assert torch.equal(read_contributions(*parts), read_contributions(*parts, None))
    assert torch.equal(logits(model, IDS), plain)
    assert standing_edits(model) == ()


def test_a_later_mask_keeps_to_an_earlier_one(model: MemoryModel) -> None:
    from inspector.capture.scoped_edits import MaskWithin, Scope

    slots = read_slots(model)
    with session([MaskSlots(slots)]):
        expected = logits(model, IDS)
    first, second = slots[:3], slots[3:]
    with standing(model, [MaskWithin([(Scope(), first)])]), session([MaskSlots(second)]):
        torch.testing.assert_close(logits(model, IDS), expected)


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "slots", "values", "said"),
    [
        (3, [0], torch.zeros(1, 32), "no value table 3"),
        (0, [64], torch.zeros(1, 32), "Slots of table 0 are 0 to 63; found 64 to 64"),
        (0, [-1], torch.zeros(1, 32), "found -1"),
        (0, [0], torch.zeros(1, 31), "have 32 numbers; found 31"),
        (0, [0], torch.full((1, 32), torch.nan), "NaN"),
    ],
)
def test_values_that_do_not_fit_are_refused(
    model: MemoryModel, table: int, slots: list[int], values: Tensor, said: str
) -> None:
    with pytest.raises(SlotError, match=said):
        check_values(model, NewValues(table, torch.tensor(slots), values))


def test_parts_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="named twice"):
        NewValues(0, torch.tensor([1, 1]), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="slots, values"):
        NewValues(0, torch.tensor([1, 2]), torch.zeros(3, 4))
