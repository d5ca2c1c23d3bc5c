"""Verdicts: calibrated on streams of known rates, and never "dead" without evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from inspector.analyses.evidence import chance_of_at_most
from inspector.analyses.verdicts import (
    Judged,
    Verdict,
    judge,
    judge_usage,
    sufficient_hits,
)
from inspector.capture.usage import TableUsage, Usage
from tests.analyses.planted_usage import (
    LAYERS,
    SLOTS,
    Planted,
    counted_site,
    site_info,
    usage_of,
)

HALF_KEYS, KNN, DOCUMENTS = 50, 4, 4000
N = HALF_KEYS**2
HOPELESS, SPARED, RARE = 0.01, 0.12, 0.25  # rates, as shares of uniform use


@dataclass(frozen=True)
class Stream:
    """Rates of slots as shares of uniform use, and how their reads are scattered.

    Each event is one read, or with ``clump`` a geometric number of reads with that mean, at as
    many distinct contexts of one document; ``repeats`` is in how many documents each context is
    seen (one document has a prefix but once).
    """

    hopeless: float  # share of slots at a hundredth of uniform use
    clump: float = 1.0
    repeats: int = 1

    @property
    def rates(self) -> np.ndarray:
        rates = np.full(N, 1.5)
        rates[: N // 20] = RARE
        rates[N // 20 : N // 5] = SPARED
        rates[N - int(N * self.hopeless) :] = HOPELESS
        return rates

    def scan(self, expected: float, random: np.random.Generator) -> Usage:
        """One head's scan, in which uniform use would read each slot ``expected`` times."""
        events = random.poisson(self.rates * expected / self.clump)
        hits = events.copy()
        if self.clump > 1:
            more = random.negative_binomial(np.maximum(events, 1), 1 / self.clump)
            hits += np.where(events > 0, more, 0)
        # As many documents as the events fall into on average, each into one at random.
        found = (DOCUMENTS * (1 - (1 - 1 / DOCUMENTS) ** events)).round()
        contexts = round(expected * N / KNN)
        site = counted_site(
            site_info(half_keys=HALF_KEYS, knn=KNN), hits[None], reads=hits[None] * self.repeats
        )
        return usage_of(
            [site],
            TableUsage(
                0, (found * self.repeats).astype(np.int32), np.zeros((0, 2), dtype=np.int64)
            ),
            tokens=contexts * self.repeats,
            distinct_contexts=contexts,
            documents=DOCUMENTS * self.repeats,
        )


STREAMS = {
    "few hopeless": Stream(0.01),
    "many hopeless": Stream(0.5),
    "nearly all hopeless": Stream(0.8),
    "few, repeated prefixes": Stream(0.01, repeats=10),
    "many, repeated prefixes": Stream(0.5, repeats=10),
    "few, clustered in documents": Stream(0.01, clump=4),
    "many, clustered in documents": Stream(0.5, clump=4),
    "nearly all, clustered in documents": Stream(0.8, clump=4),
    "clustered, repeated prefixes": Stream(0.3, clump=4, repeats=10),
}


def share_dead(stream: Stream, judged: Judged, rate: float) -> float:
    return float((judged.verdicts[stream.rates == rate] == Verdict.DEAD).mean())


# --- calibration --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STREAMS)
def test_slots_at_a_hundredth_are_found_dead_once_the_evidence_suffices(name: str) -> None:
    stream, random = STREAMS[name], np.random.default_rng(1)
    enough = 10 * sufficient_hits(N) * stream.clump
    for more in (1.1, 1.5, 3):
        found = []
        for _ in range(10):
            judged = judge_usage(stream.scan(enough * more, random)).addresses["L1", 0]
            assert judged.tokens_to_suffice == 0
            found.append(share_dead(stream, judged, HOPELESS))
        assert np.mean(found) >= 0.95


@pytest.mark.parametrize("name", STREAMS)
def test_slots_above_a_tenth_are_hardly_ever_called_dead(name: str) -> None:
    stream, random = STREAMS[name], np.random.default_rng(2)
    for expected in (3, 30, 60, 100, 300, 1000, 5000):
        found = [
            share_dead(
                stream, judge_usage(stream.scan(expected, random)).addresses["L1", 0], SPARED
            )
            for _ in range(10)
        ]
        assert np.mean(found) <= 0.05


@pytest.mark.parametrize("name", STREAMS)
def test_of_the_slots_called_dead_at_most_one_in_twenty_is_not(name: str) -> None:
    stream, random = STREAMS[name], np.random.default_rng(3)
    false = []
    for _ in range(20):
        dead = judge_usage(stream.scan(200 * stream.clump, random)).addresses["L1", 0]
        called = stream.rates[dead.chosen(Verdict.DEAD)]
        false.append((called > 0.1).sum() / max(len(called), 1))
    assert np.mean(false) <= 0.05


