"""Every edit against the reads and outputs that loops over all keys and reads give."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from inspector.capture.edits import (
    MaskSlots,
    ScaleReads,
    SwapReads,
    ZeroPositions,
    ZeroReads,
    ZeroSlots,
)
from inspector.capture.load import load
from inspector.capture.lookup_edits import Edit, LookupInput
from inspector.capture.session import logits, session
from inspector.families.base import MemoryModel, Site
from inspector.memory.product_keys import SiteReads
from tests.families.conformance import Observation, observe, output_by_hand, reads_by_hand
from tests.memory.by_hand import best_slots, softmax

IDS = torch.tensor([[0, 41, 7, 299, 5, 5], [0, 3, 260, 270, 8, 41]])
L0 = frozenset({"L0"})


@pytest.fixture(scope="module", params=[{}, {"memory_sigmoid_gate": True}], ids=["swiglu", "both"])
def model(request: pytest.FixtureRequest, tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(**request.param), device="cpu")


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture
def plain(model: MemoryModel) -> Observation:
    return observe(model, IDS)


# Site, (batch, pos, head, rank) and slot of a read to whether it is to count nothing.
Zeroed = Callable[[str, tuple[int, ...], int], bool]


def check_zeroed(model: MemoryModel, edit: Edit, zeroed: Zeroed) -> Observation:
    """The reads stay as the model made them; those that ``zeroed`` names count nothing."""
    seen = observe(model, IDS, [edit])
    for name, site in model.sites.items():
        expected = reads_by_hand(site, seen.half_scores[name], seen.inputs[name])
        kept = torch.ones_like(expected.weights)
        for read in itertools.product(*map(range, kept.shape)):
            if zeroed(name, read, int(expected.slots[read])):
                kept[read] = 0
        expected = SiteReads(
            expected.slots, expected.scores, expected.weights, expected.weights * kept
        )
        assert_same_reads(seen.reads[name], expected)
        check_output(site, seen, expected)
    return seen


def assert_same_reads(found: SiteReads, expected: SiteReads) -> None:
    assert torch.equal(found.slots, expected.slots)
    for kind in ("scores", "weights", "coefficients"):
        given, wanted = getattr(found, kind).double(), getattr(expected, kind).double()
        torch.testing.assert_close(given, wanted, atol=1e-5, rtol=1e-5)


def check_output(site: Site, seen: Observation, reads: SiteReads) -> None:
    name = site.info.name
    by_hand = output_by_hand(site, seen.inputs[name], reads)
    torch.testing.assert_close(seen.outputs[name].double(), by_hand, atol=1e-5, rtol=1e-5)


# --- zero ---------------------------------------------------------------------------------------


def test_zero_reads(model: MemoryModel, plain: Observation) -> None:
    masks = {name: torch.rand(reads.slots.shape) < 0.3 for name, reads in plain.reads.items()}
    seen = check_zeroed(model, ZeroReads(masks), lambda name, read, _: bool(masks[name][read]))
    assert not torch.equal(seen.logits, plain.logits)


def test_zero_reads_of_one_site_and_of_one_read(model: MemoryModel, plain: Observation) -> None:
    mask = torch.zeros_like(plain.reads["L2"].slots, dtype=torch.bool)
    mask[1, 3, 0, 2] = True
    seen = check_zeroed(
        model,
        ZeroReads({"L2": mask}),
        lambda name, read, _: name == "L2" and read == (1, 3, 0, 2),
    )
    assert torch.equal(seen.outputs["L0"], plain.outputs["L0"])
    changed = (seen.logits != plain.logits).any(-1)
    assert changed.tolist() == [[False] * 6, [False, False, False, True, False, False]]


def test_zero_positions(model: MemoryModel) -> None:
    positions = torch.tensor([[0, 0, 1, 0, 0, 1], [1, 0, 0, 0, 0, 0]], dtype=torch.bool)
    check_zeroed(model, ZeroPositions(positions), lambda _name, read, _: bool(positions[read[:2]]))
    check_zeroed(
        model,
        ZeroPositions(positions, L0),
        lambda name, read, _: name == "L0" and bool(positions[read[:2]]),
    )
    check_zeroed(model, ZeroPositions(), lambda *_: True)
    check_zeroed(model, ZeroPositions(sites=L0), lambda name, _read, _slot: name == "L0")


def test_zero_slots(model: MemoryModel, plain: Observation) -> None:
    slots = plain.reads["L0"].slots[0, 4].flatten()  # all that one token reads at L0
    named = set(slots.tolist())
    seen = check_zeroed(model, ZeroSlots(slots), lambda _name, _read, slot: slot in named)
    assert not seen.reads["L0"].coefficients[0, 4].any()
    check_zeroed(model, ZeroSlots(slots, L0), lambda name, _, slot: name == "L0" and slot in named)


def test_slots_that_were_not_read_change_nothing(model: MemoryModel, plain: Observation) -> None:
    read = set(torch.cat([r.slots.flatten() for r in plain.reads.values()]).tolist())
    unread = torch.tensor(sorted(set(range(64)) - read))
    assert len(unread)
    for edit in (ZeroSlots(unread), MaskSlots(unread)):
        assert torch.equal(observe(model, IDS, [edit]).logits, plain.logits)


# --- mask ---------------------------------------------------------------------------------------


def check_masked(model: MemoryModel, edit: Edit, masked: Callable[..., set[int]]) -> Observation:
    """At each position the best of the slots that ``masked(site, batch, pos)`` leaves."""
    seen = observe(model, IDS, [edit])
    for name, site in model.sites.items():
        expected = reads_by_hand(site, seen.half_scores[name], seen.inputs[name])
        for batch, pos, head in itertools.product(range(2), range(6), range(2)):
            scores = seen.half_scores[name][batch, pos, head]
            slots = best_slots(scores, site.info.knn, masked(name, batch, pos))
            own = [scores[0, s // 8].item() + scores[1, s % 8].item() for s in slots]
            expected.slots[batch, pos, head] = torch.tensor(slots)
            expected.scores[batch, pos, head] = torch.tensor(own, dtype=torch.float64)
            expected.weights[batch, pos, head] = torch.tensor(softmax(own), dtype=torch.float64)
        assert_same_reads(seen.reads[name], expected)
        check_output(site, seen, expected)
    return seen


def test_mask_slots(model: MemoryModel, plain: Observation) -> None:
    slots = plain.reads["L0"].slots[0, 4].flatten().unique()
    named = set(slots.tolist())
    seen = check_masked(model, MaskSlots(slots), lambda *_: named)
    assert not named & set(seen.reads["L2"].slots.flatten().tolist())
    padded = torch.cat([slots, torch.tensor([-1, -1])])
    assert torch.equal(observe(model, IDS, [MaskSlots(padded)]).logits, seen.logits)


def test_two_masks_remove_what_one_of_both_does(model: MemoryModel) -> None:
    first, second = torch.arange(0, 30), torch.arange(20, 50)
    both = observe(model, IDS, [MaskSlots(torch.arange(0, 50))])
    one_by_one = observe(model, IDS, [MaskSlots(first), MaskSlots(second)])
    assert torch.equal(one_by_one.logits, both.logits)
    last = torch.zeros(IDS.shape, dtype=torch.bool)
    last[:, -1] = True
    partly = observe(model, IDS, [MaskSlots(first, last), MaskSlots(second)])
    # At the first site, whose inputs no edit has changed.
    alone = observe(model, IDS, [MaskSlots(second)])
    assert torch.equal(partly.reads["L0"].slots[:, -1], both.reads["L0"].slots[:, -1])
    assert torch.equal(partly.reads["L0"].slots[:, 0], alone.reads["L0"].slots[:, 0])


def test_mask_slots_at_one_site(model: MemoryModel) -> None:
    edit = MaskSlots(torch.arange(0, 64, 2), sites=L0)
    even = set(range(0, 64, 2))
    check_masked(model, edit, lambda name, *_: even if name == "L0" else set())


def test_mask_slots_row_by_row(model: MemoryModel) -> None:
    slots = torch.stack([torch.arange(0, 64, 2), torch.arange(32, 64)])
    slots[1, 10:] = -1  # a shorter row, padded
    rows = [set(row.tolist()) - {-1} for row in slots]
    check_masked(model, MaskSlots(slots), lambda _name, batch, _pos: rows[batch])


def test_mask_slots_at_some_positions(model: MemoryModel) -> None:
    positions = torch.tensor([[0, 1, 0, 0, 1, 0], [1, 0, 0, 1, 0, 0]], dtype=torch.bool)
    slots = torch.stack([torch.arange(0, 64, 3), torch.arange(20, 42)])
    rows = [set(row.tolist()) for row in slots]
    check_masked(
        model,
        MaskSlots(slots, positions),
        lambda _name, batch, pos: rows[batch] if positions[batch, pos] else set(),
    )


def test_zero_and_mask_are_two_meanings(model: MemoryModel, plain: Observation) -> None:
    slots = plain.reads["L2"].slots[0, 5, 0, :1]
    zeroed, masked = (observe(model, IDS, [e]) for e in (ZeroSlots(slots), MaskSlots(slots)))
    assert not zeroed.reads["L2"].coefficients[0, 5, 0, 0]
    assert zeroed.reads["L2"].coefficients[0, 5, 0].sum() < 1
    assert masked.reads["L2"].coefficients[0, 5, 0].sum() == pytest.approx(1)
    assert not torch.equal(zeroed.logits, masked.logits)


def test_too_few_slots_left_is_an_error_and_nothing_more(
    model: MemoryModel, plain: Observation
) -> None:
    with pytest.raises(ValueError, match="4 slots were asked for, of 64 keys"):
        observe(model, IDS, [MaskSlots(torch.arange(61))])
    assert torch.equal(logits(model, IDS), plain.logits)
    assert observe(model, IDS, [MaskSlots(torch.arange(60))]).reads["L0"].slots.min() == 60


# --- a batch of variants ------------------------------------------------------------------------


@pytest.mark.parametrize("meaning", ["zero", "mask"])
def test_row_b_of_the_batch_carries_edit_b(model: MemoryModel, meaning: str) -> None:
    prompt = IDS[:1]
    reads = observe(model, prompt).reads
    candidates = reads["L0"].slots.unique()[:16]
    variants = prompt.expand(len(candidates) + 1, -1)  # the last row stays as it is
    rows = torch.cat([candidates, torch.tensor([-1])])[:, None]
    together = observe(model, variants, [edit_of(meaning, reads, rows)])
    assert len(together.logits.unique(dim=0)) == len(rows)
    for row, own in enumerate(rows):
        alone = observe(model, prompt, [edit_of(meaning, reads, own[None])])
        torch.testing.assert_close(together.logits[row], alone.logits[0], atol=1e-4, rtol=1e-4)
        for name in model.sites:
            assert torch.equal(together.reads[name].slots[row], alone.reads[name].slots[0])


def edit_of(meaning: str, reads: dict[str, SiteReads], rows: Tensor) -> Edit:
    """Row by row without one slot each: ``rows [batch 1]``; -1 leaves out none."""
    if meaning == "mask":
        return MaskSlots(rows)
    return ZeroReads({"L0": reads["L0"].slots == rows[:, :, None, None]})


# --- swap ---------------------------------------------------------------------------------------


def test_swap_reads(model: MemoryModel, plain: Observation) -> None:
    donors = observe(model, IDS.flip(0)).reads
    positions = torch.tensor([[0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1]], dtype=torch.bool)
    seen = observe(model, IDS, [SwapReads(positions, donors)])
    for name, site in model.sites.items():
        own = reads_by_hand(site, seen.half_scores[name], seen.inputs[name])
        for kind in ("slots", "scores", "weights", "coefficients"):
            for batch, pos in positions.nonzero().tolist():
                getattr(own, kind)[batch, pos] = getattr(donors[name], kind)[batch, pos]
        assert_same_reads(seen.reads[name], own)
        check_output(site, seen, own)  # with the gate of the receiving input
    assert not torch.equal(seen.logits, plain.logits)


def test_swapping_in_its_own_reads_changes_nothing(model: MemoryModel, plain: Observation) -> None:
    everywhere = torch.ones(2, 6, dtype=torch.bool)
    for edit in (SwapReads(everywhere, plain.reads), SwapReads(~everywhere, plain.reads)):
        assert torch.equal(observe(model, IDS, [edit]).logits, plain.logits)


def test_a_site_without_a_donor_keeps_its_reads(model: MemoryModel, plain: Observation) -> None:
    donors = observe(model, IDS.flip(0)).reads
    everywhere = torch.ones(2, 6, dtype=torch.bool)
    seen = observe(model, IDS, [SwapReads(everywhere, {"L2": donors["L2"]})])
    assert torch.equal(seen.outputs["L0"], plain.outputs["L0"])
    assert torch.equal(seen.reads["L2"].slots, donors["L2"].slots)


# --- together -----------------------------------------------------------------------------------


def test_edits_follow_one_another(model: MemoryModel, plain: Observation) -> None:
    best = plain.reads["L0"].slots[0, 4, 0, :1]
    alone = observe(model, IDS, [MaskSlots(best)])
    substitute = alone.reads["L0"].slots[0, 4, 0, :1]
    seen = observe(model, IDS, [MaskSlots(best), ZeroSlots(substitute)])
    reads = seen.reads["L0"]
    assert not (reads.slots == best).any()
    assert not reads.coefficients[reads.slots == substitute].any()
    assert torch.equal(reads.weights, alone.reads["L0"].weights)


def test_masking_at_some_positions_keeps_what_was_done_at_others(model: MemoryModel) -> None:
    positions = torch.tensor([[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]], dtype=torch.bool)
    edits: list[Edit] = [ZeroPositions(~positions), MaskSlots(torch.arange(32), positions)]
    for reads in observe(model, IDS, edits).reads.values():
        assert torch.equal(reads.coefficients[positions], reads.weights[positions])
        assert reads.slots[positions].min() >= 32
        assert not reads.coefficients[~positions].any()


def test_an_edit_writes_to_nothing_it_was_given(model: MemoryModel, plain: Observation) -> None:
    site, half_scores = model.site("L2"), plain.half_scores["L2"]
    reads = plain.reads["L2"]
    x = plain.inputs["L2"]
    parts = (half_scores, x, reads.slots, reads.scores, reads.weights, reads.coefficients)
    before = [part.clone() for part in parts]
    everywhere = torch.ones(2, 6, dtype=torch.bool)
    for edit in (
        ZeroReads({"L2": torch.ones_like(reads.slots, dtype=torch.bool)}),
        ZeroPositions(everywhere),
        ZeroSlots(torch.arange(64)),
        MaskSlots(torch.arange(32)),
        SwapReads(everywhere, observe(model, IDS.flip(0)).reads),
    ):
        edit(LookupInput(site, half_scores, x), reads)
    assert all(torch.equal(old, new) for old, new in zip(before, parts, strict=True))


def test_edits_work_in_half_precision(tiny_checkpoint: Callable[..., Path]) -> None:
    model = load(tiny_checkpoint(dtype=torch.bfloat16), device="cpu")
    for edit in (ZeroPositions(), ZeroSlots(torch.arange(9)), MaskSlots(torch.arange(9))):
        with session([edit]):
            found = logits(model, IDS)
        assert found.dtype == torch.bfloat16
        assert torch.isfinite(found).all()


def test_each_row_of_a_batch_zeroes_slots_of_its_own(
    model: MemoryModel, plain: Observation
) -> None:
    chosen = torch.stack(
        [plain.reads["L0"].slots[0, 1, 0, :2], plain.reads["L0"].slots[1, 4, 1, :2]]
    )
    chosen[1, 1] = -1  # pads
    rows = [set(row.tolist()) for row in chosen]
    check_zeroed(model, ZeroSlots(chosen), lambda name, read, slot: slot in rows[read[0]])


def test_slots_are_zeroed_only_where_they_are_named(model: MemoryModel, plain: Observation) -> None:
    wanted = plain.reads["L0"].slots[:, :, :, :1].clone()  # the first read of every lookup
    wanted[0, :3] = -1
    edit = ZeroSlots(wanted, L0)
    check_zeroed(
        model,
        edit,
        lambda name, read, slot: (
            name == "L0" and read[3] == 0 and not (read[0] == 0 and read[1] < 3)
        ),
    )


def test_scaled_reads_count_as_much_as_the_factors_say(model: MemoryModel) -> None:
    shape = (*IDS.shape, 2, 4)
    factors = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 3 - 1
    seen = observe(model, IDS, [ScaleReads({"L0": factors})])
    for name, site in model.sites.items():
        expected = reads_by_hand(site, seen.half_scores[name], seen.inputs[name])
        scale = factors if name == "L0" else torch.ones(shape)
        expected = SiteReads(
            expected.slots, expected.scores, expected.weights, expected.weights * scale
        )
        assert_same_reads(seen.reads[name], expected)
        check_output(site, seen, expected)
