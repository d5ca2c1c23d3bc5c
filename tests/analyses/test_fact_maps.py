"""The map of a relation, and that it is kept."""

from pathlib import Path

import pytest

from inspector.analyses import fact_maps
from inspector.analyses.fact_maps import FactMap, map_relation
from inspector.errors import Cancelled, FactsError
from inspector.families.base import MemoryModel
from tests.analyses.planted_facts import (
    FACTS,
    PET,
    SINGLE,
    SPREAD,
    TWICE,
    UNKNOWN,
    planted_model,
    slot,
)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> MemoryModel:
    return planted_model(tmp_path_factory.mktemp("planted") / "planted")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def by_subject(found: FactMap) -> dict[str, tuple[int, ...]]:
    return {row["subject"]: row["core"] for row in found.to_frame().to_dict("records")}


def test_a_map_holds_every_fact_of_its_relation(planted: MemoryModel) -> None:
    told: list[tuple[int, int]] = []
    found = map_relation(
        planted, FACTS, "home", report=lambda done, total: told.append((done, total))
    )
    assert told == [(n, 5) for n in range(1, 6)]
    assert not found.drawn
    cores = by_subject(found)
    assert cores[SINGLE.subject] == (slot("Ada", "home"),)
    assert set(cores[TWICE.subject]) == {slot("Bob", "home"), slot("home", "Bob")}
    assert cores[SPREAD.subject] == cores[UNKNOWN.subject] == ()
    frame = found.to_frame().set_index("subject")
    assert frame["known"].to_dict() == {f.subject: f is not UNKNOWN for f in FACTS if f is not PET}
    assert frame.loc[UNKNOWN.subject, "why"] == "the model does not know this fact"
    assert found.overlap().labels == ("Ada", "Bob", "Eve")
    assert found.about(SINGLE)["about"].tolist() == ["this fact"]
    with pytest.raises(FactsError, match="pet of 'Ada' is not in this map"):
        found.about(PET)


def test_a_map_is_made_once(planted: MemoryModel, monkeypatch: pytest.MonkeyPatch) -> None:
    made = map_relation(planted, FACTS, "home")
    monkeypatch.setattr(fact_maps, "locate", None)  # what is kept isn't located again
    kept = map_relation(planted, FACTS, "home")
    assert kept.cores == made.cores
    assert kept.to_json() == made.to_json()
    with pytest.raises(TypeError):
        map_relation(planted, FACTS, "home", kind="mask")


def test_a_damaged_map_is_made_anew(planted: MemoryModel, folder: Path) -> None:
    made = map_relation(planted, FACTS, "pet")
    (file,) = (folder / "fact_maps").glob("*.parquet")
    file.write_bytes(b"cut short")
    assert map_relation(planted, FACTS, "pet").cores == made.cores
    assert file.read_bytes() != b"cut short"


def test_a_large_relation_is_drawn_from_and_that_is_said(planted: MemoryModel) -> None:
    found = map_relation(planted, FACTS, "home", limit=2)
    assert found.drawn
    assert len(found.facts) == 2
    assert found.facts == map_relation(planted, FACTS, "home", limit=2).facts


def test_a_stopped_map_leaves_nothing(planted: MemoryModel, folder: Path) -> None:
    stops = iter([False, True])
    with pytest.raises(Cancelled, match="stopped after 1 facts"):
        map_relation(planted, FACTS, "home", cancel=lambda: next(stops))
    assert not list(folder.rglob("*"))


def test_an_unknown_relation_is_told_what_there_is(planted: MemoryModel) -> None:
    with pytest.raises(FactsError, match="no facts of the relation 'mood'; there are: home, pet"):
        map_relation(planted, FACTS, "mood")