def test_counting_repeated_prefixes_would_call_living_slots_dead() -> None:
    """Why contexts are counted once, and clumps as one: neither holds the 5 % otherwise."""
    random = np.random.default_rng(4)
    hits = random.poisson(SPARED * 30, 5000)
    dead = judge(10 * hits, 10 * 30) == Verdict.DEAD
    assert dead.mean() > 0.05
    stream = Stream(0.5, clump=4)
    judged = judge_usage(stream.scan(100, random)).addresses["L1", 0]
    naive = judge(judged.hits, judged.expected)[stream.rates == SPARED]
    assert (naive == Verdict.DEAD).mean() > 0.05
    assert share_dead(stream, judged, SPARED) <= 0.05


def test_rare_slots_are_told_from_dead_and_alive() -> None:
    stream, random = Stream(0.2), np.random.default_rng(5)
    judged = judge_usage(stream.scan(400, random)).addresses["L1", 0]
    assert (judged.verdicts[stream.rates == RARE] == Verdict.RARE).mean() > 0.99
    assert (judged.verdicts[stream.rates == SPARED] == Verdict.RARE).mean() > 0.99
    assert (judged.verdicts[stream.rates == 1.5] == Verdict.ALIVE).all()


# --- evidence -----------------------------------------------------------------------------------


def test_without_evidence_nothing_is_dead() -> None:
    hits = np.array([0, 0, 0, 1])
    unseen, alive = Verdict.NOT_SEEN_YET, Verdict.ALIVE
    assert judge(hits, 0).tolist() == [unseen, unseen, unseen, alive]
    assert judge(hits, 25).tolist()[:3] == [unseen] * 3
    assert judge(hits, 40).tolist()[:3] == [Verdict.DEAD] * 3


def test_a_read_slot_is_never_called_unseen() -> None:
    hits = np.array([0, 1, 2, 30, 400])
    for expected in (1, 10, 100, 1000, 10_000):
        verdicts = judge(hits, expected)
        assert (verdicts[1:] != Verdict.NOT_SEEN_YET).all()


def test_few_reads_on_huge_evidence_are_dead_too() -> None:
    hits = np.array([2, 300, 1000])
    assert judge(hits, 1000).tolist() == [Verdict.DEAD, Verdict.RARE, Verdict.ALIVE]


def test_the_bound_of_a_rate_is_three_over_the_expected_reads() -> None:
    usage = Stream(0.5).scan(300, np.random.default_rng(0))
    judged = judge_usage(usage).addresses["L1", 0]
    unread = np.flatnonzero(judged.hits == 0)
    assert len(unread)
    assert judged.rate_bounds(unread) == pytest.approx(judged.clump * -math.log(0.05) / 300)
    assert judged.rate_bounds(judged.chosen(Verdict.DEAD)).max() < 0.1


@pytest.mark.parametrize("clump", [1, 4])
def test_at_most_as_many_more_tokens_as_it_says_decide(clump: int) -> None:
    stream, random = Stream(0.0, clump=clump, repeats=3), np.random.default_rng(0)
    judged = judge_usage(stream.scan(20, random)).addresses["L1", 0]
    assert judged.count(Verdict.NOT_SEEN_YET)
    contexts = judged.contexts + judged.tokens_at_most / 3
    hits = np.full(N, 10**6)
    hits[0] = 0  # no other is dead: the hardest case
    assert judge(hits, contexts * KNN / N * 1.001, judged.clump)[0] == Verdict.DEAD
    assert judge(hits, contexts * KNN / N * 0.99, judged.clump)[0] == Verdict.NOT_SEEN_YET


@pytest.mark.parametrize("dead", [0.9, 0.2, 0.01])
@pytest.mark.parametrize("scanned", [5, 20])
def test_about_as_many_more_tokens_as_it_says_decide(dead: float, scanned: int) -> None:
    random = np.random.default_rng(0)
    rates = random.lognormal(0, 1, N) * (np.arange(N) >= dead * N)
    hits, expected = random.poisson(rates * scanned), float(scanned)
    site = counted_site(site_info(half_keys=HALF_KEYS, knn=KNN), hits[None])
    contexts = scanned * N // KNN
    table = TableUsage(0, hits.astype(np.int32), np.zeros((0, 2), dtype=np.int64))
    usage = usage_of([site], table, tokens=contexts, distinct_contexts=contexts, documents=10**9)
    said = judge_usage(usage).addresses["L1", 0].tokens_to_decide / contexts * scanned
    while (judge(hits, expected) == Verdict.NOT_SEEN_YET).any():
        hits, expected = hits + random.poisson(rates / 2), expected + 0.5
    assert 0.6 <= (scanned + said) / expected <= 1.1


