"""Facts that a user brings: a CSV or JSONL file, or rows pasted into a box, checked row by row.

A row has a subject, a relation, an object, and one or more prompts that the object completes.
Several rows about one fact are its several phrasings. No row is lost in silence: bad ones are
reported with their number in the file, and the good ones are only taken if that is asked for.
"""

from __future__ import annotations

import csv
import io
import json
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pandas as pd

from inspector.analyses.facts import TEMPLATES, Fact, phrasings
from inspector.capture.corpus_readers import is_text
from inspector.errors import FactsError

NEEDED: Final = ("subject", "relation", "object")
COLUMNS: Final = (*NEEDED, "prompt", "prompts", "heldout_prompts")
BETWEEN: Final = " | "  # prompts in one cell
_SHOWN: Final = 10  # bad rows that a message names
_SHAPE: Final = (
    "expected CSV with the columns subject, relation, object and prompt (or prompts, with ' | ' "
    "between them), or a JSON object with these names in each line"
)

Cells = Mapping[str, object]


@dataclass(frozen=True)
class BadRow:
    """A row that is no fact: its line in the text, counted from 1, and what is wrong with it."""

    row: int
    problem: str


@dataclass(frozen=True)
class FactTable:
    """What a table of facts holds: ``facts``, the ``bad`` rows, and ``notes`` on what was done."""

    name: str
    facts: tuple[Fact, ...]
    bad: tuple[BadRow, ...]
    notes: tuple[str, ...]

    def checked(self) -> tuple[Fact, ...]:
        """All its facts.

        Raises:
            FactsError: there are bad rows, or no facts. The message names the first ten rows.
        """
        if self.bad:
            lines = [f"row {bad.row}: {bad.problem}" for bad in self.bad[:_SHOWN]]
            more = len(self.bad) - _SHOWN
            lines += [f"and {more:,} more"] if more > 0 else []
            raise FactsError(
                f"{self.name}: {len(self.bad):,} of its rows cannot be read; "
                f"{_counted(len(self.facts), 'fact')} can. {'; '.join(lines)}.",
                row=self.bad[0].row,
            )
        if not self.facts:
            raise FactsError(f"{self.name} holds no facts; {_SHAPE}.")
        return self.facts

    def to_frame(self) -> pd.DataFrame:
        """One row a fact: relation, subject, object, prompts and held-out prompts."""
        columns = ["relation", "subject", "object", "prompts", "heldout_prompts"]
        return pd.DataFrame([vars(fact) for fact in self.facts], columns=columns)


def read_fact_table(path: Path | str, own: Sequence[Fact] = ()) -> FactTable:
    """The facts in a CSV, TSV or JSONL file; ``own``: those of the checkpoint they are for.

    Raises:
        FactsError: it cannot be read at all: no such file, not UTF-8, no usable columns.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise FactsError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        raise FactsError(
            f"{path} row {row}: found bytes that are not UTF-8; save it as UTF-8.", row=row
        ) from None
    return parse_facts(text, own, name=str(path))


def parse_facts(text: str, own: Sequence[Fact] = (), *, name: str = "The table") -> FactTable:
    """The facts in pasted rows: CSV or TSV, with or without a line of column names, or JSONL.

    Without a line of names the columns are subject, relation, object, prompt. A row without a
    prompt is asked in the words of ``own``, the checkpoint's facts, if these have its relation.

    Raises:
        FactsError: there is no usable column at all.
    """
    rows = _json_rows(text) if text.lstrip().startswith("{") else _csv_rows(text, name)
    gathered = _Gathered(_OwnWords(own))
    for number, cells in rows:
        try:
            if isinstance(cells, str):
                raise FactsError(cells)
            gathered.add(number, cells)
        except FactsError as problem:
            gathered.bad.append(BadRow(number, str(problem).rstrip(".")))
    facts = gathered.facts()
    bad = tuple(sorted(gathered.bad, key=lambda bad: bad.row))
    return FactTable(name, facts, bad, gathered.notes())


def _json_rows(text: str) -> Iterator[tuple[int, Cells | str]]:
    """Each line's object, or what is wrong with the line."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as problem:
            yield number, f"found no JSON ({problem}), expected a JSON object"
            continue
        yield number, cells if isinstance(cells, dict) else "expected a JSON object in each line"


def _csv_rows(text: str, name: str) -> Iterator[tuple[int, Cells | str]]:
    """Each row's cells by column, or what is wrong with it."""
    first = text.lstrip().split("\n", 1)[0]
    mark = max("\t;,", key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=mark, strict=True)
    columns: list[str] | None = None
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            yield number, f"is no CSV: {problem}"
            continue
        if not any(cell.strip() for cell in row):
            continue
        if columns is None:
            columns, was_header = _columns(row, name)
            if was_header:
                continue
        if len(row) > len(columns):
            yield number, f"has {_counted(len(row), 'cell')} for {_counted(len(columns), 'column')}"
            continue
        yield number, dict(zip(columns, row, strict=False))


def _columns(row: Sequence[str], name: str) -> tuple[list[str], bool]:
    """Names of the columns, and whether ``row`` names them."""
    named = [cell.strip().casefold() for cell in row]
    if not set(named) & set(COLUMNS):
        return ["subject", "relation", "object", "prompt"], False
    missing = [column for column in NEEDED if column not in named]
    if missing:
        raise FactsError(f"{name} has no column {' and no column '.join(missing)}; {_SHAPE}.")
    if twice := [column for column, times in Counter(named).items() if times > 1]:
        raise FactsError(
            f"{name} has the column {twice[0]!r} more than once; put {BETWEEN!r} between texts in "
            "one cell, or use a row for each."
        )
    return named, True


