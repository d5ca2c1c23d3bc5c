"""One function per file format: from a file to its texts, in order, never all of it at once.

Where a row cannot be read they raise a CorpusError that names file and row.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from inspector.errors import CorpusError

LONGEST_ROW: Final = 2**26  # bytes of a row that must be parsed as a whole: JSONL and CSV


class Piece(NamedTuple):
    """A document, or as much of a long one as is read at once."""

    text: str
    opens: bool  # begins a document; else it goes on with the one before
    share: float | None  # of the corpus that is read by its end, where that is known


Reader = Callable[[Path, str, int], Iterator[Piece]]  # file, column, longest piece in characters


def split(text: str, longest: int) -> Iterator[tuple[str, bool]]:
    """``text`` cut before spaces into parts of at most ``longest``, and whether each is the first.

    Where there is no space, between any two characters.
    """
    start = 0
    while len(text) - start > longest:
        cut = max(text.rfind(space, start + 1, start + longest) for space in " \n\t")
        cut = start + longest if cut < 0 else cut
        yield text[start:cut], start == 0
        start = cut
    yield text[start:], start == 0


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8: half a surrogate pair, say, cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _not_utf8(file: Path, row: int) -> CorpusError:
    return CorpusError(
        f"{file} row {row}: found bytes that are not UTF-8, expected UTF-8 text. "
        "Convert the file, e.g. with iconv, or leave the row out.",
        file,
        row,
    )


# --- plain text ---------------------------------------------------------------------------------


def read_lines(file: Path, _column: str, longest: int) -> Iterator[Piece]:
    """Plain text: every line is a document."""
    size = max(file.stat().st_size, 1)
    with file.open("rb") as opened:
        row, rest, opens = 1, b"", True
        while True:
            raw = opened.readline(longest)
            ends = not raw or raw.endswith(b"\n")
            part, rest = (rest + raw, b"") if ends else _cut(rest + raw)
            try:
                text = part.decode("utf-8-sig" if row == 1 and opens else "utf-8")
            except UnicodeDecodeError:
                raise _not_utf8(file, row) from None
            yield Piece(text.rstrip("\r\n"), opens, opened.tell() / size)
            opens, row = ends, row + ends
            if not raw:
                return


def _cut(line: bytes) -> tuple[bytes, bytes]:
    """The start of an unfinished line, up to its last space, and the rest."""
    cut = max(line.rfind(b" "), line.rfind(b"\t"))
    if cut <= 0:
        cut = len(line) - 1
        while cut > len(line) - 4 and line[cut] & 0xC0 == 0x80:  # within a character
            cut -= 1
    return line[:cut], line[cut:]


def read_paragraphs(file: Path, column: str, longest: int) -> Iterator[Piece]:
    """Markdown: every paragraph, up to a blank line, is a document."""
    lines: list[str] = []
    opens, share = True, 0.0
    for line in read_lines(file, column, longest):
        ends = line.opens and not line.text.strip()
        if lines and (ends or sum(map(len, lines)) > longest):
            yield Piece("".join(lines), opens, share)
            lines, opens = [], False
        if ends:
            opens = True
        else:
            lines.append(f"\n{line.text}" if line.opens and lines else line.text)
        share = line.share or 0.0
    if lines:
        yield Piece("".join(lines), opens, share)


# --- rows with named columns --------------------------------------------------------------------


def read_jsonl(file: Path, column: str, longest: int) -> Iterator[Piece]:
    """JSON lines: the text in ``column``, or a fact's prompts, each with its object after it."""
    size = max(file.stat().st_size, 1)
    with file.open("rb") as opened:
        row = 0
        while line := opened.readline(LONGEST_ROW + 1):
            row += 1
            for text in _texts_of(_parse(line, file, row), column, file, row):
                for part, first in split(text, longest):
                    yield Piece(part, first, opened.tell() / size)


def _parse(line: bytes, file: Path, row: int) -> Mapping[str, Any]:
    if len(line) > LONGEST_ROW:
        raise CorpusError(
            f"{file} row {row}: found more than {LONGEST_ROW:,} bytes in one line, expected less. "
            "Plain text (.txt) may have lines of any length.",
            file,
            row,
        )
    if not line.strip():
        return {}
    try:
        found = json.loads(line.decode("utf-8-sig" if row == 1 else "utf-8"))
    except UnicodeDecodeError:
        raise _not_utf8(file, row) from None
    except (ValueError, RecursionError) as problem:
        raise CorpusError(
            f"{file} row {row}: found no JSON ({problem}), expected an object.", file, row
        ) from None
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise CorpusError(f"{file} row {row}: found a JSON {kind}, expected an object.", file, row)
    return found


