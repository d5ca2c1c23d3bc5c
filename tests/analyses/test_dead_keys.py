"""The table of what is not alive: its rows, their evidence, and the sentence above it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from inspector.analyses.dead_keys import cause_summary, dead_key_table, headline
from inspector.analyses.half_key_causes import Cause
from inspector.analyses.verdicts import Verdict, judge_usage
from inspector.capture.usage import Usage
from tests.analyses.planted_usage import HALF_KEYS, SLOTS, Planted

COLUMNS = [
    *("level", "table", "site", "head", "set", "half_key", "slot", "address", "verdict"),
    *("hits", "contexts", "expected", "rate_bound", "tokens_to_decide", "cause", "remedy"),
    *("slots_concerned", "best_rank", "margin", "norm_z", "reach"),
]


@cache
def scanned(contexts: int) -> tuple[Planted, Usage, pd.DataFrame]:
    planted = Planted()
    usage = planted.scan(contexts)
    return planted, usage, dead_key_table(usage, planted.model)


def test_it_has_a_row_for_all_that_is_not_alive() -> None:
    planted, usage, frame = scanned(20_000)
    assert frame.columns.tolist() == COLUMNS
    groups = dict.fromkeys(("value", "half-key", "address"), 0)
    for judged in judge_usage(usage):
        groups[judged.level] += len(judged.hits) - judged.count(Verdict.ALIVE)
    assert frame["level"].value_counts().to_dict() == groups
    values = frame[(frame["level"] == "value") & (frame["verdict"] == "dead")]
    assert set(values["slot"]) == set(planted.truth.values)
    assert values["site"].isna().all()
    assert values["head"].isna().all()


def test_a_dead_half_key_takes_its_slots_with_it() -> None:
    _, _, frame = scanned(20_000)
    row = frame[(frame["level"] == "half-key") & (frame["site"] == "L1") & (frame["head"] == 0)]
    assert row[["set", "half_key", "address"]].values.tolist() == [[1, 3, "L1·H0·(3,*)"]]
    assert row["slots_concerned"].tolist() == [HALF_KEYS]
    assert row["cause"].tolist() == ["half-key's norm far from its set's"]
    assert row["remedy"].tolist() == ["re-initialise from query centroids"]
    assert row["best_rank"].item() > 0
    assert row["margin"].item() < 0
    assert row["norm_z"].item() < -3.5
    assert row["slot"].isna().all()
    other = frame[(frame["level"] == "half-key") & (frame["set"] == 2)]["address"]
    assert other.tolist() == ["L1·H1·(*,5)", "L3·H0·(*,1)"]


def test_addresses_are_written_as_everywhere() -> None:
    planted, _, frame = scanned(20_000)
    rows = frame[frame["level"] == "address"]
    written = [
        planted.model.site(str(site)).info.address(int(slot), int(head))
        for site, head, slot in zip(rows["site"], rows["head"], rows["slot"], strict=True)
    ]
    assert rows["address"].tolist() == written
    values = frame[frame["level"] == "value"]
    assert values["address"].tolist() == [
        f"({slot // HALF_KEYS},{slot % HALF_KEYS})" for slot in values["slot"]
    ]


def test_each_row_carries_its_evidence() -> None:
    _, usage, frame = scanned(20_000)
    dead = frame[frame["verdict"] == "dead"]
    assert dead["cause"].notna().all()
    assert (dead["rate_bound"] < 0.1).all()
    assert (frame["contexts"] == 20_000).all()
    address = dead[dead["level"] == "address"]
    assert address["expected"].to_numpy() == pytest.approx(20_000 / SLOTS)
    site = usage.sites["L3"].contexts[0]
    own = address[(address["site"] == "L3") & (address["head"] == 0)]
    assert own["hits"].tolist() == site[own["slot"].astype(int)].tolist()
    assert frame["tokens_to_decide"].isna().all()


def test_what_was_not_seen_says_how_many_tokens_decide() -> None:
    _, _, frame = scanned(300)
    assert set(frame["verdict"]) == {"not seen yet"}
    assert frame["cause"].isna().all()
    assert frame["remedy"].isna().all()
    assert (frame["tokens_to_decide"] > 0).all()
    addresses = frame[frame["level"] == "address"]["tokens_to_decide"]
    assert addresses.min() > 30 * SLOTS - 300  # three expected reads at a tenth of uniform use
    assert (frame["hits"] == 0).all()


def test_verdicts_can_be_chosen() -> None:
    planted, usage, frame = scanned(20_000)
    only = dead_key_table(usage, planted.model, [Verdict.RARE])
    assert set(only["verdict"]) == {"rare"}
    assert len(only) == (frame["verdict"] == "rare").sum()
    assert only.columns.tolist() == COLUMNS
    nothing = dead_key_table(usage, planted.model, [])
    assert (nothing.columns.tolist(), len(nothing)) == (COLUMNS, 0)


def test_the_table_survives_parquet(tmp_path: Path) -> None:
    _, _, frame = scanned(20_000)
    path = tmp_path / "dead.parquet"
    frame.to_parquet(path)
    pd.testing.assert_frame_equal(pd.read_parquet(path), frame)


# --- in few words -------------------------------------------------------------------------------


def test_the_summary_counts_what_each_cause_concerns() -> None:
    planted, _, frame = scanned(20_000)
    summary = cause_summary(frame).set_index("cause")
    truth = planted.truth
    for cause in Cause:
        found = summary.loc[cause.label]
        assert found["remedy"] == cause.remedy
        assert found["values"] == list(truth.values.values()).count(cause)
        for column, places in (("half_keys", truth.half_keys), ("addresses", truth.addresses)):
            expected = sum(list(dead.values()).count(cause) for dead in places.values())
            assert found[column] == expected


def test_without_dead_keys_the_summary_is_all_zero() -> None:
    _, _, frame = scanned(300)
    summary = cause_summary(frame)
    assert len(summary) == len(Cause)
    assert not summary[["values", "half_keys", "addresses"]].any(axis=None)


def test_the_headline_is_one_sentence_with_its_evidence() -> None:
    _, usage, _ = scanned(20_000)
    sentence = headline(usage, judge_usage(usage))
    assert sentence.startswith("8 of 256 values are dead (8 of them never read), 0 not seen yet")
    assert "4 of 128 half-keys are dead" in sentence
    assert "80,000 reads at 20,000 tokens in 20,000 distinct contexts" in sentence
    assert sentence.endswith("where uniform use would have left 0 values unread.")
    _, few, _ = scanned(300)
    sentence = headline(few, judge_usage(few))
    assert sentence.startswith("0 of 256 values are dead (0 of them never read), ")
    assert sentence.endswith("uniform use would have left 2 values unread.")  # 256 e^(-1200/256)
