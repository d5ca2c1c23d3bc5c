"""Measures of slots, against the records they come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from inspector.analyses.decoded_table import decode_table
from inspector.analyses.slot_measures import slot_measures
from inspector.analyses.token_classes import token_class
from inspector.analyses.value_map_record import MapSettings, ValueMap
from inspector.analyses.verdicts import judge_usage
from inspector.capture.load import load
from inspector.errors import SlotError
from tests.analyses.planted_usage import SLOTS, Planted
from tests.families.damage import change_tensors

Written = Callable[..., Path]


def test_measures_of_usage() -> None:
    planted = Planted()
    usage = planted.scan(3000)
    frame = slot_measures(planted.model, usage=usage)
    assert frame["slot"].tolist() == list(range(SLOTS))
    rows = planted.model.tables[0].weight
    assert frame["norm"].to_numpy() == pytest.approx(rows.norm(dim=1).numpy(), rel=1e-5)
    per_site = {name: site.reads.sum(0) for name, site in usage.sites.items()}
    reads = sum(per_site.values())
    assert frame["reads"].tolist() == reads.tolist()
    assert frame["weight"].tolist() == (reads / 2).tolist()
    assert frame["weight_share"].sum() == pytest.approx(1)
    read = reads > 0
    for name, own in per_site.items():
        assert frame[f"share_{name}"].to_numpy()[read] == pytest.approx(own[read] / reads[read])
        assert frame[f"share_{name}"].isna().tolist() == (~read).tolist()
    verdicts = judge_usage(usage).values[0]
    for verdict in set(verdicts.verdicts):
        chosen = frame.index[frame["verdict"] == _label(int(verdict))]
        assert chosen.tolist() == np.flatnonzero(verdicts.verdicts == verdict).tolist()


def _label(code: int) -> str:
    return ("alive", "rare", "not seen yet", "dead")[code]


def test_without_more_there_is_the_norm_alone() -> None:
    assert slot_measures(Planted().model).columns.tolist() == ["slot", "norm"]


def test_measures_of_a_decoding(tiny_checkpoint: Written) -> None:
    model = load(tiny_checkpoint(memory_projection="none"), device="cpu")
    decoded = decode_table(model, "L0", "raw", top=3)
    frame = slot_measures(model, decoded=decoded)
    assert frame["promoted"].tolist() == decoded.texts(decoded.promoted[:, 0])
    assert frame["stands_out"].tolist() == decoded.passes.tolist()
    assert frame["token_class"].tolist() == [token_class(text) for text in frame["promoted"]]


def test_drift_is_the_distance_to_the_same_row(tiny_checkpoint: Written, tmp_path: Path) -> None:
    import shutil

    source = tiny_checkpoint()
    path = Path(shutil.copytree(source, tmp_path / "later"))

    def move(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.value_tables.0.weight"][7, :2] += torch.tensor([3.0, 4.0])

    change_tensors(path, move)
    later, initial = load(path, device="cpu"), load(source, device="cpu")
    drift = slot_measures(later, initial=initial)["drift"]
    assert drift[7] == pytest.approx(5, abs=1e-5)
    assert drift.drop(7).tolist() == [0] * 63
    other = load(tiny_checkpoint(memory_half_keys=12), device="cpu")
    with pytest.raises(SlotError, match="64 values of 32 numbers"):
        slot_measures(later, initial=other)


def test_clusters_of_a_map() -> None:
    model = Planted().model
    slots = np.array([2, 5])
    found = ValueMap(
        *("planted", MapSettings(), slots, np.zeros((2, 2)), np.zeros((2, 1)), np.zeros((2, 1))),
        *(np.array([1, 0]), ("a", "b"), "", "exact, cosine", 0.9, 15, SLOTS, "2 of 256 slots"),
    )
    clusters = slot_measures(model, value_map=found)["cluster"]
    assert (clusters[2], clusters[5], clusters.drop([2, 5]).unique().tolist()) == (1, 0, [-1])
    with pytest.raises(SlotError, match="3 slots, but the table has 256"):
        slot_measures(model, value_map=dataclasses.replace(found, total=3))
