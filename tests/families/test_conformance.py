"""The same questions to every family that can be opened: see ``conformance.CASES``."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from inspector.analyses.direct_effect import direct_effect
from inspector.capture.contributions import read_contributions
from inspector.capture.edits import MaskSlots, ZeroPositions, ZeroReads, ZeroSlots
from inspector.capture.load import self_check
from inspector.capture.lookup_edits import Edit
from inspector.capture.session import logits, session
from inspector.capture.trace import Trace, trace
from inspector.errors import NotShown
from inspector.families.base import MemoryModel
from inspector.memory.product_keys import SiteReads
from tests.families.conformance import (
    NOTHING,
    Case,
    Slots,
    additive_sites,
    observe,
    output_by_hand,
    random_ids,
    reads_by_hand,
    sites_by_hand,
)

SLACK = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 3e-2}


@pytest.fixture(scope="module")
def exact(case: Case, path: Path) -> MemoryModel:
    """The same checkpoint in float64, so that no rounding decides which slot is read."""
    return case.open(path, device="cpu", dtype=torch.float64)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def fired(model: MemoryModel, ids: Tensor, count: int = 6) -> Slots:
    """Slots that the model does read here, at any site."""
    slots = torch.cat([r.slots.flatten() for r in trace(model, ids=ids).reads.values()])
    read, often = slots.unique(return_counts=True)
    return frozenset(read[often.topk(count).indices].tolist())


def as_tensor(slots: Slots) -> Tensor:
    return torch.tensor(sorted(slots))


def assert_near(found: Tensor, expected: Tensor, slack: float) -> None:
    """Within ``slack`` of the largest number expected."""
    worst = (found.double() - expected.double()).abs().max() / expected.abs().max()
    assert worst.item() <= slack


# --- what a site says about itself --------------------------------------------------------------


def test_sites_say_what_they_are(model: MemoryModel) -> None:
    seen = observe(model, random_ids(model))
    assert model.sites
    for name, site in model.sites.items():
        info = site.info
        assert name == info.name == f"L{info.layer}"
        assert seen.half_scores[name].shape == (2, 7, info.heads, 2, info.half_keys)
        assert seen.reads[name].slots.shape == (2, 7, info.heads, info.knn)
        assert seen.outputs[name].shape == seen.inputs[name].shape == (2, 7, info.d_model)
        assert site.table is model.tables[info.table]
        assert (site.table.slots, site.table.d_value) == (info.slots, info.d_value)
        if info.additive:
            assert (site.gate(seen.inputs[name]) is not None) == info.gated
        if site.activation_table is not None:
            assert len(site.activation_table.rows(torch.arange(info.slots))) == info.slots
        if model.backbone.complete:
            assert site.module is model.backbone.feed_forwards[info.layer]


def test_it_is_recognised_and_fingerprinted(case: Case, path: Path, model: MemoryModel) -> None:
    assert model.provenance.recognised_by
    assert model.fingerprint == case.open(path, device="cpu").fingerprint


def test_it_passes_its_self_check(model: MemoryModel) -> None:
    check = self_check(model)
    assert check.passed, check
    assert set(check.sites) == set(additive_sites(model))
    assert (check.residual is not None) == model.backbone.complete


# --- reads --------------------------------------------------------------------------------------


def test_reads_are_those_of_a_search_of_all_keys(model: MemoryModel) -> None:
    seen = observe(model, random_ids(model))
    for name, site in model.sites.items():
        expected = reads_by_hand(site, seen.half_scores[name], x=seen.inputs[name])
        found = seen.reads[name]
        assert torch.equal(found.slots, expected.slots)
        for kind in ("scores", "weights", "coefficients"):
            given, wanted = getattr(found, kind).double(), getattr(expected, kind)
            torch.testing.assert_close(given, wanted, atol=1e-5, rtol=1e-5)


def test_masked_reads_are_those_of_a_search_of_the_keys_that_are_left(model: MemoryModel) -> None:
    seen = observe(model, random_ids(model))
    for name, site in model.sites.items():
        masked = frozenset(seen.reads[name].slots.flatten().unique()[::2].tolist())
        half_scores, x = seen.half_scores[name], seen.inputs[name]
        found = site.select(half_scores, x, as_tensor(masked))
        expected = reads_by_hand(site, half_scores, masked, x=x)
        assert torch.equal(found.slots, expected.slots)
        torch.testing.assert_close(
            found.coefficients.double(), expected.coefficients, atol=1e-5, rtol=1e-5
        )
        bare = site.select(half_scores, None, as_tensor(masked))
        assert torch.equal(bare.coefficients, bare.weights)


def test_queries_and_half_keys_make_the_half_scores(model: MemoryModel) -> None:
    seen = observe(model, random_ids(model))
    for name, site in model.sites.items():
        queries, keys = site.queries(seen.inputs[name]).double(), site.half_keys().double()
        scores = torch.einsum("bphsd,hsnd->bphsn", queries, keys)
        assert_near(seen.half_scores[name], scores, SLACK[model.dtype])


def test_contributions_and_remainder_make_the_output(model: MemoryModel) -> None:
    seen = observe(model, random_ids(model))
    for name, site in additive_sites(model).items():
        by_hand = output_by_hand(site, seen.inputs[name], seen.reads[name])
        assert_near(by_hand, seen.outputs[name], SLACK[model.dtype])


def test_contributions_are_linear_in_coefficient_and_value(exact: MemoryModel) -> None:
    seen = observe(exact, random_ids(exact))
    for name, site in additive_sites(exact).items():
        gate = site.gate(seen.inputs[name])
        first, second = torch.randn(2, 2, 7, site.info.d_value, dtype=torch.float64)
        together = site.project(2 * first - 3 * second, gate)
        apart = 2 * site.project(first, gate) - 3 * site.project(second, gate)
        torch.testing.assert_close(together, apart)


# --- hooks --------------------------------------------------------------------------------------


def test_watching_changes_nothing(case: Case, path: Path, model: MemoryModel) -> None:
    ids = random_ids(model)
    plain = case.plain_logits(path, ids)
    assert torch.equal(logits(model, ids), plain)
    with session(record=True, residual=True):
        assert torch.equal(logits(model, ids), plain)
    assert torch.equal(trace(model, ids=ids).logits, plain)


def test_the_model_computes_what_its_files_say(case: Case, path: Path, exact: MemoryModel) -> None:
    if case.by_hand is None:
        pytest.skip(f"nobody wrote the forward pass of {case.name} by hand")
    ids = random_ids(exact)
    expected = case.by_hand(path, ids, NOTHING, NOTHING)
    assert_near(logits(exact, ids), expected, 1e-5)  # transformers' norms round to float32


# --- ablation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("meaning", ["zero", "mask"])
def test_ablation_at_each_site(model: MemoryModel, meaning: str) -> None:
    ids = random_ids(model)
    slots = fired(model, ids)
    edit = ZeroSlots(as_tensor(slots)) if meaning == "zero" else MaskSlots(as_tensor(slots))
    seen, plain = observe(model, ids, [edit]), observe(model, ids)
    for name, site in model.sites.items():
        masked = slots if meaning == "mask" else NOTHING
        expected = reads_by_hand(site, seen.half_scores[name], masked, x=seen.inputs[name])
        if meaning == "zero":
            hit = torch.tensor([s in slots for s in expected.slots.flatten().tolist()])
            kept = ~hit.view_as(expected.slots)
            expected = dataclasses.replace(expected, coefficients=expected.coefficients * kept)
        assert torch.equal(seen.reads[name].slots, expected.slots)
        if site.info.additive:
            by_hand = output_by_hand(site, seen.inputs[name], expected)
            assert_near(seen.outputs[name], by_hand, SLACK[model.dtype])
        assert not torch.equal(seen.outputs[name], plain.outputs[name])


@pytest.mark.parametrize("meaning", ["zero", "mask"])
def test_ablation_from_end_to_end(case: Case, path: Path, exact: MemoryModel, meaning: str) -> None:
    ids = random_ids(exact)
    slots = fired(exact, ids)
    zeroed, masked = (slots, NOTHING) if meaning == "zero" else (NOTHING, slots)
    edit = ZeroSlots(as_tensor(slots)) if meaning == "zero" else MaskSlots(as_tensor(slots))
    ablated = trace(exact, ids=ids, edits=[edit]).logits
    if additive_sites(exact) == exact.sites:
        with sites_by_hand(exact, zeroed, masked):
            assert_near(ablated, logits(exact, ids), 1e-6)
    if case.by_hand is not None:
        assert_near(ablated, case.by_hand(path, ids, zeroed, masked), 1e-5)
    assert (ablated - logits(exact, ids)).abs().max() > 0.01


def test_without_reads_the_remainder_is_left(model: MemoryModel) -> None:
    seen = observe(model, random_ids(model), [ZeroPositions()])
    for name, site in additive_sites(model).items():
        remainder = site.remainder(seen.inputs[name])
        slack = SLACK[model.dtype]
        torch.testing.assert_close(seen.outputs[name], remainder, atol=slack, rtol=slack)


# --- nothing is shared --------------------------------------------------------------------------


def test_a_site_that_is_no_sum_shows_no_contributions(model: MemoryModel) -> None:
    seen = observe(model, random_ids(model))
    for name, site in model.sites.items():
        if site.info.additive:
            made = read_contributions(site, seen.inputs[name], seen.reads[name])
            assert made.shape == (*seen.reads[name].slots.shape, site.info.d_model)
        else:
            assert model.provenance.limits, "say why"
            with pytest.raises(NotShown, match=name):
                read_contributions(site, seen.inputs[name], seen.reads[name])


def test_direct_effects_sum_to_the_logit(exact: MemoryModel) -> None:
    found = trace(exact, ids=random_ids(exact, rows=1))
    if not exact.backbone.complete:
        with pytest.raises(NotShown):
            direct_effect(exact, found, pos=6, token=3)
        return
    effect = direct_effect(exact, found, pos=6, token=3)
    assert effect.error < 1e-4
    assert set(effect.reads) == set(additive_sites(exact))


def edits_of(model: MemoryModel, reads: dict[str, SiteReads]) -> list[Edit]:
    slots = as_tensor(frozenset(range(0, next(iter(model.sites.values())).info.slots, 3)))
    masks = {name: torch.rand(r.slots.shape) < 0.5 for name, r in reads.items()}
    return [MaskSlots(slots), ZeroReads(masks), ZeroSlots(slots + 1), ZeroPositions()]


def test_edits_leave_nothing_behind(model: MemoryModel) -> None:
    ids = random_ids(model)
    before = observe(model, ids)
    state = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    hooks = [len(module._forward_hooks) for module in model.module.modules()]
    for edit in edits_of(model, before.reads):
        assert not torch.equal(observe(model, ids, [edit]).logits, before.logits)
        after = observe(model, ids)
        assert torch.equal(after.logits, before.logits)
        for name, reads in after.reads.items():
            assert torch.equal(reads.slots, before.reads[name].slots)
            assert torch.equal(reads.coefficients, before.reads[name].coefficients)
    now = model.module.state_dict()
    assert [name for name, tensor in state.items() if not torch.equal(tensor, now[name])] == []
    assert [len(module._forward_hooks) for module in model.module.modules()] == hooks


def test_concurrent_sessions_stay_apart(model: MemoryModel) -> None:
    ids = random_ids(model)
    plain = observe(model, ids)
    edits = [[], *([edit] for edit in edits_of(model, plain.reads))]
    alone = [trace(model, ids=ids, edits=own) for own in edits]
    barrier = threading.Barrier(len(edits))

    def again(own: list[Edit]) -> list[Trace]:
        barrier.wait()
        return [trace(model, ids=ids, edits=own) for _ in range(3)]

    with ThreadPoolExecutor(len(edits)) as pool:
        for expected, found in zip(alone, pool.map(again, edits), strict=True):
            for one in found:
                assert torch.equal(one.logits, expected.logits)
                for name, reads in one.reads.items():
                    assert torch.equal(reads.slots, expected.reads[name].slots)
                    assert torch.equal(reads.coefficients, expected.reads[name].coefficients)
    assert len({tuple(found.logits.flatten().tolist()) for found in alone}) == len(edits)


def test_two_models_do_not_meet(case: Case, model: MemoryModel, tmp_path: Path) -> None:
    ids = random_ids(model)
    alone = observe(model, ids)
    other = case.open(case.write(tmp_path / "other", 1), device="cpu")
    of_other = observe(other, ids)
    assert not torch.equal(of_other.logits, alone.logits)
    assert other.fingerprint != model.fingerprint
    with session([ZeroPositions()], record=True):
        logits(other, ids)
    for watched, expected in ((model, alone), (other, of_other), (model, alone)):
        assert torch.equal(observe(watched, ids).logits, expected.logits)
    storage = {t.data_ptr() for t in model.module.state_dict().values() if t.numel()}
    assert not storage & {t.data_ptr() for t in other.module.state_dict().values() if t.numel()}
