"""Reviving dead half-keys: read on held-out text, within limits, the original left alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from inspector.analyses import revive_trial
from inspector.analyses.divergence import mean_kl
from inspector.analyses.recall import Question, Recall
from inspector.analyses.revive import (
    HELD_OUT,
    ReviveOutcome,
    _Search,
    revive,
    write_revived,
)
from inspector.analyses.revive_plan import NewHalfKeys, RevivePlan, plan_revival
from inspector.analyses.revive_trial import Attempt, ReviveLimits
from inspector.analyses.usage_measures import half_key_reads
from inspector.capture.corpus import open_corpus
from inspector.capture.held_out import hold_out
from inspector.capture.load import load, self_check
from inspector.capture.scan import scan
from inspector.errors import CheckpointError, CorpusError
from inspector.families.base import MemoryModel
from tests.analyses.planted_checkpoint import HALF_KEYS, PLANTED, planted_texts, write_planted
from tests.families.test_native_edit import contents, tensors

ANYTHING = ReviveLimits(read=0.0, kl=1e9, recall=1.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MemoryModel:
    return load(write_planted(tmp_path_factory.mktemp("planted") / "planted"), "cpu")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return planted_texts()


@pytest.fixture(scope="module")
def freely(model: MemoryModel, texts: list[str]) -> ReviveOutcome:
    return revive(model, texts, limits=ANYTHING)


def planned(outcome: ReviveOutcome) -> set[tuple[str, int, int, int]]:
    assert outcome.plan is not None
    keys = outcome.plan.half_keys
    parts = (keys.head, keys.half, keys.half_key)
    return set(zip(keys.site.tolist(), *(part.tolist() for part in parts), strict=True))


def test_planted_half_keys_are_revived_and_read_on_held_out_text(
    model: MemoryModel, texts: list[str], freely: ReviveOutcome, tmp_path: Path
) -> None:
    planted = {(*place, item) for place, items in PLANTED.items() for item in items}
    assert planted <= planned(freely)
    write_revived(model, freely, tmp_path / "out")
    held_out = hold_out(open_corpus(texts), HELD_OUT)[1]
    before, after = (scan(load(p, "cpu"), held_out) for p in (model.path, tmp_path / "out"))
    result = freely.result
    assert result is not None
    read = []
    for site, head, half, item in planned(freely):
        reads = [
            half_key_reads(usage.sites[site].reads, HALF_KEYS)[head, half, item]
            for usage in (before, after)
        ]
        if (site, head, half, item) in planted:
            assert reads[0] < 5 < reads[1]
        read.append(reads[1] > 0)
    assert sum(read) == result.read
    assert result.revived == len(read)
    assert freely.tokens_judged == before.tokens == after.tokens
    divergence = mean_kl(model, load(tmp_path / "out", "cpu"), held_out)
    assert divergence.kl == pytest.approx(result.kl, rel=1e-6)
    assert result.effective is not None
    assert result.effective[0] > freely.effective[0]


def test_only_the_planned_rows_differ_and_the_original_is_left_alone(
    model: MemoryModel, freely: ReviveOutcome, tmp_path: Path
) -> None:
    before, out = contents(model.path), tmp_path / "out"
    write_revived(model, freely, out)
    assert contents(model.path) == before
    assert set(contents(out)) == {*before, "revived.json"}
    unchanged = {name for name, digest in contents(out).items() if before.get(name) == digest}
    assert unchanged == {*before} - {"model.safetensors", "config.json"}
    old, new = tensors(model.path), tensors(out)
    assert freely.plan is not None
    edits = {edit.tensor: edit for edit in freely.plan.edits(model)}
    for name, tensor in old.items():
        rows = (tensor != new[name]).view(-1, tensor.shape[-1]).any(-1).nonzero().flatten()
        allowed = edits[name].rows.tolist() if name in edits else []
        assert set(rows.tolist()) <= set(allowed), name
    opened = load(out, "cpu")
    assert self_check(opened).passed
    assert opened.fingerprint != model.fingerprint
    told = json.loads((out / "revived.json").read_text())
    assert told["fingerprint"] == model.fingerprint
    assert told["revived"] == len(freely.plan.half_keys)


def test_the_model_that_was_scanned_is_not_changed(
    model: MemoryModel, freely: ReviveOutcome
) -> None:
    fresh = load(model.path, "cpu")
    assert freely.plan is not None
    for name, parameter in fresh.module.state_dict().items():
        assert torch.equal(parameter, model.module.state_dict()[name])


def test_fewer_are_revived_until_kl_holds(
    model: MemoryModel, texts: list[str], freely: ReviveOutcome
) -> None:
    limit = freely.attempts[0].kl / 2
    outcome = revive(model, texts, limits=ReviveLimits(kl=limit))
    result = outcome.result
    assert result is not None
    assert 0 < result.revived < freely.attempts[0].revived
    assert result.kl <= limit
    assert result.read is not None
    assert result.read >= result.revived / 2
    assert outcome.attempts[0].kl == freely.attempts[0].kl
    assert outcome.attempts[0].complaint == f"KL is above {limit:g}"
    assert outcome.attempts[1].revived == outcome.attempts[0].revived // 2
    tried = [each.revived for each in outcome.attempts if each.revived > result.revived]
    assert min(tried) - result.revived <= max(1, result.revived // 8)
    assert f"No more, since with {min(tried)} revived KL is above" in outcome.message
    assert outcome.to_frame()["chosen"].sum() == 1


def test_where_nothing_holds_nothing_is_written(
    model: MemoryModel, texts: list[str], tmp_path: Path
) -> None:
    outcome = revive(model, texts, limits=ReviveLimits(kl=0.0))
    assert outcome.plan is None
    assert outcome.result is None
    assert outcome.attempts[-1].revived == 1
    assert "none of them can be revived: with 1 revived KL is above 0" in outcome.message
    with pytest.raises(CheckpointError, match=r"Nothing was written\."):
        write_revived(model, outcome, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_those_that_nobody_reads_are_too_many(model: MemoryModel, texts: list[str]) -> None:
    outcome = revive(model, texts, limits=replace(ANYTHING, read=1.1))
    assert outcome.plan is None
    assert {each.complaint for each in outcome.attempts} == {"fewer than 110% are read"}


def test_recall_may_not_fall(
    model: MemoryModel, texts: list[str], freely: ReviveOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def forgetful(found: MemoryModel, questions: Sequence[Question]) -> Recall:
        asked.append((found is model, len(questions)))
        correct = np.array([True] * (1000 if found is model else 994) + [False] * 6)
        return Recall(*[correct] * 5)

    monkeypatch.setattr(revive_trial, "measure_recall", forgetful)
    limits = replace(ANYTHING, recall=0.0)
    outcome = revive(model, texts, limits=limits)
    assert outcome.plan is None
    assert outcome.attempts[0].complaint == "recall falls by more than 0 points"
    assert asked[:2] == [(True, 2), (False, 2)]
    assert revive(model, texts, limits=ANYTHING).plan is not None
    assert freely.recall is not None


def test_it_comes_out_the_same_each_time(
    model: MemoryModel, texts: list[str], freely: ReviveOutcome
) -> None:
    again = revive(model, texts, limits=ANYTHING)
    assert freely.plan is not None
    assert again.plan is not None
    assert again.attempts == freely.attempts
    assert torch.equal(again.plan.half_keys.vectors, freely.plan.half_keys.vectors)
    assert again.plan.to_frame().equals(freely.plan.to_frame())


def test_nothing_to_revive_is_said_so(
    tiny_checkpoint: Callable[..., Path], texts: list[str]
) -> None:
    model = load(tiny_checkpoint(memory_knn=48), "cpu")  # of 64 slots: every half-key is read
    outcome = revive(model, texts)
    assert outcome.plan is None
    assert outcome.dead == 0
    assert outcome.message.startswith("None of 64 half-keys is dead on ")
    assert outcome.message.endswith("there is nothing to revive.")
    assert len(outcome.to_frame()) == 0


def test_too_little_text_is_not_taken_for_death(model: MemoryModel, texts: list[str]) -> None:
    outcome = revive(model, texts, tokens=20)
    assert outcome.dead == 0
    assert outcome.unseen > 0
    assert outcome.tokens_to_decide > 0
    assert "not seen yet" in outcome.message
    assert "Give more text." in outcome.message


def test_other_families_and_corpora_too_short_are_refused(
    model: MemoryModel, texts: list[str]
) -> None:
    other = replace(model, provenance=replace(model.provenance, family="peer"))
    with pytest.raises(CheckpointError, match="family peer; expected native"):
        revive(other, texts)
    with pytest.raises(CorpusError, match="too few documents"):
        revive(model, texts[:1])


@pytest.mark.parametrize("place", PLANTED)
def test_slots_that_nothing_reads_start_as_what_their_half_key_displaces(
    model: MemoryModel, texts: list[str], freely: ReviveOutcome, place: tuple[str, int, int]
) -> None:
    usage = scan(model, hold_out(open_corpus(texts), HELD_OUT)[0])
    assert freely.plan is not None
    keys = freely.plan.half_keys
    item = PLANTED[place][0]
    one = keys.only(keys.at(*place)[keys.half_key[keys.at(*place)] == item])
    blank = {n: replace(u, weights=np.zeros_like(u.weights)) for n, u in usage.sites.items()}
    unread = replace(usage, sites=blank)
    copy = load(model.path, "cpu")
    sampled, all_slots = (
        plan_revival(model, copy, each, one).values[0] for each in (usage, unread)
    )
    addressed = [s for s in range(HALF_KEYS**2) if divmod(s, HALF_KEYS)[place[2]] == item]
    assert set(sampled[0].tolist()) < set(addressed)
    assert all_slots[0].tolist() == addressed
    rest = all_slots[1][~torch.isin(all_slots[0], sampled[0])]
    assert len(rest.unique(dim=0)) == 1
    assert len(all_slots[1].unique(dim=0)) == len(sampled[0]) + 1


class Judge:
    """Stands for a trial: up to so many may be revived."""

    def __init__(self, most: int) -> None:
        self.most, self.tried = most, list[list[int]]()

    def measure(self, plan: RevivePlan) -> Attempt:
        self.tried.append(plan.half_keys.half_key.tolist())
        count = len(plan.half_keys)
        return Attempt(count, 0.0, complaint="" if count <= self.most else "too many")


def plan_of(keys: NewHalfKeys) -> RevivePlan:
    """Half-key 9 does the least harm, 0 the most; 5 wins no read."""
    return RevivePlan(keys, (keys.half_key != 5).astype(int), 9.0 - keys.half_key, {})


@pytest.mark.parametrize(
    ("most", "tried"),
    [
        (20, [[9, 8, 7, 6, 4, 3, 2, 1, 0]]),
        (5, [9, 4, 6, 5]),
        (1, [9, 4, 2, 1]),
        (0, [9, 4, 2, 1]),
    ],
)
def test_the_most_harmful_go_first(most: int, tried: list[object]) -> None:
    ten = np.arange(10)
    none = np.zeros(10, dtype=np.int64)
    keys = NewHalfKeys(np.full(10, "L0", dtype=object), none, none, ten, torch.zeros(10, 4))
    judge = Judge(most)
    found = _Search(cast(Any, judge), plan_of, lambda message: None).run(plan_of(keys))
    order = [9, 8, 7, 6, 4, 3, 2, 1, 0]
    expected = [order[:count] if isinstance(count, int) else count for count in tried]
    assert judge.tried == expected
    if most == 0:
        assert found is None
    else:
        assert found is not None
        assert found.half_keys.half_key.tolist() == order[:most]
