"""The index of reads holds what the model reads: every read, counted again in loops."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector.analyses import read_index
from inspector.analyses.read_index import ReadIndex, index_reads
from inspector.capture.load import load
from inspector.capture.scan import scan
from inspector.capture.usage import Usage
from inspector.families.base import MemoryModel
from tests.capture.recount import Recount, recount
from tests.capture.test_scan import CORPUS

Written = Callable[..., Path]
ALL = 10**9
VARIANTS: dict[str, dict[str, Any]] = {
    "shared table": {},
    "separate tables": {"memory_tables": [0, 1]},
    "every slot": {"memory_half_keys": 2, "memory_knn": 4},
}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_index, "_CHUNK_READS", 2048)
    monkeypatch.setattr(read_index, "_BATCH_TOKENS", 256)


@pytest.fixture(scope="module", params=VARIANTS)
def model(tiny_checkpoint: Written, request: pytest.FixtureRequest) -> MemoryModel:
    return load(tiny_checkpoint(**VARIANTS[request.param]), device="cpu")


@pytest.fixture(scope="module")
def usage(model: MemoryModel) -> Usage:
    return scan(model, CORPUS, cache=False)


@pytest.fixture(scope="module")
def truth(model: MemoryModel) -> Recount:
    return recount(model, CORPUS)


def indexed(model: MemoryModel, usage: Usage, tokens: int = ALL, **options: Any) -> ReadIndex:
    index = index_reads(model, usage, tokens, cache=False, **options)
    assert index is not None
    return index


def test_all_reads_of_distinct_contexts_are_there(
    model: MemoryModel, usage: Usage, truth: Recount
) -> None:
    index = indexed(model, usage)
    assert (index.complete, index.sampled) == (True, usage.tokens)
    expected = defaultdict(list)
    for read in truth.reads:
        if read.fresh:
            table = model.site(read.site).info.table
            expected[table, read.slot].append((read.token, read.site, read.head, read.coefficient))
    for table, own in index.tables.items():
        for slot in range(len(own.offsets) - 1):
            found = index.of_slot(table, slot)
            mine = sorted(expected[table, slot])
            rows = sorted(
                zip(
                    found.token.tolist(),
                    found.site.tolist(),
                    found.head.tolist(),
                    found.coefficient.tolist(),
                    strict=True,
                )
            )
            assert [row[:3] for row in rows] == [row[:3] for row in mine]
            np.testing.assert_allclose([r[3] for r in rows], [r[3] for r in mine], atol=1e-5)
            assert (np.diff(np.abs(found.coefficient)) <= 0).all(), "not strongest first"
            assert index.token[found.context].tolist() == found.token.tolist()


def test_it_agrees_with_the_scan(model: MemoryModel, usage: Usage) -> None:
    index = indexed(model, usage)
    frame = index.to_frame()
    for table in index.tables:
        own = [site for site in usage.sites.values() if site.site.table == table]
        counted = np.sum([site.contexts.sum(0) for site in own], axis=0)
        rows = frame[frame["table"] == table]
        assert rows["slot"].tolist() == np.flatnonzero(counted).tolist()
        assert rows["reads"].tolist() == counted[counted > 0].tolist()


def test_a_sample_is_whole_windows_drawn_with_the_seed(model: MemoryModel, usage: Usage) -> None:
    index = indexed(model, usage, 60)
    assert not index.complete
    assert 60 <= index.sampled < usage.tokens
    whole = indexed(model, usage)
    assert set(index.token) <= set(range(usage.tokens))
    assert np.array_equal(index.token, indexed(model, usage, 60).token)
    draws = {tuple(indexed(model, usage, 60, seed=seed).token) for seed in range(6)}
    assert len(draws) > 1
    for table, own in index.tables.items():
        assert len(own.context) == len(index.token) * _reads_a_token(model, table)
        assert len(own.context) < len(whole.tables[table].context)


def _reads_a_token(model: MemoryModel, table: int) -> int:
    return sum(s.info.heads * s.info.knn for s in model.sites.values() if s.info.table == table)


def test_what_is_kept_on_disk_is_given_back(
    tiny_checkpoint: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path))
    model = load(tiny_checkpoint(), device="cpu")
    usage = scan(model, CORPUS, cache=False)
    made = index_reads(model, usage, 80)
    (file,) = (tmp_path / "read_indexes").iterdir()

    def refuse() -> bool:
        raise AssertionError("it was made again")

    again = index_reads(model, usage, 80, cancel=refuse)
    assert made is not None
    assert again is not None
    assert np.array_equal(made.token, again.token)
    for mine, other in zip(made.tables.values(), again.tables.values(), strict=True):
        assert mine.sources == other.sources
        for name in ("offsets", "context", "source", "coefficient"):
            assert np.array_equal(getattr(mine, name), getattr(other, name))
    file.write_bytes(b"broken")
    remade = index_reads(model, usage, 80)
    assert remade is not None
    assert np.array_equal(remade.token, made.token)


def test_it_can_be_stopped_and_keeps_nothing(
    tiny_checkpoint: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path))
    model = load(tiny_checkpoint(), device="cpu")
    usage = scan(model, CORPUS, cache=False)
    told: list[tuple[int, int]] = []
    stopped = index_reads(
        model, usage, report=lambda *step: told.append(step), cancel=lambda: len(told) == 2
    )
    assert stopped is None
    assert len(told) == 2
    assert 0 < told[0][0] < told[1][0] < told[1][1] == usage.tokens
    assert not (tmp_path / "read_indexes").exists()
