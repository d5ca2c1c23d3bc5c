"""Holding documents out: two parts that are the whole, and share nothing."""

from pathlib import Path

import pytest

from inspector.capture.corpus import Corpus, open_corpus
from inspector.capture.held_out import hold_out
from inspector.errors import CorpusError

LINES = tuple(f"document {number} of many" for number in range(1000))


def texts(corpus: Corpus) -> list[str]:
    return [piece.text for piece in corpus.pieces(2**16)]


def test_the_parts_are_the_whole_and_share_nothing() -> None:
    kept, held = hold_out(open_corpus(LINES), 0.2)
    assert sorted(texts(kept) + texts(held)) == sorted(LINES)
    assert 150 < len(texts(held)) < 250
    assert texts(held) == [line for line in LINES if line in set(texts(held))]


def test_the_seed_decides_and_equal_documents_stay_together() -> None:
    corpus = open_corpus(LINES + LINES[::-1])
    held = texts(hold_out(corpus, 0.2)[1])
    assert held == held[::-1]
    assert texts(hold_out(corpus, 0.2)[1]) == held
    assert texts(hold_out(corpus, 0.2, seed=1)[1]) != held


def test_the_pieces_of_a_long_document_stay_together(tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    file.write_text("\n".join(f"{number} " + "word " * 400 for number in range(50)))
    kept, held = hold_out(open_corpus(file), 0.5)
    for part in (kept, held):
        documents = [p.text for p in part.pieces(2**16)]
        pieces = list(part.pieces(300))
        assert len(pieces) > 4 * len(documents)
        assert sum(piece.opens for piece in pieces) == len(documents)
        assert "".join(p.text for p in pieces) == "".join(documents)


def test_parts_are_told_apart() -> None:
    corpus = open_corpus(LINES)
    parts = [*hold_out(corpus, 0.2), *hold_out(corpus, 0.2, seed=1), *hold_out(corpus, 0.3)]
    assert len({part.identity for part in (corpus, *parts)}) == 7
    assert [part.name for part in parts[:2]] == [
        "1,000 texts (less what is held out)",
        "1,000 texts (held out)",
    ]


def test_a_corpus_too_short_for_two_parts_is_refused() -> None:
    with pytest.raises(CorpusError, match=r"too few documents.*nothing to (hold out|scan)"):
        hold_out(open_corpus(["all there is"]), 0.2)


def test_a_stream_cannot_be_split() -> None:
    with pytest.raises(CorpusError, match="only once"):
        hold_out(open_corpus(line for line in LINES), 0.2)
