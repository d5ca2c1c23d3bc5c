"""A corpus: texts to scan, from files of any length or from memory, read as a stream.

Plain text is a document per line (``.txt``) or per paragraph (``.md``); JSONL, CSV and Parquet
have a column of documents; a folder is all such files in it and below, in the order of their
paths; a checkpoint's folder stands for its own ``facts.jsonl``, in which every training phrasing,
completed by its object, is a document. Blank documents are skipped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inspector.capture.corpus_readers import READERS, Piece, is_text, split
from inspector.errors import CorpusError
from inspector.families.roots import check_root

_WHOLE: Final = 2**28  # files up to 256 MB are known by their content, larger by size and time
_KNOWN = ", ".join(READERS)


@dataclass(frozen=True, eq=False)
class Corpus:
    """A corpus that was found; nothing of it is read before ``pieces`` is called.

    ``identity`` is the same for the same texts; None if they can be read only once.
    """

    name: str
    identity: str | None
    _read: Callable[[int], Iterator[Piece]]  # takes the longest piece, in characters

    def pieces(self, longest: int) -> Iterator[Piece]:
        """Its documents in order, longer ones in pieces of about ``longest`` characters.

        Raises:
            CorpusError: it has no text, or a row of it cannot be read.
        """
        opens = empty = True
        for piece in self._read(longest):
            opens = opens or piece.opens
            if piece.text.strip():
                yield piece._replace(opens=opens)
                opens = empty = False
        if empty:
            raise CorpusError(f"{self.name} has no text in it; expected at least one document.")


def open_corpus(corpus: str | Path | Iterable[str] | Corpus, column: str = "text") -> Corpus:
    """The corpus at a path, or the one made of the texts given.

    Args:
        corpus: a file, a folder, a checkpoint's folder, or texts.
        column: where the text is, in files that have columns.

    Raises:
        CorpusError: nothing is there, or nothing that can be read.
    """
    if isinstance(corpus, Corpus):
        return corpus
    if not isinstance(corpus, str | Path):
        return _corpus_of_texts(corpus)
    try:
        path = Path(corpus).expanduser()
    except RuntimeError:
        raise CorpusError(
            f"There is no home directory as in {str(corpus)!r}. Give the full path.", Path(corpus)
        ) from None
    check_root(path)
    try:
        files = _files(path)
        identity = _identity(files, column)
    except OSError as problem:
        raise CorpusError(f"{path} cannot be read: {problem.strerror}.", path) from None

    def read(longest: int) -> Iterator[Piece]:
        return _read_files(files, column, longest)

    return Corpus(str(corpus), identity, read)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return _files_in(path)
    if not path.exists():
        raise CorpusError(f"There is no file and no folder at {path}.", path)
    if path.suffix.lower() not in READERS:
        raise CorpusError(
            f"{path} ends in {path.suffix or 'no suffix'}, expected one of {_KNOWN}.", path
        )
    return [path]


def _files_in(folder: Path) -> list[Path]:
    if (folder / "config.json").is_file():
        facts = folder / "facts.jsonl"
        if not facts.is_file():
            raise CorpusError(
                f"{folder} is a checkpoint without facts.jsonl, so it has no corpus of its own. "
                "Give a file or a folder of texts.",
                folder,
            )
        return [facts]
    below = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    there = [path for path in below if not any(part.startswith(".") for part in path.parts)]
    known = sorted(path for path in there if path.suffix.lower() in READERS)
    if not known:
        suffixes = ", ".join(sorted({path.suffix or "no suffix" for path in there})) or "no files"
        raise CorpusError(
            f"{folder} holds no corpus: found {suffixes}, expected files ending in {_KNOWN}.",
            folder,
        )
    return [folder / path for path in known]


def _identity(files: Sequence[Path], column: str) -> str:
    digest = hashlib.sha256(column.encode())
    for file in files:
        stat = file.stat()
        digest.update(f"{file.suffix.lower()} {stat.st_size} ".encode())
        if stat.st_size > _WHOLE:
            digest.update(f"{file.resolve()} {stat.st_mtime_ns}".encode())
            continue
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _read_files(files: Sequence[Path], column: str, longest: int) -> Iterator[Piece]:
    total = max(sum(file.stat().st_size for file in files), 1)
    before = 0
    for file in files:
        size = file.stat().st_size
        try:
            for piece in READERS[file.suffix.lower()](file, column, longest):
                yield piece._replace(share=(before + size * (piece.share or 0.0)) / total)
        except OSError as problem:
            raise CorpusError(f"{file} cannot be read: {problem.strerror}.", file) from None
        before += size


def _corpus_of_texts(texts: Iterable[str]) -> Corpus:
    if not isinstance(texts, Sequence):
        return Corpus("texts", None, lambda longest: _read_texts(texts, longest, None))
    digest = hashlib.sha256()
    for row, text in enumerate(texts, start=1):
        _check_text(text, row)
        digest.update(f"{len(text)} {text}".encode())
    count = len(texts)
    return Corpus(
        f"{count:,} texts", digest.hexdigest(), lambda longest: _read_texts(texts, longest, count)
    )


def _check_text(text: object, row: int) -> None:
    if not isinstance(text, str):
        raise CorpusError(f"Text {row} is {str(text)[:40]!r}, expected a text.", row=row)
    if not is_text(text):
        raise CorpusError(f"Text {row} is not valid UTF-8.", row=row)


def _read_texts(texts: Iterable[str], longest: int, count: int | None) -> Iterator[Piece]:
    for row, text in enumerate(texts, start=1):
        _check_text(text, row)
        for part, first in split(text, longest):
            yield Piece(part, first, None if count is None else row / count)
