"""``inspector scan CHECKPOINT CORPUS``: which slots a corpus reads, with progress."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from inspector.cli.commands import Checkpoint, Device, Json, Tokenizer, app
from inspector.cli.output import progress, say, show, stop_once

if TYPE_CHECKING:
    import pandas as pd

    from inspector.analyses.usage_measures import UsageMeasures
    from inspector.analyses.verdicts import Verdicts
    from inspector.capture.usage import Usage
    from inspector.families.base import MemoryModel

_HEAD: Final = ("", "reads", "slots read", "of", "usage", "unevenness", "effective slots", "Gini")
_LISTED: Final = 20
_FIELDS: Final = (
    *("reads", "slots_read", "slots", "usage"),
    *("unevenness", "effective_slots", "gini"),
)


@app.command()
def scan(  # noqa: PLR0913, PLR0917  an option each
    checkpoint: Checkpoint,
    corpus: Annotated[
        Path,
        typer.Argument(
            help="A .txt, .md, .jsonl, .csv or .parquet, a folder of them, or a checkpoint: "
            "its own facts.",
            show_default=False,
        ),
    ],
    tokens: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    column: Annotated[str, typer.Option(help="Where the text is, in files with columns.")] = "text",
    seed: Annotated[int, typer.Option(help="Decides which reads are drawn as samples.")] = 0,
    text: Annotated[
        str | None, typer.Option(help="List the slots that it reads and the corpus rarely does.")
    ] = None,
    json_file: Json = None,
    device: Device = "auto",
    tokenizer: Tokenizer = None,
) -> None:
    """Which slots a corpus reads, and how evenly; Ctrl-C keeps what was counted until then."""
    from inspector.analyses.dead_keys import headline
    from inspector.analyses.usage_measures import measure_usage
    from inspector.analyses.verdicts import judge_usage
    from inspector.capture.corpus import open_corpus
    from inspector.capture.load import load
    from inspector.capture.scan import scan as run_scan

    source = open_corpus(corpus, column)
    model = load(checkpoint, device, tokenizer=tokenizer)
    with stop_once() as stopped, progress("scanning") as report:
        usage = run_scan(
            model,
            source,
            tokens,
            seed=seed,
            report=lambda now: report(now.tokens, now.total, now.in_words),
            cancel=stopped,
        )
    for note in usage.notes:
        say(note)
    if stopped():
        say(f"Stopped after {usage.tokens:,} tokens. The same command goes on from the last save.")
    measures, verdicts = measure_usage(usage), judge_usage(usage)
    payload = _payload(usage, measures, verdicts)
    specific = {} if text is None else _specific(model, text, usage)
    if specific:
        payload["specific"] = {table: rows.to_dict("records") for table, rows in specific.items()}
    found = (_specific_table(table, rows) for table, rows in specific.items())
    show(Group(_table(usage, measures), *found), payload, json_file)
    for table in usage.tables:
        say(headline(usage, verdicts, table))


def _payload(
    usage: Usage, measures: tuple[UsageMeasures, ...], verdicts: Verdicts
) -> dict[str, Any]:
    """What was scanned, and per table how it was used and what became of its values."""
    return {
        "fingerprint": usage.fingerprint,
        "corpus": usage.corpus,
        "complete": usage.complete,
        "seed": usage.seed,
        "notes": list(usage.notes),
        **_evidence(usage),
        "reads": usage.reads,
        "tables": {
            str(table.table): {
                **_evidence(usage),
                **_measured(usage, table),
                "verdicts": verdicts.counts(table.table),
                "sites": {
                    site.site: _measured(usage, site)
                    for site in measures
                    if site.level == "site" and site.table == table.table
                },
            }
            for table in measures
            if table.level == "table"
        },
    }


def _evidence(usage: Usage) -> dict[str, int]:
    return {
        "tokens": usage.tokens,
        "contexts": usage.distinct_contexts,
        "documents": usage.documents,
    }


def _measured(usage: Usage, measures: UsageMeasures) -> dict[str, Any]:
    """Reads, and how they spread over the slots; what has no value is null."""
    slots = measures.parts["slots", "counted"]
    plain = {
        "reads": _reads(usage, measures),
        "slots": slots.items,
        "slots_read": slots.read,
        "usage": slots.usage,
        "unevenness": slots.unevenness,
        "effective_slots": slots.effective,
        "gini": slots.gini,
    }
    return {name: None if math.isnan(value) else value for name, value in plain.items()}


def _reads(usage: Usage, measures: UsageMeasures) -> int:
    """Reads of one table, or of one site of it."""
    sites = [
        (name, site) for name, site in usage.sites.items() if site.site.table == measures.table
    ]
    return int(sum(s.reads.sum() for name, s in sites if measures.site in (None, name)))


def _table(usage: Usage, measures: tuple[UsageMeasures, ...]) -> Table:
    """A line for each value table, and for each site that reads it."""
    about = (
        f"{usage.tokens:,} tokens of {usage.documents:,} documents, "
        f"{usage.distinct_contexts:,} distinct contexts"
    )
    table = Table(box=None, pad_edge=False, caption=Text(about), caption_justify="left")
    for number, name in enumerate(_HEAD):
        table.add_column(name, justify="right" if number else "left")
    for each in measures:
        if each.level != "head":
            row = _measured(usage, each)
            name = f"table {each.table}" if each.site is None else f"  {each.site}"
            table.add_row(name, *(_number(row[field]) for field in _FIELDS))
    return table


def _specific(model: MemoryModel, text: str, usage: Usage) -> dict[str, pd.DataFrame]:
    """By value table: the slots that ``text`` reads, the most specific first (TF-IDF)."""
    from inspector.analyses.token_search import slots_for_text

    found = {}
    for number in usage.tables:
        info = model.site(model.sites_of(number)[0]).info
        rows = slots_for_text(model, text, usage, number).to_frame()
        rows.insert(1, "key", [list(info.pair(int(slot))) for slot in rows["slot"]])
        found[str(number)] = rows
    return found


def _specific_table(number: str, rows: pd.DataFrame) -> Group:
    """The slots of one table that a text reads most specifically."""
    more = f"; the {_LISTED} most specific:" if len(rows) > _LISTED else ":"
    table = Table(box=None, pad_edge=False)
    for name in ("slot", "key", "reads", "documents", "TF-IDF"):
        table.add_column(name, justify="right")
    for row in rows.head(_LISTED).to_dict("records"):
        (i, j), documents = row["key"], row["background_documents"]
        cells = (f"{row['slot']}", f"({i},{j})", f"{row['reads']:,}", f"{documents:,}")
        table.add_row(*cells, f"{row['score']:.4f}")
    said = f"\nThe text reads {len(rows):,} slots of table {number}{more}"
    return Group(Text(said), table)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"
