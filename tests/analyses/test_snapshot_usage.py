"""Snapshots are measured as their scans count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inspector.analyses.corpus_sample import sample_texts
from inspector.analyses.snapshot_usage import measure_snapshots
from inspector.analyses.snapshots import find_snapshots
from inspector.analyses.usage_measures import measure_usage
from inspector.capture.corpus import open_corpus
from inspector.capture.load import load
from inspector.capture.scan import scan
from tests.analyses.planted_snapshots import plant_snapshots
from tests.conftest import SENTENCES


@pytest.fixture
def snapshots(
    tiny_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "cache"))
    return plant_snapshots(tiny_checkpoint(), tmp_path / "runs")


def test_snapshots_are_measured_as_their_scans_count(snapshots: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("Lima is the capital of Peru\nOslo is cold\nA city by the sea\n")
    told: list[tuple[int, int, str]] = []
    found = measure_snapshots(
        find_snapshots(snapshots), corpus, device="cpu", report=lambda *now: told.append(now)
    )
    usage = scan(load(snapshots / "tiny", "cpu"), corpus, cache=False)
    for measures in measure_usage(usage):
        if measures.level == "head":
            continue
        rows = found[(found["table"] == measures.table) & (found["step"] == 1000)]
        mine = rows["site"].isna() if measures.site is None else rows["site"] == measures.site
        (row,) = rows[mine].to_dict("records")
        counted = measures.parts["slots", "counted"]
        assert (row["slots_read"], row["effective"]) == (counted.read, counted.effective)
        assert row["tokens"] == usage.tokens
    assert told == sorted(told)
    assert told[-1][:2] == (3000, 3000)
    stopped = measure_snapshots(
        find_snapshots(snapshots), corpus, device="cpu", cancel=lambda: True
    )
    assert stopped.empty


def test_a_long_corpus_is_sampled_alike_for_all(snapshots: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(f"{text} {n}\n" for n in range(9) for text in SENTENCES))
    found = measure_snapshots(
        find_snapshots(snapshots), corpus, characters=200, seed=5, device="cpu"
    )
    texts = sample_texts(open_corpus(corpus), 200, 5)
    usage = scan(load(snapshots / "tiny", "cpu"), texts, cache=False)
    assert set(found["tokens"]) == {usage.tokens}
    whole = found[found["site"].isna() & (found["step"] == 1000)]
    assert whole["slots_read"].tolist() == [
        measures.parts["slots", "counted"].read
        for measures in measure_usage(usage)
        if measures.level == "table"
    ]
