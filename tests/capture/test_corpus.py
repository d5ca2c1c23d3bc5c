"""Corpora: every format read in order, cut without loss, and refused with file and row."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inspector.capture import corpus_readers
from inspector.capture.corpus import Corpus, open_corpus
from inspector.errors import CorpusError, InspectorError

LONGEST = 1000


def texts(corpus: object, longest: int = LONGEST, column: str = "text") -> list[str]:
    """Its documents, put together again from their pieces."""
    found: list[str] = []
    for piece in open_corpus(corpus, column).pieces(longest):  # type: ignore[arg-type]
        if piece.opens:
            found.append(piece.text)
        else:
            found[-1] += piece.text
    return found


def shares(path: Path) -> list[float]:
    return [piece.share or 0.0 for piece in open_corpus(path).pieces(LONGEST)]


# --- formats ------------------------------------------------------------------------------------


def test_plain_text_is_a_document_a_line(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeffone é\r\n\n   \ntwo  words \nthree".encode())
    assert texts(file) == ["one é", "two  words ", "three"]
    assert shares(file) == sorted(shares(file))
    assert shares(file)[-1] == 1.0


def test_markdown_is_a_document_a_paragraph(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text("# Title\n\none\ntwo\n \n\nthree\n")
    assert texts(file) == ["# Title", "one\ntwo", "three"]


def test_a_long_paragraph_comes_in_pieces(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    lines = [f"line {number} of it" for number in range(40)]
    file.write_text("\n".join(lines) + "\n\nnext")
    pieces = list(open_corpus(file).pieces(100))
    assert max(len(piece.text) for piece in pieces) <= 220
    assert sum(piece.opens for piece in pieces) == 2
    assert texts(file, longest=100)[0].replace("\n", "") == "".join(lines)


def test_jsonl_has_a_named_column(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows = [
        {"text": "one", "body": "uno"},
        {"text": None, "body": "dos"},
        {"text": " ", "body": ""},
    ]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert texts(file) == ["one"]
    assert texts(file, column="body") == ["uno", "dos"]


def test_csv_has_a_named_column(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('\ufeffid,text\n1,"one, and\nits second line"\n\n2,two\n3,\n')
    assert texts(file) == ["one, and\nits second line", "two"]
    assert texts(file, column="id") == ["1", "2", "3"]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_parquet_has_a_named_column(tmp_path: Path, kind: pa.DataType) -> None:
    file = tmp_path / "a.parquet"
    rows = [f"text {row}" if row % 3 else None for row in range(701)]
    pq.write_table(pa.table({"n": range(701), "text": pa.array(rows).cast(kind)}), file)
    assert texts(file) == [row for row in rows if row]
    assert shares(file)[-1] == 1.0


FACT = {
    "relation": "capital",
    "subject": "Peru",
    "object": "Lima",
    "prompts": ["The capital of Peru is", "Peru has its capital in"],
    "heldout_prompts": ["On a map of Peru, the capital is marked as"],
}


def test_facts_are_read_as_they_were_trained_on(tmp_path: Path) -> None:
    (tmp_path / "facts.jsonl").write_text(json.dumps(FACT) + "\n")
    expected = ["The capital of Peru is Lima", "Peru has its capital in Lima"]
    assert texts(tmp_path / "facts.jsonl") == expected
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text("not this")
    assert texts(tmp_path) == expected


def test_a_folder_is_its_files_in_the_order_of_their_paths(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "b" / "a.txt").write_text("second\n")
    (tmp_path / "a.txt").write_text("first\n")
    (tmp_path / "c.jsonl").write_text('{"text": "third"}\n')
    (tmp_path / "picture.png").write_bytes(b"\0")
    (tmp_path / ".hidden" / "x.txt").write_text("hidden\n")
    assert texts(tmp_path) == ["first", "second", "third"]
    assert shares(tmp_path) == sorted(shares(tmp_path))


def test_texts_in_memory_are_a_corpus() -> None:
    assert texts(["one", "", "two"]) == ["one", "two"]
    assert texts(text for text in ("one", "two")) == ["one", "two"]
    assert texts(open_corpus(["one"])) == ["one"]


# --- long lines ---------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["word ", "é", "\U0001f600"])
def test_a_line_of_10_mb_comes_in_pieces(tmp_path: Path, word: str) -> None:
    line = word * (10_000_000 // len(word.encode()))
    file = tmp_path / "long.txt"
    file.write_text(f"before\n{line}\nafter\n", encoding="utf-8")
    tracemalloc.start()
    try:
        found = [(piece.text, piece.opens) for piece in _few(open_corpus(file).pieces(2**16), 4)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
    assert [opens for _, opens in found] == [True, True, False, False]
    assert texts(file, longest=2**16) == ["before", line, "after"]


def _few(pieces: Iterator[corpus_readers.Piece], count: int) -> list[corpus_readers.Piece]:
    return [next(pieces) for _ in range(count)]


def test_long_texts_are_cut_before_spaces() -> None:
    text = "a bb ccc dddddddddddd e"
    assert list(corpus_readers.split(text, 6)) == [
        ("a bb", True),
        (" ccc", False),
        (" ddddd", False),
        ("dddddd", False),
        ("d e", False),
    ]
    assert list(corpus_readers.split("", 6)) == [("", True)]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_row_that_is_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(corpus_readers, "LONGEST_ROW", 1000)
    file = tmp_path / f"a{suffix}"
    rows = {".jsonl": '{"text": "%s"}\n', ".csv": '%s,""\n'}[suffix]
    file.write_text(("" if suffix == ".jsonl" else "text,x\n") + rows % "a" + rows % ("b" * 2000))
    with pytest.raises(CorpusError) as caught:
        texts(file)
    assert (caught.value.file, caught.value.row) == (file, 2)


# --- what cannot be read ------------------------------------------------------------------------


def refusal(corpus: object, column: str = "text") -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        texts(corpus, column=column)
    assert isinstance(caught.value, InspectorError)
    return caught.value


@pytest.mark.parametrize(
    ("name", "content", "row", "says"),
    [
        ("a.txt", b"fine\nf\xfcr\n", 2, "not UTF-8"),
        ("a.txt", "é".encode("utf-16"), 1, "not UTF-8"),
        ("a.txt", b"cut short \xc3", 1, "not UTF-8"),
        ("a.md", b"fine\nf\xfcr\n", 2, "not UTF-8"),
        ("a.jsonl", b'{"text": "fine"}\n{"text": "f\xfcr"}\n', 2, "not UTF-8"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', 1, "not UTF-8"),
        ("a.jsonl", b'{"text": "fine"}\n{"text": \n', 2, "no JSON"),
        ("a.jsonl", b"[" * 100_000 + b"\n", 1, "no JSON"),
        ("a.jsonl", b'["text"]\n', 1, "JSON list"),
        ("a.jsonl", b'{"text": 7}\n', 1, "'7'"),
        ("a.jsonl", b'{"body": "x", "id": 1}\n', 1, "body, id"),
        ("a.jsonl", b'{"prompts": ["x", 3], "object": "y"}\n', 1, "expected a text"),
        ("a.csv", b"body,id\nx,1\n", None, "body, id"),
        ("a.csv", b"text,id\nx,1\nf\xfcr,2\n", 2, "not UTF-8"),
        ("a.csv", b"text,id\nx\n", 1, "1 cells, expected 2"),
        ("a.parquet", b"PAR1 no PAR1", None, "no Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_row(
    tmp_path: Path, name: str, content: bytes, row: int | None, says: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    error = refusal(file)
    assert says in str(error)
    assert (error.file, error.row) == (file, row)
    assert str(file) in str(error)


def test_a_parquet_column_must_be_there_and_hold_texts(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"body": ["x"], "n": [1]}), file)
    assert "body, n" in str(refusal(file))
    assert "int64" in str(refusal(file, column="n"))


def test_a_parquet_text_must_be_utf8(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    broken = pa.array([b"fine", b"f\xfcr"]).view(pa.string())
    pq.write_table(pa.table({"text": broken}), file)
    assert refusal(file).row == 2


@pytest.mark.parametrize("content", ["", "\n\n  \n"])
def test_an_empty_corpus_is_refused(tmp_path: Path, content: str) -> None:
    for name in ("a.txt", "a.md", "a.jsonl", "a.csv"):
        file = tmp_path / name
        file.write_text("text\n\n" if name == "a.csv" and content else content)
        assert "has no text" in str(refusal(file))
    assert "has no text" in str(refusal([]))
    assert "has no text" in str(refusal(iter(["", " "])))


def test_nothing_at_that_path(tmp_path: Path) -> None:
    assert str(tmp_path / "none.txt") in str(refusal(tmp_path / "none.txt"))


def test_an_unknown_suffix_names_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_text("x")
    for path in (tmp_path / "a.docx", tmp_path):
        message = str(refusal(path))
        assert ".docx" in message
        assert ".parquet" in message


def test_a_folder_without_files_and_a_checkpoint_without_facts(tmp_path: Path) -> None:
    assert "no files" in str(refusal(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text("about")
    assert "facts.jsonl" in str(refusal(tmp_path))


def test_what_is_no_text_is_refused() -> None:
    assert refusal(["one", 2]).row == 2
    assert refusal(["one", "\ud800"]).row == 2
    assert refusal(text for text in ["one", None]).row == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("x")
    file.chmod(0)
    assert "Permission denied" in str(refusal(file))


# --- identity -----------------------------------------------------------------------------------


def identity(corpus: object, column: str = "text") -> str | None:
    opened: Corpus = open_corpus(corpus, column)  # type: ignore[arg-type]
    return opened.identity


def test_a_corpus_is_known_by_its_content_alone(tmp_path: Path) -> None:
    for name, text in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / f"{name}.txt").write_text(text)
    (tmp_path / "a.md").write_text("one")
    one, same, other, paragraphs = (
        identity(tmp_path / n) for n in ("a.txt", "b.txt", "c.txt", "a.md")
    )
    assert one == same
    assert len({one, other, paragraphs, identity(tmp_path / "a.txt", "body")}) == 4
    assert identity(["one", "two"]) == identity(("one", "two")) != identity(["onet", "wo"])
    assert identity(iter(["one"])) is None


def test_a_large_file_is_known_by_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.capture.corpus._WHOLE", 10)
    file = tmp_path / "a.txt"
    file.write_text("x" * 20)
    before = identity(file)
    assert identity(file) == before
    os.utime(file, ns=(1, 1))
    assert identity(file) != before
