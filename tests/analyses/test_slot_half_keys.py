"""Half-keys of a slot and their neighbours, against loops over every pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inspector.analyses.slot_half_keys import half_key_frame, slot_half_keys
from inspector.capture.load import load
from inspector.capture.scan import scan
from tests.capture.test_scan import CORPUS


@pytest.mark.parametrize("slot", [0, 29, 63])
def test_neighbours_are_those_of_every_pair(
    tiny_checkpoint: Callable[..., Path], slot: int
) -> None:
    model = load(tiny_checkpoint(memory_key_norm="rms"), device="cpu")
    usage = scan(model, CORPUS, cache=False)
    found = slot_half_keys(model, 0, slot, usage, count=3)
    assert len(found) == 2 * 2 * 2  # sites, heads, halves
    for each in found:
        own = divmod(slot, 8)[each.half]
        keys = model.site(each.site).half_keys()[each.head, each.half].double()
        norms = [float(key.norm()) for key in keys]
        cosine = {
            other: float(keys[own] @ keys[other]) / norms[own] / norms[other]
            for other in range(8)
            if other != own
        }
        best = sorted(cosine, key=lambda other: -cosine[other])[:3]
        assert each.half_key == own
        assert each.nearest.tolist() == best
        assert each.cosine == pytest.approx([cosine[other] for other in best], abs=1e-5)
        assert each.norm == pytest.approx(norms[own], rel=1e-5)
        assert each.norm_z == pytest.approx((norms[own] - np.mean(norms)) / np.std(norms), abs=1e-3)
        hits = usage.sites[each.site].half_hits[each.head, each.half]
        assert (each.hits, each.usual_hits) == (hits[own], hits.mean())


def test_without_a_scan_and_with_two_half_keys(tiny_checkpoint: Callable[..., Path]) -> None:
    model = load(tiny_checkpoint(memory_half_keys=2), device="cpu")
    found = slot_half_keys(model, 0, 1)
    assert {each.hits for each in found} == {None}
    assert all(len(each.nearest) == 1 and each.nearest[0] != each.half_key for each in found)
    frame = half_key_frame(found)
    assert frame["half_key"].tolist() == [0, 1] * 4
    assert frame["nearest"][0] == [f"1 ({found[0].cosine[0]:.2f})"]


def test_a_half_key_without_length_has_no_direction(tiny_checkpoint: Callable[..., Path]) -> None:
    model = load(tiny_checkpoint(), device="cpu")
    site = model.site("L0")

    class Flat:
        info = site.info

        def half_keys(self) -> torch.Tensor:
            return torch.zeros_like(site.half_keys())

    flat = replace(model, sites={"L0": Flat()})  # type: ignore[dict-item]
    found = slot_half_keys(flat, 0, 0)
    assert all(each.norm == each.norm_z == 0 and (each.cosine == 0).all() for each in found)
