"""Addresses of slots, names of sites, texts of tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from inspector.errors import SlotError
from inspector.families import native  # noqa: F401  registers itself
from inspector.families.base import MemoryModel, SiteInfo
from inspector.families.registry import open_checkpoint

INFO = SiteInfo(
    layer=4,
    table=0,
    heads=4,
    knn=32,
    half_keys=512,
    d_model=64,
    d_key=32,
    d_value=64,
    gated=True,
    normalisation="softmax",
)


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return open_checkpoint(tiny_checkpoint(), device=torch.device("cpu"))


def test_a_slot_has_a_key_and_an_address() -> None:
    slot = 431 * 512 + 77
    assert INFO.name == "L4"
    assert INFO.slots == 262_144
    assert INFO.pair(slot) == (431, 77)
    assert INFO.address(slot) == "L4·(431,77)"
    assert INFO.address(slot, head=2) == "L4·H2·(431,77)"
    assert INFO.address(0, head=0) == "L4·H0·(0,0)"


@pytest.mark.parametrize("slot", [-1, 262_144])
def test_a_slot_out_of_range_is_told(slot: int) -> None:
    with pytest.raises(SlotError, match=f"no slot {slot}: L4 has slots 0 to 262143"):
        INFO.address(slot)


def test_a_site_that_is_not_there_is_told(model: MemoryModel) -> None:
    with pytest.raises(SlotError, match=r"no site L1 in tiny; its sites are: L0, L2\."):
        model.site("L1")


def test_tokens_as_people_read_them(model: MemoryModel) -> None:
    ids = model.tokenizer("speaks né").input_ids
    assert "".join(map(model.token_text, ids[:2])).startswith("<s>")
    piece = model.tokenizer("é", add_special_tokens=False).input_ids[0]  # half a character
    assert model.token_text(piece) == model.tokenizer.convert_ids_to_tokens(piece)


def test_a_token_that_only_pads_the_vocabulary_is_its_number(model: MemoryModel) -> None:
    assert model.token_text(300) == "<300>"


def test_the_final_norm_and_the_head_in_parts(model: MemoryModel) -> None:
    residual = torch.randn(2, 5, 32)
    with torch.no_grad():
        expected = model.backbone.head(model.backbone.final_norm(residual))
    direct = residual @ model.backbone.unembedding().T
    found = direct / model.backbone.rms(residual)[..., None]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_later_scales_of_the_stream_carry_what_was_written(model: MemoryModel) -> None:
    scales = tuple((torch.rand(32), torch.rand(32)) for _ in range(3))
    backbone = dataclasses.replace(model.backbone, residual_scales=scales)
    parts = {block: (torch.randn(32), torch.randn(32)) for block in range(3)}
    stream = embedding = torch.randn(32)
    for (before_attention, before_mlp), (attention, mlp) in zip(
        scales, parts.values(), strict=True
    ):
        stream = stream * before_attention + attention
        stream = stream * before_mlp + mlp
    carried = backbone.carried(embedding, -1, "embedding")
    for block, (attention, mlp) in parts.items():
        carried = carried + backbone.carried(attention, block, "attention")
        carried = carried + backbone.carried(mlp, block, "feed_forward")
    torch.testing.assert_close(carried, stream)
    assert torch.equal(backbone.carried(parts[2][1], 2, "feed_forward"), parts[2][1])


def test_without_scales_all_that_is_written_arrives(model: MemoryModel) -> None:
    written = torch.randn(32)
    assert model.backbone.carried(written, 0, "attention") is written
    assert model.activation_tables == ()
