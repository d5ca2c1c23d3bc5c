"""lucidrains' modules as sites: what an edit makes of them is what the module itself would do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PEER_pytorch import PEER, ChunkedPEER, PEERLora
from product_key_memory import PKM
from torch import Tensor, nn
from torch.testing import assert_close

import inspector
from inspector.capture.edits import MaskSlots, ZeroPositions, ZeroSlots
from inspector.capture.session import logits, session
from inspector.errors import CheckpointError
from inspector.families.base import MemoryModel
from tests.conftest import SENTENCES
from tests.families.conformance import observe, random_ids
from tests.families.tiny_native import tokenizer_of
from tests.families.tiny_wrapped import WIDTH, llama, peer, pkm


def wrapped(memory: nn.Module) -> MemoryModel:
    return inspector.wrap(llama((1, memory)), tokenizer_of(SENTENCES))


def last_call(module: nn.Module, name: str) -> list[Any]:
    """What a part of a module is handed from here on, call by call."""
    calls: list[Any] = []

    def seen(_module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
        calls.append((args, kwargs))

    module.get_submodule(name).register_forward_pre_hook(seen, with_kwargs=True)
    return calls


def test_pkm_fetches_and_weighs_what_is_shown() -> None:
    memory = pkm()
    model = wrapped(memory)
    calls = last_call(memory, "values")
    ids = random_ids(model)
    for edits in ([], [ZeroSlots(torch.arange(0, 64, 2))], [MaskSlots(torch.arange(0, 64, 3))]):
        reads = observe(model, ids, edits).reads["L1"]
        (indices,), options = calls[-1]
        assert torch.equal(indices.view(reads.slots.shape), reads.slots)
        weighed = options["per_sample_weights"].view(reads.slots.shape)
        assert torch.equal(weighed, reads.coefficients)


def test_peer_fetches_what_is_shown() -> None:
    memory = peer()
    model = wrapped(memory)
    down, up = last_call(memory, "weight_down_embed"), last_call(memory, "weight_up_embed")
    ids = random_ids(model)
    for edits in ([], [MaskSlots(torch.arange(0, 64, 3))]):
        reads = observe(model, ids, edits).reads["L1"]
        for calls in (down, up):
            assert torch.equal(calls[-1][0][0], reads.slots)


@pytest.mark.parametrize("memory", [pkm(), peer()], ids=["pkm", "peer"])
def test_masked_half_keys_are_never_chosen_by_the_module_either(memory: nn.Module) -> None:
    """Masking all slots of a half-key is what the module does when that half-key scores lowest."""
    model = wrapped(memory)
    ids, gone = random_ids(model), 3
    masked = observe(model, ids, [MaskSlots(torch.arange(8 * gone, 8 * gone + 8))])
    queries = model.sites["L1"].queries(masked.inputs["L1"])
    first = memory.keys[:, gone, 0].clone()
    scores = torch.einsum("bphd,hd->bph", queries[..., 0, :], first)
    with torch.no_grad():  # a half-key that scores about -50 against every query here
        for head in range(2):
            own = queries[:, :, head, 0].flatten(0, 1)
            low = torch.linalg.lstsq(own, torch.full((14, 1), -50.0)).solution
            memory.keys[head, gone, 0] = low[:, 0]
    lost = torch.einsum("bphd,hd->bph", queries[..., 0, :], memory.keys[:, gone, 0])
    chosen = observe(model, ids)
    where = (lost < scores.min() - 5).all(-1)
    assert where.any()
    slots = chosen.reads["L1"].slots[where]
    assert torch.equal(slots, masked.reads["L1"].slots[where])


def test_relu_weights_may_be_zero() -> None:
    model = wrapped(pkm(non_competitive_gates=True, topk=8))
    reads = observe(model, random_ids(model)).reads["L1"]
    assert_close(reads.weights, reads.scores.clamp_min(0))
    assert model.sites["L1"].info.normalisation == "relu"


def test_peer_looks_at_its_best_half_keys_only() -> None:
    memory = peer(non_competing_scores=False, product_key_topk=2)
    model = wrapped(memory)
    ids = random_ids(model)
    plain = observe(model, ids)
    site, seen = model.sites["L1"], plain.reads["L1"]
    found = site.select(plain.half_scores["L1"], plain.inputs["L1"])
    assert torch.equal(found.slots, seen.slots)
    assert_close(found.coefficients, seen.coefficients)


def test_combined_values_count_one_each() -> None:
    memory = pkm(concat_values_and_combine=True)
    model = wrapped(memory)
    ids = random_ids(model)
    seen = observe(model, ids)
    reads = seen.reads["L1"]
    assert torch.equal(reads.coefficients, torch.ones_like(reads.coefficients))
    rows = memory.values.weight[reads.slots].sum(3).flatten(2)  # [batch pos (head d_value)]
    assert_close(rows @ memory.maybe_concat_combine[2].weight.T, seen.outputs["L1"])
    without = observe(model, ids, [ZeroPositions()])
    assert_close(without.outputs["L1"], torch.zeros_like(seen.outputs["L1"]))


@pytest.mark.parametrize("options", [{"norm_output": True}, {"concat_values_and_combine": True}])
def test_an_output_that_is_no_sum_is_said_to_be_none(options: dict[str, Any]) -> None:
    model = wrapped(pkm(**options))
    assert not model.sites["L1"].info.additive
    (limit,) = model.provenance.limits
    assert limit.startswith("L1 ")
    assert "no contribution of its own" in limit


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        (lambda: pkm(use_layernorm=False), "use_layernorm=False"),
        (lambda: pkm(differentiable_topk=True), "differentiable_topk=True"),
        (lambda: peer(separate_embed_per_head=True), "separate_embed_per_head=True"),
        (lambda: ChunkedPEER(peer()), "is a ChunkedPEER"),
        (lambda: PEERLora(WIDTH, num_experts=64), "is a PEERLora"),
    ],
)
def test_what_cannot_be_shown_truly_is_refused(memory: Any, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        wrapped(memory())


def test_a_pass_that_fails_leaves_nothing_behind() -> None:
    model = wrapped(pkm())
    ids = random_ids(model)
    plain = logits(model, ids)

    def fail(*_: object) -> Any:
        raise RuntimeError("broken edit")

    with pytest.raises(RuntimeError, match="broken edit"), session([fail]):
        logits(model, ids)
    assert torch.equal(logits(model, ids), plain)


def test_half_precision() -> None:
    for memory in (pkm(), peer(non_competing_scores=False)):
        model = inspector.wrap(llama((1, memory)).bfloat16(), tokenizer_of(SENTENCES))
        assert inspector.self_check(model).passed
        ids = random_ids(model)
        masked = observe(model, ids, [MaskSlots(torch.arange(0, 64, 2))])
        assert (masked.reads["L1"].slots % 2 == 1).all()


def test_classes_are_those_of_the_packages() -> None:
    assert isinstance(pkm(), PKM)
    assert isinstance(peer(), PEER)