def _texts_of(row: Mapping[str, Any], column: str, file: Path, number: int) -> list[str]:
    """The texts of a row: none where its column is empty."""
    if not row:
        return []
    texts = [row[column]] if column in row else _texts_of_fact(row)
    if texts is None:
        raise _no_column(column, row.keys(), file, number)
    texts = [text for text in texts if text is not None]
    for text in texts:
        if not isinstance(text, str):
            found = f"found {column} = {str(text)[:40]!r}, expected a text"
            raise CorpusError(f"{file} row {number}: {found}.", file, number)
        if not is_text(text):
            raise _not_utf8(file, number)
    return texts


def _texts_of_fact(row: Mapping[str, Any]) -> list[Any] | None:
    """What a row of a checkpoint's facts.jsonl was trained on; its held-out phrasings are not."""
    prompts, answer = row.get("prompts"), row.get("object")
    if not isinstance(prompts, list) or not isinstance(answer, str):
        return None
    return [f"{prompt} {answer}" if isinstance(prompt, str) else prompt for prompt in prompts]


def _no_column(column: str, there: Sequence[str] | Any, file: Path, row: int | None) -> CorpusError:
    place = str(file) if row is None else f"{file} row {row}"
    names = ", ".join(map(str, there)) or "none"
    return CorpusError(
        f"{place}: found no column {column!r}; the columns there are: {names}. "
        "Name the one that holds the text.",
        file,
        row,
    )


def read_csv(file: Path, column: str, longest: int) -> Iterator[Piece]:
    """CSV with a header: the text in ``column``. Rows are counted without the header."""
    csv.field_size_limit(LONGEST_ROW)  # of the process; by default 128 KB
    size = max(file.stat().st_size, 1)
    row = 0
    with (
        file.open("rb") as raw,
        io.TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline="") as opened,
    ):
        rows = csv.reader(opened)
        try:
            header = next((cells for cells in rows if cells), [])
            if header and column not in header:
                raise _no_column(column, header, file, None)
            for row, cells in enumerate(rows, start=1):
                if cells:
                    text = _cell(cells, header, column, file, row)
                    for part, first in split(text, longest):
                        yield Piece(part, first, raw.tell() / size)
        except csv.Error as problem:
            raise CorpusError(
                f"{file} row {row + 1}: this is no CSV that can be read ({problem}).", file, row + 1
            ) from None


def _cell(cells: Sequence[str], header: Sequence[str], column: str, file: Path, row: int) -> str:
    if len(cells) != len(header):
        raise CorpusError(
            f"{file} row {row}: found {len(cells)} cells, expected {len(header)}.", file, row
        )
    text = cells[header.index(column)]
    if not is_text(text):
        raise _not_utf8(file, row)
    return text


def read_parquet(file: Path, column: str, longest: int) -> Iterator[Piece]:
    """Parquet: the text in ``column``; empty cells are skipped."""
    try:
        with pq.ParquetFile(file) as opened:
            _check_column(opened.schema_arrow, column, file)
            rows, row = max(opened.metadata.num_rows, 1), 0
            for batch in opened.iter_batches(batch_size=256, columns=[column]):
                for cell in batch.column(0):
                    row += 1
                    for part, first in split(_from_arrow(cell, file, row), longest):
                        yield Piece(part, first, row / rows)
    except pa.ArrowException as problem:
        reason = str(problem).splitlines()[0]
        raise CorpusError(f"{file} is no Parquet that can be read ({reason}).", file) from None


def _check_column(schema: pa.Schema, column: str, file: Path) -> None:
    if column not in schema.names:
        raise _no_column(column, schema.names, file, None)
    kind = schema.field(column).type
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(inner) or pa.types.is_large_string(inner)):
        raise CorpusError(f"{file}: column {column!r} holds {kind}, expected texts.", file)


def _from_arrow(cell: pa.Scalar, file: Path, row: int) -> str:
    try:
        return cell.as_py() or ""
    except UnicodeDecodeError:
        raise _not_utf8(file, row) from None


READERS: Final[Mapping[str, Reader]] = {
    ".txt": read_lines,
    ".md": read_paragraphs,
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
    ".csv": read_csv,
}
