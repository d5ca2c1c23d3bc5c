"""``inspector map``: its table, its JSON, its files, and stopping it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from inspector import cli
from inspector.analyses.value_map import stored_map
from inspector.capture.cache import cache_folder
from inspector.capture.load import load
from tests.analyses.planted_map import SLOTS, write_map_model
from tests.conftest import SENTENCES

pytestmark = pytest.mark.slow  # umap-learn compiles its code when it's first used


@pytest.fixture(scope="module")
def checkpoint(
    tiny_checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("map") / "planted"
    return write_map_model(tiny_checkpoint, folder, np.array([70, 120, 200]))[0]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "cache"))


def run(*arguments: str | Path) -> Result:
    options = (*map(str, arguments), "--device", "cpu")
    return CliRunner().invoke(cli.app, ["map", *options], catch_exceptions=False)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_points_and_summary_are_those_of_the_map(
    checkpoint: Path, tmp_path: Path, kind: str
) -> None:
    out, summary = tmp_path / f"map.{kind}", tmp_path / "map.json"
    options = ("--site", "L2", "--cluster-count", "3", "--seed", "4", "--neighbours", "9")
    result = run(checkpoint, *options, "--out", out, "--json", summary)
    assert result.exit_code == 0
    found = stored_map(load(checkpoint, "cpu"), "L2", cluster_count=3, seed=4, near=9)
    assert found is not None
    points = pd.read_parquet(out) if kind == "parquet" else pd.read_csv(out)
    assert points["slot"].tolist() == list(range(SLOTS))
    assert points["x"].to_numpy() == pytest.approx(found.xy[:, 0], abs=1e-5)
    assert points["cluster"].tolist() == found.clusters.tolist()
    told = json.loads(summary.read_text())
    assert (told["site"], told["points"], told["total"], told["seed"]) == ("L2", SLOTS, SLOTS, 4)
    assert told["trustworthiness"] == found.trustworthiness
    assert [each["name"] for each in told["clusters"]] == list(found.cluster_names)
    assert sum(each["points"] for each in told["clusters"]) == SLOTS
    assert told["neighbours"] == 9
    lines = result.stdout.splitlines()
    assert lines[1].split()[-1] == str((found.clusters == 0).sum())
    assert f"trustworthiness {found.trustworthiness:.3f} at 15 neighbours" in result.stdout


def test_json_alone_on_standard_output(checkpoint: Path) -> None:
    found = json.loads(run(checkpoint, "--points", "2", "--json", "-").stdout)
    assert found["trustworthiness"] is None
    assert found["sampled"] == "2 of 400 slots, drawn at random (seed 0)"


def test_a_corpus_is_read_first(checkpoint: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(SENTENCES))
    options = ("--corpus", corpus, "--points", "300", "--json", "-")
    assert ", read ones only, " in json.loads(run(checkpoint, *options).stdout)["sampled"]


def test_ctrl_c_keeps_nothing(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inspector.analyses import value_map as module

    lay_out = module.lay_out

    def interrupted(*arguments: object, **options: object) -> object:
        os.kill(os.getpid(), signal.SIGINT)
        return lay_out(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "lay_out", interrupted)
    monkeypatch.setattr(sys, "argv", ["inspector", "map", str(checkpoint), "--device", "cpu"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert not list(cache_folder().rglob("*.parquet*"))


def test_another_kind_of_file_is_refused_before_the_work(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "map.xlsx"
    monkeypatch.setattr(sys, "argv", ["inspector", "map", str(checkpoint), "--out", str(out)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert ".parquet nor .csv" in capsys.readouterr().err