@dataclass
class _Gathered:
    """Facts as their rows come in; rows about the same fact add phrasings."""

    words: _OwnWords
    bad: list[BadRow] = field(default_factory=list)
    _found: dict[tuple[str, str], tuple[int, Fact]] = field(default_factory=dict)
    _extra: Counter[str] = field(default_factory=Counter)
    _borrowed: Counter[str] = field(default_factory=Counter)
    _repeated: int = 0

    def add(self, number: int, cells: Cells) -> None:
        """Take one row. Raises FactsError with what is wrong with it."""
        subject, relation, object_ = (_text(cells, name) for name in NEEDED)
        self._extra.update(name for name in cells if name not in COLUMNS)
        prompts = tuple(dict.fromkeys((*_texts(cells, "prompt"), *_texts(cells, "prompts"))))
        heldout = _texts(cells, "heldout_prompts")
        if not prompts:
            prompts, heldout = self.words.ask(relation, subject, heldout)
            self._borrowed[relation] += 1
        key = (relation, subject)
        if key in self._found:
            first, known = self._found[key]
            if known.object != object_:
                raise FactsError(
                    f"says {object_!r}, but row {first} says {known.object!r} for the {relation} "
                    f"of {subject!r}"
                )
            self._repeated += 1
            prompts = tuple(dict.fromkeys((*known.prompts, *prompts)))
            heldout = tuple(dict.fromkeys((*known.heldout_prompts, *heldout)))
            number = first
        self._found[key] = number, Fact(relation, subject, object_, prompts, heldout)

    def facts(self) -> tuple[Fact, ...]:
        """All facts, in the order of their first rows."""
        return tuple(fact for _, fact in self._found.values())

    def notes(self) -> tuple[str, ...]:
        """Sentences on what was done with the rows."""
        notes = [
            f"{_counted(count, 'row')} {'has' if count == 1 else 'have'} no prompt: "
            f"the {relation} is asked in the checkpoint's own words."
            for relation, count in self._borrowed.items()
        ]
        if self._extra:
            named = "Columns that are" if len(self._extra) > 1 else "A column that is"
            notes.append(f"{named} not used: {', '.join(sorted(self._extra))}.")
        if self._repeated:
            add = "adds" if self._repeated == 1 else "add"
            rows = _counted(self._repeated, "row")
            notes.append(f"{rows} {add} phrasings to a fact of an earlier row.")
        return tuple(notes)


class _OwnWords:
    """How the checkpoint's own facts ask for each relation."""

    def __init__(self, own: Sequence[Fact]) -> None:
        self._facts = {(fact.relation, fact.subject): fact for fact in own}
        self._templates = _templates(own)

    def ask(
        self, relation: str, subject: str, heldout: tuple[str, ...]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Prompts and held-out prompts for a fact that came without any."""
        if known := self._facts.get((relation, subject)):
            return known.prompts, heldout or known.heldout_prompts
        templates = self._templates.get(relation)
        if templates is None:
            known_relations = ", ".join(self._templates) or "none"
            raise FactsError(
                f"has no prompt, and {relation!r} is no relation that the checkpoint has words "
                f"for (it has: {known_relations})"
            )
        if relation in TEMPLATES and set(templates) <= set(TEMPLATES[relation]):
            asked = phrasings(relation, subject)  # which knows whose name takes an article
        else:
            asked = tuple(template.replace("{s}", subject) for template in templates)
        return tuple(prompt for prompt in asked if prompt not in heldout), heldout


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _templates(own: Iterable[Fact]) -> dict[str, tuple[str, ...]]:
    """Phrasings of each relation with {s} for the subject, those of at least a tenth of its facts.

    Rarer ones are words about one subject, such as an article that it alone takes.
    """
    counts: dict[str, Counter[str]] = {}
    sizes: Counter[str] = Counter()
    for fact in own:
        sizes[fact.relation] += 1
        seen = counts.setdefault(fact.relation, Counter())
        asked = (*fact.prompts, *fact.heldout_prompts)
        seen.update(p.replace(fact.subject, "{s}") for p in asked if fact.subject in p)
    return {
        relation: found
        for relation, seen in counts.items()
        if (found := tuple(t for t, n in seen.items() if 10 * n >= sizes[relation]))
    }


def _text(cells: Cells, name: str) -> str:
    found = cells.get(name)
    if not isinstance(found, str) or not found.strip() or not is_text(found):
        raise FactsError(f"found {name} = {reprlib.repr(found)}, expected a text in UTF-8")
    return found.strip()


def _texts(cells: Cells, name: str) -> tuple[str, ...]:
    """The prompts in one cell: a list, a JSON list as text, or texts with `` | `` between them."""
    found = cells.get(name)
    if isinstance(found, str) and found.lstrip().startswith("["):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError) as problem:
            said = f"found {name} = {reprlib.repr(found)}, which is no list ({problem})"
            raise FactsError(said) from None
    if isinstance(found, str):
        found = found.split(BETWEEN)
    if found is None:
        return ()
    if not isinstance(found, list) or not all(
        isinstance(item, str) and is_text(item) for item in found
    ):
        raise FactsError(
            f"found {name} = {reprlib.repr(found)}, expected a text or a list of texts in UTF-8"
        )
    return tuple(dict.fromkeys(item.strip() for item in found if item.strip()))
