"""A map separates what was planted, comes from its seed, is kept whole, and says what it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

import inspector
from inspector.analyses import value_map as module
from inspector.analyses.map_placing import place, with_placed
from inspector.analyses.neighbours import nearest_values
from inspector.analyses.trustworthiness import trustworthiness
from inspector.analyses.value_map import MapSettings, ValueMap, stored_map, value_map
from inspector.capture.cache import cache_folder
from inspector.capture.load import load
from inspector.errors import CacheError, Cancelled, SlotError
from inspector.families.base import MemoryModel
from tests.analyses.planted_map import SLOTS, load_spoilt, write_map_model

Written = Callable[..., Path]
pytestmark = pytest.mark.slow  # umap-learn compiles its code when it's first used

TOKENS = np.array([70, 72, 80, 90])  # letters


@pytest.fixture(scope="module")
def written(
    tiny_checkpoint: Written, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, np.ndarray]:
    return write_map_model(tiny_checkpoint, tmp_path_factory.mktemp("map") / "planted", TOKENS)


@pytest.fixture(scope="module")
def model(written: tuple[Path, np.ndarray]) -> MemoryModel:
    return load(written[0], device="cpu")


@pytest.fixture(scope="module")
def drawn(model: MemoryModel) -> ValueMap:
    return value_map(model, cluster_count=4, cache=False)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def same(one: ValueMap, other: ValueMap) -> bool:
    return all(
        np.array_equal(value, getattr(other, name))
        if isinstance(value, np.ndarray)
        else value == getattr(other, name)
        for name, value in vars(one).items()
    )


def purity(xy: np.ndarray, labels: np.ndarray, k: int = 15) -> float:
    """Share of the k nearest on the map that have the point's own label."""
    far = np.linalg.norm(xy[:, None] - xy, axis=-1)
    np.fill_diagonal(far, np.inf)
    return float((labels[np.argsort(far, axis=1)[:, :k]] == labels[:, None]).mean())


# --- what it shows ------------------------------------------------------------------------------