@pytest.mark.parametrize("items", [16, 2500, 65_536])
def test_sufficient_evidence_suffices_from_there_on(items: int) -> None:
    enough, few = sufficient_hits(items), np.arange(100)
    for tenth in np.linspace(enough * 1.0001, 4 * enough, 60):
        passing = few[chance_of_at_most(few, tenth) <= 0.05 / items]
        assert chance_of_at_most(passing[-1:], tenth / 10)[0] >= 0.95


# --- levels -------------------------------------------------------------------------------------


def test_each_level_rests_on_its_own_reads() -> None:
    first = counted_site(site_info(1, heads=2), np.array([[60, 40, 0, 0], [100, 0, 0, 0]]))
    second = counted_site(site_info(3), np.array([[0, 50, 50, 0]]))
    table = TableUsage(0, np.array([5, 5, 5, 0], dtype=np.int32), np.zeros((0, 2), dtype=np.int64))
    verdicts = judge_usage(usage_of([first, second], table, tokens=200, documents=5))
    values = verdicts.values[0]
    assert values.hits.tolist() == [160, 90, 50, 0]
    assert values.expected == 100 * 3 / 4
    assert verdicts.addresses["L1", 0].hits.tolist() == [60, 40, 0, 0]
    assert verdicts.addresses["L3", 0].expected == 100 / 4
    assert verdicts.half_keys["L1", 0, 0].hits.tolist() == [100, 0]
    assert verdicts.half_keys["L1", 0, 1].hits.tolist() == [60, 40]
    assert verdicts.half_keys["L3", 0, 0].expected == 100 / 2
    assert verdicts.counts(0) == {"dead": 1, "not_seen_yet": 0, "rare": 0, "alive": 3}
    frame = verdicts.to_frame()
    assert frame["level"].tolist() == ["value"] + ["half-key"] * 6 + ["address"] * 3
    assert frame.loc[0, ["items", "dead", "alive", "contexts"]].tolist() == [4, 1, 3, 100]


def test_a_half_key_shared_by_the_reads_of_one_lookup_counts_once() -> None:
    info = site_info(half_keys=8, knn=4)
    contexts = np.zeros((1, 64), dtype=np.int64)
    contexts[0, :4] = 80  # all four reads of each of 80 lookups share half-key 0 of set 1
    table = TableUsage(0, np.zeros(64, dtype=np.int32), np.zeros((0, 2), dtype=np.int64))
    judged = judge_usage(usage_of([counted_site(info, contexts)], table)).half_keys["L1", 0, 0]
    assert (judged.expected, judged.clump) == (40, 4)  # one event for each of 10 lookups
    assert judged.verdicts.tolist() == [Verdict.ALIVE] + [Verdict.NOT_SEEN_YET] * 7


@pytest.mark.parametrize("contexts", [0, 1, 30, 200])
def test_with_too_few_tokens_nothing_planted_is_dead(contexts: int) -> None:
    planted = Planted()
    verdicts = judge_usage(planted.scan(contexts))
    assert not any(judged.count(Verdict.DEAD) for judged in verdicts)
    values = verdicts.values[0]
    assert set(planted.truth.values) <= set(values.chosen(Verdict.NOT_SEEN_YET).tolist())
    assert values.tokens_to_decide > contexts
    assert np.isinf(values.rate_bounds(np.arange(SLOTS))).all() == (contexts == 0)


def test_evidence_is_never_ahead_of_the_truth() -> None:
    """At every size of scan, what is called dead is dead; in the end, all of it is."""
    planted = Planted(1)
    dead_half_keys = {place: set(dead) for place, dead in planted.truth.half_keys.items()}
    for contexts in (1000, 5000, 20_000):
        verdicts = judge_usage(planted.scan(contexts))
        assert set(verdicts.values[0].chosen(Verdict.DEAD).tolist()) <= set(planted.truth.values)
        for place in ((f"L{layer}", head) for layer in LAYERS for head in (0, 1)):
            called = verdicts.addresses[place].chosen(Verdict.DEAD)
            assert set(called.tolist()) <= set(planted.truth.addresses[place])
            for half in (0, 1):
                called = verdicts.half_keys[*place, half].chosen(Verdict.DEAD)
                assert set(called.tolist()) == dead_half_keys.get((*place, half), set())
