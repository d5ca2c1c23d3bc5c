"""What facts read where their answer is due: each fact traced by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector.analyses import fact_reads as analysis
from inspector.analyses.direct_effect import direct_effect
from inspector.analyses.fact_reads import NO_SLOT, FactReads, fact_reads
from inspector.analyses.facts import Fact
from inspector.capture.load import load
from inspector.capture.trace import trace
from inspector.families.base import MemoryModel

FACTS = (
    Fact("capital", "Peru", "Lima", ("The capital of Peru is", "Peru has its capital in")),
    Fact("capital", "Canada", "Ottawa", ("The capital of Canada is",)),
    Fact("currency", "Japan", "yen", ("Japan is paid with the",)),
    Fact("language", "Kenya", "Swahili", ("In the whole country of Kenya they speak",)),
    Fact("currency", "Mexico", "peso", ("Mexico is paid with the",)),
)


@pytest.fixture(
    scope="module", params=[{}, {"memory_projection": "none"}, {"memory_tables": [0, 1]}]
)
def model(tiny_checkpoint: Callable[..., Path], request: pytest.FixtureRequest) -> MemoryModel:
    return load(tiny_checkpoint(**request.param), device="cpu")


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "_AT_ONCE", 2)


@pytest.fixture
def found(model: MemoryModel) -> FactReads:
    found = fact_reads(model, FACTS, cache=False)
    assert found is not None
    return found


def test_reads_and_effects_are_those_of_each_fact_alone(
    model: MemoryModel, found: FactReads
) -> None:
    assert found.sites == tuple(model.sites)
    for number, fact in enumerate(FACTS):
        prompt, whole = (
            model.tokenizer(text).input_ids
            for text in (fact.prompts[0], f"{fact.prompts[0]} {fact.object}")
        )
        pos, answer = len(prompt) - 1, whole[len(prompt)]
        traced = trace(model, ids=[whole])
        effect = direct_effect(model, traced, pos, answer)
        assert found.answers[number] == answer
        chance = float(traced.logits[0, pos].softmax(-1)[answer])
        assert found.probability[number] == pytest.approx(chance, rel=1e-4)
        for place, name in enumerate(model.sites):
            reads = traced.reads[name]
            assert found.slots[number, place].tolist() == reads.slots[0, pos].tolist()
            expected = reads.coefficients[0, pos].numpy()
            np.testing.assert_allclose(found.coefficients[number, place], expected, atol=1e-5)
            np.testing.assert_allclose(found.effects[number, place], effect.reads[name], atol=1e-4)


def test_facts_of_a_slot_are_those_that_read_it(model: MemoryModel, found: FactReads) -> None:
    checked = 0
    for table in range(len(model.tables)):
        places = [place for place, own in enumerate(found.tables) if own == table]
        for slot in range(64):
            frame = found.of_slot(table, slot)
            hits = found.slots[:, places] == slot
            assert sorted(frame["fact"]) == np.flatnonzero(hits.any((1, 2, 3))).tolist()
            for row in frame.to_dict("records"):
                own = found.effects[row["fact"]][places][hits[row["fact"]]]
                assert row["effect"] == pytest.approx(own.sum(), abs=1e-5)
                sizes = found.coefficients[row["fact"]][places][hits[row["fact"]]]
                assert row["coefficient"] == pytest.approx(sizes[np.abs(sizes).argmax()])
                assert row["subject"] == FACTS[row["fact"]].subject
            assert (np.diff(frame["effect"]) <= 0).all()
            checked += len(frame)
    assert checked > 20
    assert len(found.to_frame()) == found.slots.size


def test_sites_of_other_sizes_are_padded(tiny_checkpoint: Callable[..., Path]) -> None:
    model = load(tiny_checkpoint(), device="cpu")
    found = fact_reads(model, FACTS[:1], cache=False)
    assert found is not None
    padded = np.full((1, 2, 2, 6), NO_SLOT)
    padded[..., :4] = found.slots
    wide = np.zeros(padded.shape, np.float32)
    rest = (found.sites, found.tables, padded, wide, wide, found.answers, found.probability)
    assert len(FactReads("x", FACTS[:1], *rest).to_frame()) == found.slots.size
    with pytest.raises(ValueError, match="not those of these facts"):
        FactReads("x", FACTS, *rest)


def test_what_is_kept_on_disk_is_given_back(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path))
    model = load(tiny_checkpoint(), device="cpu")
    made = fact_reads(model, FACTS)
    (file,) = (tmp_path / "fact_reads").iterdir()
    assert file.suffix == ".parquet"

    def refuse(*_: Any) -> bool:
        raise AssertionError("it was made again")

    again = fact_reads(model, FACTS, cancel=refuse)
    assert made is not None
    assert again is not None
    for name in ("slots", "coefficients", "effects", "answers", "probability"):
        assert getattr(made, name).dtype == getattr(again, name).dtype
        np.testing.assert_array_equal(getattr(made, name), getattr(again, name))
    file.write_bytes(b"broken")
    assert fact_reads(model, FACTS) is not None
    with pytest.raises(AssertionError, match="made again"):
        fact_reads(model, FACTS[:2], cancel=refuse)  # other facts, another file


def test_it_can_be_stopped(model: MemoryModel) -> None:
    told: list[tuple[int, int]] = []
    stopped = fact_reads(
        model, FACTS, lambda *step: told.append(step), lambda: len(told) == 2, cache=False
    )
    assert stopped is None
    assert told == [(2, 5), (4, 5)]


def test_where_an_output_is_no_sum_effects_are_not_known(
    tiny_checkpoint: Callable[..., Path],
) -> None:
    model = load(tiny_checkpoint(), device="cpu")
    site = model.sites["L0"]
    site.info = replace(site.info, additive=False)
    found = fact_reads(model, FACTS, cache=False)
    assert found is not None
    assert np.isnan(found.effects[:, 0]).all()
    assert np.isfinite(found.effects[:, 1]).all()
    slot = int(found.slots[0, 0, 0, 0])
    frame = found.of_slot(0, slot)
    only_first = ~(found.slots[:, 1] == slot).any((1, 2))
    assert frame["effect"].isna().tolist() == only_first[frame["fact"]].tolist()
