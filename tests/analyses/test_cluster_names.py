"""Clusters are named by the tokens that only they promote."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from inspector.analyses import cluster_names as module
from inspector.analyses.cluster_names import (
    decoding_sites,
    distinctive_terms,
    name_clusters,
    promoted_tokens,
)
from inspector.analyses.gates import measure_mean_gates
from inspector.capture.load import load
from inspector.families.base import MemoryModel
from tests.analyses.planted_map import SLOTS, load_spoilt, write_map_model

Written = Callable[..., Path]
TOKENS = np.array([70, 72, 80, 90])  # letters


def test_terms_by_hand() -> None:
    """Token 9 is common to both clusters, 1 and 2 are each one's own; once is not enough."""
    tokens = np.array([[1, 9], [1, 9], [5, 9], [9, 2], [2, 9], [2, -1], [7, 7]])
    clusters = np.array([0, 0, 0, 1, 1, 1, -1])
    first, second = distinctive_terms(tokens[None], clusters, 2, 10)
    # Lengths are 3 * 1.5 and 2 * 1.5 + 1, A = 4.25; 9 amounts to 3 in all, 1 to 2, 2 to 2.5.
    a = 4.25
    assert 2 / 4.5 * math.log(1 + a / 2) > 1.5 / 4.5 * math.log(1 + a / 3)
    assert 2.5 / 4 * math.log(1 + a / 2.5) > 1.5 / 4 * math.log(1 + a / 3)
    assert first.tolist() == [1, 9]
    assert second.tolist() == [2, 9]


def test_every_site_counts_alike_and_a_value_once() -> None:
    clusters = np.array([0, 0, 1, 1])
    first = np.array([[1, 2], [1, 2], [3, 4], [3, 4]])
    second = np.array([[5, 6], [5, 6], [7, 0], [7, 0]])
    alone, swapped = (
        distinctive_terms(np.stack(order), clusters, 2, 10)
        for order in ((first, second), (second, first))
    )
    assert [row.tolist() for row in alone] == [row.tolist() for row in swapped]
    assert alone[0].tolist()[:2] == [1, 5]  # what both sites say first
    lonely = np.array([[8, 1], [1, 2], [3, 4], [3, 4]])  # 8: one value, at two sites
    found = distinctive_terms(np.stack([lonely, lonely]), clusters, 2, 10)
    assert 8 not in found[0]
    assert 1 in found[0]


def test_planted_clusters_are_named_by_their_token(
    tiny_checkpoint: Written, tmp_path: Path
) -> None:
    path, about = write_map_model(tiny_checkpoint, tmp_path / "planted", TOKENS)
    model = load(path, device="cpu")
    found = name_clusters(model, 0, None, np.arange(SLOTS), about.astype(np.int32))
    for number, token in enumerate(TOKENS):
        assert model.token_text(int(token)) in found.names[number].lower().split(", ")
    assert found.by == "static at L0, L2"
    assert name_clusters(model, 0, "L2", np.arange(SLOTS), about).by == "static at L2"


def test_too_large_a_vocabulary_is_named_from_a_sample(
    tiny_checkpoint: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, about = write_map_model(tiny_checkpoint, tmp_path / "planted", TOKENS)
    model = load(path, device="cpu")
    monkeypatch.setattr(module, "AFFORDED", 100 * 300 * 32)
    found = name_clusters(model, 0, "L0", np.arange(SLOTS), about, seed=3)
    assert found.by == "static at L0, 100 values drawn at random (seed 3)"
    assert model.token_text(int(TOKENS[0])) in found.names[0].lower().split(", ")


@pytest.fixture(scope="module")
def gated(tiny_checkpoint: Written) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")


def test_what_stands_between_values_and_tokens_decides(
    gated: MemoryModel, tiny_checkpoint: Written
) -> None:
    gates = measure_mean_gates(gated, [torch.tensor([[0, 10, 20, 30]])], "four tokens")
    assert decoding_sites(gated, 0, None, gates) == ("L0", "L2")
    assert decoding_sites(gated, 0, "L2", gates) == ("L2",)
    assert decoding_sites(gated, 0, None, None) == (None,)
    narrow = load(tiny_checkpoint(memory_d_value=16), device="cpu")
    assert decoding_sites(narrow, 0, None, None) == ()
    found = name_clusters(narrow, 0, None, np.arange(64), np.arange(64) % 2)
    assert (found.names, found.by) == (("cluster 0", "cluster 1"), "")
    assert found.to_frame()["name"].tolist() == ["cluster 0", "cluster 1"]


def test_zeros_and_nan_promote_nothing(tiny_checkpoint: Written, tmp_path: Path) -> None:
    def spoil(values: torch.Tensor) -> None:
        values[4], values[5, 1] = 0, torch.nan

    path, about = write_map_model(tiny_checkpoint, tmp_path / "spoilt", TOKENS)
    model = load_spoilt(path, spoil)
    found = promoted_tokens(model, 0, "L0", np.arange(SLOTS), None, top=3)
    assert found[[4, 5]].tolist() == [[-1] * 3] * 2
    sound = np.setdiff1d(np.arange(SLOTS), [4, 5])
    assert np.array_equal(found[sound, 0], TOKENS[about[sound]])
