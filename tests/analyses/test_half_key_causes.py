"""Why half-keys are out of use: each cause planted alone, in a set of otherwise alike half-keys."""

from __future__ import annotations

import numpy as np
import pytest

from inspector.analyses.half_key_causes import (
    NO_CAUSE,
    Cause,
    HalfKeyFindings,
    find_address_causes,
    find_half_key_causes,
)
from inspector.capture.usage import SiteUsage
from inspector.families.base import SiteInfo
from tests.analyses.planted_usage import empty_site

N, D_HALF = 12, 6
INFO = SiteInfo(1, 0, 1, 2, N, 8, 2 * D_HALF, 8, False, "softmax")


@pytest.fixture
def half_keys() -> np.ndarray:
    """``[head half half_key d_half]``: all near (1, 0, ...), lengths 10 % apart."""
    random = np.random.default_rng(0)
    keys = random.normal(0, 0.2, (1, 2, N, D_HALF))
    keys[..., 0] += 1
    keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
    return np.asarray(keys * random.uniform(0.9, 1.1, (1, 2, N, 1)))


def site(half_keys: np.ndarray, never: tuple[int, ...] = (), sample: int = 500) -> SiteUsage:
    """Queries near each half-key; those of ``never`` in set 1 were in no query's top k."""
    random = np.random.default_rng(1)
    near = random.integers(0, N, (sample, 1, 2))
    queries = half_keys[0][np.arange(2), near] + random.normal(0, 0.1, (sample, 1, 2, D_HALF))
    hits = np.full((1, 2, N), 50)
    hits[0, 0, list(never)] = 0
    parts = {"half_hits": hits, "query_sample": queries.astype(np.float32)}
    parts["query_mean"] = half_keys.mean(2).astype(np.float32)
    return SiteUsage(site=INFO, **(empty_site(INFO) | parts))


def dead(*items: int) -> np.ndarray:
    """Which of set 1 are dead."""
    found = np.zeros((1, 2, N), dtype=bool)
    found[0, 0, list(items)] = True
    return found


def causes(findings: HalfKeyFindings) -> dict[tuple[int, int], Cause]:
    """Causes by half and half-key."""
    found = np.argwhere(findings.cause[0] != NO_CAUSE).tolist()
    return {(half, item): Cause(findings.cause[0, half, item]) for half, item in found}


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_a_norm_far_from_its_sets(half_keys: np.ndarray, factor: float) -> None:
    own = site(half_keys, never=(3,))
    half_keys[0, 0, 3] *= factor
    findings = find_half_key_causes(own, half_keys, dead(3))
    assert causes(findings) == {(0, 3): Cause.NORM}
    z = findings.norm_z[0, 0]
    assert np.sign(z[3]) == np.sign(np.log(factor))
    assert np.abs(np.delete(z, 3)).max() < 3.5


def test_the_norm_is_compared_with_half_keys_in_use(half_keys: np.ndarray) -> None:
    """Where most of a set is lost, the lost ones don't set the standard."""
    own = site(half_keys, never=tuple(range(8)))
    half_keys[0, 0, :8] *= 0.1
    findings = find_half_key_causes(own, half_keys, dead(*range(8)))
    assert causes(findings) == {(0, item): Cause.NORM for item in range(8)}


def test_norms_that_are_equal_by_design_do_not_stand_out(half_keys: np.ndarray) -> None:
    half_keys /= np.linalg.norm(half_keys, axis=-1, keepdims=True)
    half_keys *= 1 + 1e-4 * np.random.default_rng(0).standard_normal((1, 2, N, 1))
    findings = find_half_key_causes(site(half_keys, never=(3,)), half_keys, dead(3))
    assert causes(findings) == {(0, 3): Cause.OUT_OF_REACH}


@pytest.mark.parametrize("sample", [500, 0])
def test_a_direction_away_from_the_queries(half_keys: np.ndarray, sample: int) -> None:
    own = site(half_keys, never=(3,), sample=sample)
    half_keys[0, 0, 3] *= -1
    findings = find_half_key_causes(own, half_keys, dead(3))
    assert causes(findings) == {(0, 3): Cause.DIRECTION}
    assert findings.reach[0, 0, 3] < 0 < np.delete(findings.reach[0, 0], 3).min()


def test_one_whose_length_and_direction_are_like_others_is_out_of_reach(
    half_keys: np.ndarray,
) -> None:
    own = site(half_keys, never=(3,))
    half_keys[0, 0, 3] = 0.95 * half_keys[0, 0, 5]
    assert causes(find_half_key_causes(own, half_keys, dead(3))) == {(0, 3): Cause.OUT_OF_REACH}
    # Never in a top k is a fact before there is evidence for a verdict.
    assert causes(find_half_key_causes(own, half_keys, dead())) == {(0, 3): Cause.OUT_OF_REACH}


def test_one_in_the_top_k_whose_keys_are_not_read_is_beaten(half_keys: np.ndarray) -> None:
    findings = find_half_key_causes(site(half_keys), half_keys, dead(3))
    assert causes(findings) == {(0, 3): Cause.BEATEN}


def test_the_first_cause_in_precedence_is_named(half_keys: np.ndarray) -> None:
    own = site(half_keys, never=(3,))
    half_keys[0, 0, 3] *= -0.1
    assert causes(find_half_key_causes(own, half_keys, dead(3))) == {(0, 3): Cause.NORM}
    assert list(Cause) == sorted(Cause)
    assert [cause.name for cause in Cause] == [
        "UNTRAINED",
        "NORM",
        "DIRECTION",
        "OUT_OF_REACH",
        "BEATEN",
    ]


def test_half_keys_in_use_have_no_cause(half_keys: np.ndarray) -> None:
    half_keys[0, 1, 4] *= 9
    assert causes(find_half_key_causes(site(half_keys), half_keys, dead())) == {}


def test_where_none_is_in_use_there_is_nothing_to_be_away_from(half_keys: np.ndarray) -> None:
    own = site(half_keys, never=tuple(range(N)))
    findings = find_half_key_causes(own, half_keys, dead(*range(N)))
    assert set(causes(findings).values()) == {Cause.OUT_OF_REACH}


def test_an_address_has_the_cause_of_its_half_keys(half_keys: np.ndarray) -> None:
    own = site(half_keys, never=(3, 6))
    half_keys[0, 0, 3] *= 0.1
    pairs = find_address_causes(find_half_key_causes(own, half_keys, dead(3, 6)), 0).reshape(N, N)
    assert (pairs[3] == Cause.NORM).all()
    assert (pairs[6] == Cause.OUT_OF_REACH).all()
    assert (np.delete(pairs, [3, 6], axis=0) == Cause.BEATEN).all()


def test_of_two_lost_half_keys_an_address_names_the_first_in_precedence(
    half_keys: np.ndarray,
) -> None:
    own, lost = site(half_keys), dead(3)
    lost[0, 1, 8] = True
    half_keys[0, 1, 8] *= 0.1
    found = find_address_causes(find_half_key_causes(own, half_keys, lost), 0)
    assert found[3 * N + 8] == found[5 * N + 8] == Cause.NORM
    assert found[3 * N + 5] == Cause.BEATEN


def test_every_cause_has_words_and_a_remedy() -> None:
    assert len({cause.label for cause in Cause}) == len(Cause)
    assert {cause.remedy for cause in Cause} == {
        "query normalisation",
        "re-initialise from query centroids",
        "more heads",
        "smaller table",
    }
