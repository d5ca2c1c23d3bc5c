"""Bring your own model: what is found in it, what is not, and what is said of that."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import inspector
from inspector.analyses.direct_effect import direct_effect
from inspector.capture.edits import MaskSlots, ZeroSlots
from inspector.capture.generate import continue_greedily
from inspector.capture.session import logits
from inspector.errors import CheckpointError, InspectorError, NotShown
from tests.conftest import SENTENCES
from tests.families.conformance import random_ids
from tests.families.tiny_native import tokenizer_of
from tests.families.tiny_wrapped import WIDTH, llama, ours, peer, pkm, randomise

TOKENIZER = tokenizer_of(SENTENCES)


class OwnModel(nn.Module):
    """As people write them: no transformers, ids in, logits out, names of their own."""

    def __init__(self, *, norm: nn.Module | None = None, tuple_out: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(300, WIDTH)
        self.steps = nn.ModuleList([pkm(), peer()])
        self.closing = norm or nn.RMSNorm(WIDTH, eps=1e-5)
        self.say = nn.Linear(WIDTH, 300, bias=False)
        self._tuple = tuple_out
        randomise(self, 0)

    def forward(self, ids: Tensor) -> Any:
        stream = self.words(ids)
        for step in self.steps:
            stream = stream + step(stream)
        scores = self.say(self.closing(stream))
        return (scores, stream) if self._tuple else scores


def test_the_model_computes_what_it_did_before() -> None:
    model = llama((0, pkm()), (2, peer())).eval()
    ids = torch.randint(300, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = model(ids).logits
    wrapped = inspector.wrap(model, TOKENIZER)
    assert torch.equal(inspector.trace(wrapped, ids=ids).logits, before)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, before)  # and so it does outside the inspector
    assert list(wrapped.sites) == ["L0", "L2"]
    assert wrapped.provenance.limits == ()
    assert "model.layers.0.mlp, model.layers.2.mlp are of class PEER or PKM" in (
        wrapped.provenance.recognised_by
    )


def test_sites_that_share_a_matrix_share_a_table() -> None:
    first, second = pkm(), pkm()
    second.values = first.values
    wrapped = inspector.wrap(llama((0, first), (1, second), (2, pkm())), TOKENIZER)
    assert wrapped.sites_of(0) == ("L0", "L1")
    assert len(wrapped.tables) == 2
    assert wrapped.sites["L0"].table is wrapped.sites["L1"].table
    assert inspector.self_check(wrapped).passed


def test_only_the_sites_that_are_named() -> None:
    model = llama((0, pkm()), (2, peer()))
    assert list(inspector.wrap(model, TOKENIZER, sites=["model.layers.2.mlp"]).sites) == ["L2"]
    with pytest.raises(CheckpointError, match="is a LlamaMLP; sites are modules of"):
        inspector.wrap(model, TOKENIZER, sites=["model.layers.1.mlp"])
    with pytest.raises(CheckpointError, match="no module 'nowhere'"):
        inspector.wrap(model, TOKENIZER, sites=["nowhere"])


def test_a_model_without_memory_has_no_sites() -> None:
    wrapped = inspector.wrap(llama(), TOKENIZER)
    assert not wrapped.sites
    assert "no modules of ProductKeyMemory, PKM or PEER" in wrapped.provenance.recognised_by
    assert inspector.self_check(wrapped).passed


def test_one_module_in_two_places_is_refused() -> None:
    memory = pkm()
    with pytest.raises(CheckpointError, match="are one module"):
        inspector.wrap(llama((0, memory), (1, memory)), TOKENIZER)


def test_two_memories_in_one_block_are_refused() -> None:
    both = nn.Sequential(pkm(), pkm())
    with pytest.raises(CheckpointError, match="both stand in block 1"):
        inspector.wrap(llama((1, both)), TOKENIZER)


# --- wrapping again -----------------------------------------------------------------------------


def hooks_on(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_wrapping_again_gives_the_same_model_unless_something_changed() -> None:
    model = llama((1, pkm()))
    first = inspector.wrap(model, TOKENIZER)
    hooks = hooks_on(model)
    assert inspector.wrap(model, TOKENIZER) is first
    with torch.no_grad():
        model.model.layers[1].mlp.values.weight[3] += 1
    second = inspector.wrap(model, TOKENIZER)
    assert second.fingerprint != first.fingerprint
    named = inspector.wrap(model, TOKENIZER, name="mine")
    assert (named.name, hooks_on(model)) == ("mine", hooks)
    ids = random_ids(named)
    reads = inspector.trace(named, ids=ids).reads["L1"].slots
    gone = MaskSlots(reads.unique()[:5])
    assert not torch.equal(inspector.trace(named, ids=ids, edits=[gone]).reads["L1"].slots, reads)


def test_a_refused_model_keeps_no_hooks() -> None:
    model = llama((0, pkm()), (1, pkm(use_layernorm=False)))
    with pytest.raises(CheckpointError):
        inspector.wrap(model, TOKENIZER)
    assert hooks_on(model) == 0


def test_a_wrapped_model_is_not_kept_alive() -> None:
    model = llama((1, pkm()))
    inspector.wrap(model, TOKENIZER)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_it_takes_no_gradients_and_is_in_evaluation_mode() -> None:
    model = llama((1, pkm(attn_dropout=0.5))).train()
    wrapped = inspector.wrap(model, TOKENIZER)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    ids = random_ids(wrapped)
    assert torch.equal(logits(wrapped, ids), logits(wrapped, ids))


# --- parts that are missing ---------------------------------------------------------------------


def test_what_was_not_found_is_said_and_not_shown() -> None:
    model = OwnModel().eval()
    ids = torch.randint(300, (1, 7), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before = model(ids)
    wrapped = inspector.wrap(model, TOKENIZER)
    found = inspector.trace(wrapped, ids=ids)
    assert torch.equal(found.logits, before)
    assert list(found.reads) == ["L0", "L1"]
    said = " ".join(wrapped.provenance.limits)
    for part in ("head=...", "embedding=...", "final_norm=..."):
        assert part in said
    with pytest.raises(NotShown, match="could be told apart"):
        direct_effect(wrapped, found, pos=3, token=5)
    slot = int(found.reads["L0"].slots[0, 0, 0, 0])
    with pytest.raises(NotShown, match="head of this model was not found"):
        inspector.decode(wrapped, [slot], site="L0", gate="raw")
    check = inspector.self_check(wrapped)
    assert check.passed
    assert check.residual is None
    assert inspector.scan(wrapped, SENTENCES[:2]).tokens > 0
    edited = inspector.trace(wrapped, ids=ids, edits=[ZeroSlots(torch.tensor([slot]))])
    assert not torch.equal(edited.logits, before)
    mapped = inspector.value_map(wrapped, table=0, near=5, cluster_count=3).to_frame()
    assert len(mapped) == 64


def test_parts_that_are_named_are_shown() -> None:
    model = OwnModel(tuple_out=True)
    parts = {"embedding": "words", "final_norm": model.closing, "head": "say"}
    wrapped = inspector.wrap(model, TOKENIZER, **parts)
    (limit,) = wrapped.provenance.limits
    assert "blocks=..." in limit
    ids = random_ids(wrapped, rows=1)
    slot = int(inspector.trace(wrapped, ids=ids).reads["L0"].slots[0, 0, 0, 0])
    decoded = inspector.decode(wrapped, [slot], site="L0", gate="raw").to_frame()
    rows = model.say.weight * model.closing.weight
    best = (rows @ model.steps[0].values.weight[slot]).max().item()
    assert decoded["promoted_logits"][0][0] == pytest.approx(best, rel=1e-3)


def test_a_norm_that_takes_the_mean_out_is_followed() -> None:
    norm = nn.LayerNorm(WIDTH)
    model = OwnModel(norm=norm)
    wrapped = inspector.wrap(model, TOKENIZER, embedding="words", final_norm="closing", head="say")
    x = torch.randn(5, WIDTH)
    found = x @ wrapped.backbone.unembedding().T / wrapped.backbone.rms(x)[:, None]
    with torch.no_grad():
        expected = model.say(norm(x) - norm.bias)
    assert_close(found, expected, atol=1e-4, rtol=1e-4)


class Louder(nn.Module):
    """Scales what it's given, so that what blocks write is not what the stream becomes."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * x


