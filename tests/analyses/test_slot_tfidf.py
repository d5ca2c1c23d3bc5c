"""TF-IDF of slots: what a text reads that the background doesn't."""

from __future__ import annotations

import numpy as np
import pytest

from inspector.analyses.slot_tfidf import slot_tfidf
from inspector.capture.usage import TableUsage, Usage
from inspector.errors import InspectorError
from tests.analyses.planted_usage import counted_site, site_info, usage_of


def scan(reads: list[list[int]], documents: list[int], of: int) -> Usage:
    """One site with a head for each row of ``reads``."""
    half_keys = int(len(reads[0]) ** 0.5)
    site = counted_site(site_info(heads=len(reads), half_keys=half_keys), np.array(reads))
    table = TableUsage(0, np.array(documents, dtype=np.int32), np.zeros((0, 2), dtype=np.int64))
    return usage_of([site], table, documents=of)


def test_scores_by_hand() -> None:
    text = scan([[3, 1, 0, 0], [2, 0, 0, 2]], [1, 1, 0, 1], of=1)
    background = scan([[9, 9, 9, 9]], [0, 4, 9, 9], of=9)
    found = slot_tfidf(text, background)
    assert found.reads.tolist() == [5, 1, 0, 2]
    expected = [5 / 8 * np.log(10), 1 / 8 * np.log(10 / 5), 0, 0]
    assert found.score == pytest.approx(expected)


def test_the_frame_ranks_the_slots_that_the_text_reads() -> None:
    text = scan([[1, 4, 0, 5]], [1, 1, 0, 1], of=1)
    background = scan([[1, 1, 1, 1]], [0, 0, 0, 9], of=9)
    frame = slot_tfidf(text, background).to_frame()
    assert frame["slot"].tolist() == [1, 0, 3]
    assert frame["share"].tolist() == [0.4, 0.1, 0.5]
    assert frame["background_documents"].tolist() == [0, 0, 9]
    assert slot_tfidf(text, background).to_frame(top=1)["slot"].tolist() == [1]


def test_a_text_that_reads_nothing_scores_nothing() -> None:
    empty = scan([[0, 0, 0, 0]], [0, 0, 0, 0], of=0)
    found = slot_tfidf(empty, empty)
    assert found.score.tolist() == [0, 0, 0, 0]
    assert found.to_frame().empty


def test_scans_of_different_tables_are_refused() -> None:
    small, large = scan([[1] * 4], [1] * 4, of=1), scan([[1] * 9], [1] * 9, of=1)
    with pytest.raises(InspectorError, match="4 and of 9 slots"):
        slot_tfidf(small, large)
    with pytest.raises(InspectorError, match="of 0 and of 0 slots"):
        slot_tfidf(small, small, table=7)
