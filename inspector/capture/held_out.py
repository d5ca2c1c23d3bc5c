"""A corpus in two parts that share no document: one to learn from, one to be judged on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from inspector.capture.corpus import Corpus
from inspector.capture.corpus_readers import Piece
from inspector.errors import CorpusError

_TELLING = 256  # characters that decide which part a document is in


def hold_out(corpus: Corpus, share: float, seed: int = 0) -> tuple[Corpus, Corpus]:
    """``corpus`` without about ``share`` of its documents, and those held out.

    A hash of the seed and the document's first characters decides, so that equal documents are
    all on one side, whatever their order. Both parts are streams, as the corpus is.

    Raises:
        CorpusError: one part has no documents, or the corpus can be read only once.
    """
    if corpus.identity is None:
        raise CorpusError(
            f"{corpus.name} can be read only once, and so not in two parts. Give a file, a folder "
            "or a list of texts."
        )
    kept = _part(corpus, share, seed, held_out=False)
    held = _part(corpus, share, seed, held_out=True)
    for part, wanted in ((held, "hold out"), (kept, "scan")):
        if next(part._read(2**16), None) is None:  # what Corpus.pieces reads, less its complaint
            raise CorpusError(
                f"{corpus.name} has too few documents: with {share:.0%} of them held out there is "
                f"nothing to {wanted}. Give a corpus of more documents (in .txt each line is one)."
            )
    return kept, held


def _part(corpus: Corpus, share: float, seed: int, *, held_out: bool) -> Corpus:
    def read(longest: int) -> Iterator[Piece]:
        here = False
        for piece in corpus.pieces(longest):
            if piece.opens:
                here = _draw(piece.text, seed) < share
            if here == held_out:
                yield piece

    name = f"{corpus.name} ({'held out' if held_out else 'less what is held out'})"
    identity = corpus.identity and f"{corpus.identity} {share} {seed} {held_out}"
    return Corpus(name, identity, read)


def _draw(text: str, seed: int) -> float:
    """A number in [0, 1) that ``text`` and ``seed`` decide."""
    digest = hashlib.sha256(f"{seed} {text[:_TELLING]}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