def test_parts_that_do_not_add_up_are_not_shown_as_if_they_did() -> None:
    model = llama((1, pkm()))
    model.model.layers[2].register_forward_hook(lambda _m, _i, output: 3 * output)
    wrapped = inspector.wrap(model, TOKENIZER)
    assert not wrapped.backbone.complete
    (limit,) = wrapped.provenance.limits
    assert "does not add up to what the final norm reads" in limit
    found = inspector.trace(wrapped, ids=random_ids(wrapped, rows=1))
    with pytest.raises(NotShown):
        direct_effect(wrapped, found, pos=3, token=5)


def test_a_head_that_is_not_the_last_step_is_noticed() -> None:
    model = llama((1, pkm()))
    model.lm_head.register_forward_hook(lambda _m, _i, output: 30 * torch.tanh(output / 30))
    wrapped = inspector.wrap(model, TOKENIZER)
    assert not wrapped.backbone.complete
    assert "more than the head" in wrapped.provenance.limits[0]


def test_a_head_of_another_kind_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"must be a torch\.nn\.Linear; found Embedding"):
        inspector.wrap(OwnModel(), TOKENIZER, head="words")


def test_the_longest_input_has_to_be_known() -> None:
    class Endless:
        eos_token_id = 1

        def __len__(self) -> int:
            return 300

    with pytest.raises(CheckpointError, match="positions="):
        inspector.wrap(OwnModel(), Endless())  # type: ignore[arg-type]
    assert inspector.wrap(OwnModel(), Endless(), positions=17).positions == 17  # type: ignore[arg-type]


def test_a_model_of_your_own_writes_on() -> None:
    wrapped = inspector.wrap(OwnModel(), TOKENIZER)
    ids = random_ids(wrapped, rows=1, length=3)
    written = continue_greedily(wrapped, ids, 4)
    expected = ids
    while expected.shape[1] < written.shape[1]:
        best = logits(wrapped, expected)[:, -1:].argmax(-1)
        expected = torch.cat([expected, best], dim=1)
    assert torch.equal(written, expected)
    assert written.shape[1] == 7 or written[0, -1] == TOKENIZER.eos_token_id


def test_a_memory_that_never_computes_is_refused() -> None:
    model = llama((1, pkm()))
    model.model.layers[1].forward = lambda x, **_: x
    with pytest.raises(CheckpointError, match="L1 did not compute"):
        inspector.wrap(model, TOKENIZER)


def test_a_layer_of_ours_in_a_users_model() -> None:
    memory = ours()
    model = llama((1, memory))
    model.memory_table = memory.table
    wrapped = inspector.wrap(model, TOKENIZER)
    assert inspector.self_check(wrapped).passed
    assert isinstance(wrapped, inspector.MemoryModel)
    with pytest.raises(InspectorError):
        wrapped.site("L0")