@pytest.mark.parametrize("site", [None, "L2"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_planted_clusters_are_apart(
    model: MemoryModel, written: tuple[Path, np.ndarray], site: str | None, metric: Any
) -> None:
    found = value_map(model, site, metric=metric, cache=False)
    assert purity(found.xy, written[1]) >= 0.95
    assert found.trustworthiness > 0.8


def test_its_clusters_are_the_planted_ones_and_bear_their_tokens(
    model: MemoryModel, drawn: ValueMap, written: tuple[Path, np.ndarray]
) -> None:
    about = written[1]
    for number, name in enumerate(drawn.cluster_names):
        own = about[drawn.clusters == number]
        planted = np.bincount(own, minlength=4)
        assert planted.max() == planted.sum(), "a cluster of one token"
        assert model.token_text(int(TOKENS[planted.argmax()])) in name.lower().split(", ")
    assert drawn.named_by == "static at L0, L2"


def test_clusters_by_density(model: MemoryModel, written: tuple[Path, np.ndarray]) -> None:
    found = value_map(model, clusters="hdbscan", cache=False)
    assert len(found.cluster_names) == found.clusters.max() + 1 >= 4
    for number in range(len(found.cluster_names)):
        assert len(set(written[1][found.clusters == number])) == 1


def test_it_says_what_it_is(model: MemoryModel, drawn: ValueMap) -> None:
    assert (drawn.table, drawn.site, drawn.seed) == (0, None, 0)
    assert (drawn.total, drawn.sampled, drawn.graph) == (SLOTS, "", "exact, cosine")
    assert drawn.slots.tolist() == list(range(SLOTS))
    assert drawn.fingerprint == model.fingerprint
    assert drawn.trust_k == 15
    rows = model.tables[0].weight.numpy()
    assert drawn.trustworthiness == trustworthiness(rows, drawn.xy, 15)
    for slot in (0, 99):
        near = nearest_values(model, slot, count=15)
        assert drawn.neighbours[slot].tolist() == near.slots.tolist()
        assert drawn.distances[slot] == pytest.approx(1 - near.similarity, abs=1e-5)


def test_as_a_frame(drawn: ValueMap) -> None:
    frame = dataclasses.replace(drawn, clusters=np.where(drawn.slots == 3, -1, 1)).to_frame()
    assert frame.columns.tolist() == ["slot", "x", "y", "cluster", "cluster_name"]
    assert frame["x"].tolist() == drawn.xy[:, 0].tolist()
    assert frame["cluster_name"].iloc[[2, 3]].tolist() == [drawn.cluster_names[1], ""]


def test_the_public_name_is_this_one() -> None:
    assert inspector.value_map is value_map
    assert inspector.ValueMap is ValueMap


# --- what decides it ----------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_map(model: MemoryModel, drawn: ValueMap) -> None:
    assert same(drawn, value_map(model, cluster_count=4, cache=False))
    other = value_map(model, cluster_count=4, seed=1, cache=False)
    assert not np.array_equal(drawn.xy, other.xy)


def test_what_has_no_place_is_left_out_and_it_says_so(model: MemoryModel) -> None:
    reads = np.zeros((1, SLOTS), dtype=np.int64)
    reads[0, 30:60] = 4
    site = SimpleNamespace(reads=reads, site=SimpleNamespace(table=0))
    usage = cast(Any, SimpleNamespace(sites={"L0": site}, tables={0: None}))
    found = value_map(model, usage=usage, points=100, cache=False)
    assert len(found.slots) == 100
    assert set(range(30, 60)) <= set(found.slots.tolist())
    assert np.isin(found.neighbours, found.slots).all()
    assert found.sampled == (
        "100 of 400 slots, all 30 read ones first, the rest drawn at random (seed 0)"
    )


@pytest.mark.parametrize("points", [1, 2, 3, 6])
def test_few_points(model: MemoryModel, points: int) -> None:
    found = value_map(model, points=points, cache=False)
    assert found.xy.shape == (points, 2)
    assert found.neighbours.shape == (points, points - 1)
    assert np.isfinite(found.xy).all()
    assert np.isnan(found.trustworthiness) == (points < 3)


def test_nan_is_left_out_and_it_says_so(tiny_checkpoint: Written, tmp_path: Path) -> None:
    def spoil(values: torch.Tensor) -> None:
        values[[5, 17], 3] = torch.nan
        values[8] = 0

    path, _ = write_map_model(tiny_checkpoint, tmp_path / "spoilt", TOKENS)
    found = value_map(load_spoilt(path, spoil), cache=False)
    assert sorted(set(range(SLOTS)) - set(found.slots.tolist())) == [5, 17]
    assert found.notes == ("2 slots hold NaN or infinite numbers and are left out: 5, 17.",)
    assert (found.distances[found.slots == 8] == 1).all()

    nothing = load_spoilt(path, lambda values: values.fill_(torch.nan))
    with pytest.raises(SlotError, match="nothing to map"):
        value_map(nothing, cache=False)


def test_a_constant_table_is_a_cloud(tiny_checkpoint: Written, tmp_path: Path) -> None:
    path, _ = write_map_model(
        tiny_checkpoint, tmp_path / "constant", TOKENS, lambda values: values.fill_(0.5)
    )
    found = value_map(load(path, device="cpu"), cache=False)
    assert np.isfinite(found.xy).all()
    assert found.distances.max() == pytest.approx(0, abs=1e-6)


def test_settings_that_make_no_map_are_refused(model: MemoryModel) -> None:
    wrong: list[dict[str, Any]] = [
        *({"points": 0}, {"near": 0}, {"min_dist": 2.0}),
        *({"metric": "inner_product"}, {"clusters": "tea leaves"}, {"cluster_count": 0}),
    ]
    for options in wrong:
        with pytest.raises(ValueError, match=r"map|clusters?"):
            value_map(model, **options)
    with pytest.raises(SlotError, match="no site L1"):
        value_map(model, "L1")
    with pytest.raises(SlotError, match="no value table 3"):
        value_map(model, table=3, cache=False)


def test_a_site_whose_gates_nobody_measured(tiny_checkpoint: Written) -> None:
    gated = load(tiny_checkpoint(), device="cpu")
    with pytest.raises(CacheError, match="inspector evaluate"):
        value_map(gated, "L2", cache=False)


# --- keeping it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [1, 50, 400])
def test_a_map_is_found_again_as_it_was(model: MemoryModel, own_cache: Path, points: int) -> None:
    assert stored_map(model, points=points) is None
    found = value_map(model, points=points)
    kept = stored_map(model, points=points)
    assert kept is not None
    if points > 1:  # where trustworthiness is NaN, which equals nothing
        assert same(found, kept)
        assert same(found, value_map(model, points=points))
    assert stored_map(model, points=points, seed=1) is None
    assert stored_map(model, "L2", points=points) is None
    assert stored_map(model, points=points, clusters="hdbscan") is None


def test_usage_counts_only_where_it_decides(model: MemoryModel, own_cache: Path) -> None:
    def usage(slot: int) -> Any:
        reads = np.zeros((1, SLOTS), dtype=np.int64)
        reads[0, slot] = 1
        site = SimpleNamespace(reads=reads, site=SimpleNamespace(table=0))
        return SimpleNamespace(sites={"L0": site}, tables={0: None})

    value_map(model, usage=usage(0))
    assert stored_map(model) is not None
    value_map(model, usage=usage(0), points=50)
    assert stored_map(model, usage=usage(0), points=50) is not None
    assert stored_map(model, usage=usage(1), points=50) is None
    assert stored_map(model, points=50) is None


def test_a_broken_map_is_made_anew(model: MemoryModel, own_cache: Path) -> None:
    found = value_map(model)
    (file,) = (own_cache / "maps").iterdir()
    for broken in (b"", file.read_bytes()[:-100]):
        file.write_bytes(broken)
        assert stored_map(model) is None
        assert same(found, value_map(model))
        assert stored_map(model) is not None


def test_a_map_that_cannot_be_kept_says_so(model: MemoryModel, own_cache: Path) -> None:
    own_cache.write_text("a file where the folder should be")
    found = value_map(model, points=20)
    assert "It is not kept: " in found.notes[0]
    assert len(found.slots) == 20


@pytest.mark.parametrize("stage", ["reading", "nearest", "laying", "clusters", "trusted"])
def test_a_stopped_map_leaves_nothing(model: MemoryModel, own_cache: Path, stage: str) -> None:
    reached: list[str] = []
    with pytest.raises(Cancelled, match="stopped"):
        value_map(
            model,
            report=lambda name, _share: reached.append(name),
            cancel=lambda: bool(reached) and stage in reached[-1],
        )
    assert stage in reached[-1]
    assert not list(cache_folder().rglob("*"))
    assert stored_map(model) is None


def test_progress_rises_from_0_to_1(model: MemoryModel) -> None:
    told: list[tuple[str, float]] = []
    value_map(model, cache=False, report=lambda *now: told.append(now))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    assert len({stage for stage, _ in told}) == 6


# --- placing the rest ---------------------------------------------------------------------------


def test_the_rest_lies_among_its_own(model: MemoryModel, written: tuple[Path, np.ndarray]) -> None:
    about = written[1]
    found = value_map(model, points=250, cache=False)
    placed = place(found, model)
    assert sorted([*placed.slots, *found.slots]) == list(range(SLOTS))
    assert (about[placed.neighbours] == about[placed.slots][:, None]).mean() > 0.95
    both = np.concatenate([found.xy, placed.xy])
    far = np.linalg.norm(placed.xy[:, None] - found.xy, axis=-1)
    nearest = about[found.slots][np.argsort(far, axis=1)[:, :5]]
    assert (nearest == about[placed.slots][:, None]).mean() >= 0.95
    assert np.isfinite(both).all()
    frame = place(found, model, placed.slots[:3]).to_frame()
    assert frame["slot"].tolist() == placed.slots[:3].tolist()


def test_a_map_with_its_rest_is_a_whole_one(
    model: MemoryModel, written: tuple[Path, np.ndarray]
) -> None:
    about = written[1]
    found = value_map(model, points=250, cache=False)
    placed = place(found, model)
    whole = with_placed(found, placed)
    assert whole.slots.tolist() == list(range(SLOTS))
    assert (whole.xy[found.slots] == found.xy).all()
    assert (whole.clusters[found.slots] == found.clusters).all()
    assert (whole.neighbours[placed.slots] == placed.neighbours).all()
    assert (whole.xy[placed.slots] == placed.xy).all()
    ours = whole.clusters[placed.slots]
    same = [set(about[whole.slots[whole.clusters == c]]) for c in np.unique(ours)]
    assert sum(len(kinds) == 1 for kinds in same) >= 0.9 * len(same)
    for slot, cluster in zip(placed.slots, ours, strict=True):
        near = whole.clusters[whole.neighbours[slot]].tolist()
        assert near.count(cluster) == max(map(near.count, near))
    assert whole.sampled.startswith(f"the map was made of {found.sampled}; 150 slots")
    homeless = dataclasses.replace(
        placed, xy=np.where(placed.slots[:, None] > 90, placed.xy, np.nan)
    )
    kept = with_placed(found, homeless)
    assert set(range(SLOTS)) - set(kept.slots.tolist()) == set(placed.slots[placed.slots <= 90])


def test_only_the_maps_own_checkpoint_can_be_placed(
    model: MemoryModel, drawn: ValueMap, tiny_checkpoint: Written
) -> None:
    with pytest.raises(SlotError, match="another checkpoint"):
        place(drawn, load(tiny_checkpoint(), device="cpu"))
    with pytest.raises(SlotError, match="0 to 399"):
        place(drawn, model, np.array([400]))
    assert len(place(drawn, model).slots) == 0


def test_a_map_refuses_parts_that_disagree(drawn: ValueMap) -> None:
    for wrong in (
        {"xy": drawn.xy[:-1]},
        {"distances": drawn.distances[:, 1:]},
        {"cluster_names": drawn.cluster_names[1:]},
    ):
        with pytest.raises(ValueError, match=r"map|cluster"):
            dataclasses.replace(drawn, **cast(Any, wrong))


def test_default_settings_are_those_of_the_call() -> None:
    defaults = value_map.__kwdefaults__
    for field in dataclasses.fields(MapSettings):
        if field.name not in ("table", "site"):
            assert defaults[field.name] == field.default
    assert module.stored_map.__kwdefaults__.items() <= defaults.items()
