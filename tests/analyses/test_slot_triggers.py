"""What sets a slot off: rates counted in loops, and ranked by what they are sure of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inspector.analyses.read_index import SlotReads, index_reads
from inspector.analyses.slot_triggers import find_triggers, token_occurrences
from inspector.capture.load import load
from inspector.capture.scan import scan
from tests.analyses.planted_usage import counted_site, site_info, usage_of
from tests.capture.recount import recount
from tests.capture.test_scan import CORPUS


def test_rates_are_those_of_a_recount(tiny_checkpoint: Callable[..., Path]) -> None:
    model = load(tiny_checkpoint(), device="cpu")
    usage = scan(model, CORPUS, cache=False)
    index = index_reads(model, usage, cache=False)
    assert index is not None
    truth = recount(model, CORPUS)
    fresh = sorted({read.token for read in truth.reads if read.fresh})
    occurrences = token_occurrences(index, usage)
    checked = 0
    for slot in range(64):
        at = {read.token for read in truth.reads if read.fresh and read.slot == slot}
        found = find_triggers(index.of_slot(0, slot), usage, occurrences)
        expected = {}
        for token in {truth.tokens[place] for place in at}:
            seen = [place for place in fresh if truth.tokens[place] == token]
            expected[token] = (len(seen), sum(place in at for place in seen))
        rows = zip(
            found.ids.tolist(), found.occurrences.tolist(), found.reads.tolist(), strict=True
        )
        assert {token: (seen, hits) for token, seen, hits in rows} == expected
        assert np.allclose(found.rate, found.reads / found.occurrences)
        assert (np.diff(found.low) <= 1e-12).all()
        checked += len(expected)
    assert checked > 50


def reads_at(*tokens: int) -> SlotReads:
    at = np.array(tokens, dtype=np.int64)
    nothing = np.zeros(len(at))
    return SlotReads(0, 0, at, at.astype(np.int32), nothing, nothing, nothing)


def test_one_sure_read_does_not_outrank_many() -> None:
    """Token 7 at 40 of 50 of its places, token 3 at its only one, read there by two heads."""
    info = site_info()
    usage = usage_of(
        [counted_site(info, np.array([[1, 0, 0, 0]]))],
        None,  # type: ignore[arg-type]
        token_ids=np.array([7] * 50 + [3], dtype=np.int32),
    )
    found = find_triggers(reads_at(*range(40), 50, 50), usage, np.array([0, 0, 0, 1, 0, 0, 0, 50]))
    assert found.ids.tolist() == [7, 3]
    assert found.reads.tolist() == [40, 1]
    assert found.rate.tolist() == [0.8, 1.0]
    assert found.low == pytest.approx([0.6696, 0.2065], abs=1e-3)  # Wilson's interval, by hand
    frame = found.to_frame("token {}".format)
    assert frame["token"].tolist() == ["token 7", "token 3"]
    assert frame["share"].tolist() == pytest.approx([40 / 41, 1 / 41])
    assert find_triggers(reads_at(50), usage, np.array([0, 0, 0, 1, 0, 0, 0, 50]), 1).ids == [3]
