"""``inspector facts CHECKPOINT [FACTS]``: what is recalled, where it lives, and the proof."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from inspector.capture.visible_text import visible_text
from inspector.cli.commands import Checkpoint, Device, Json, Seed, app
from inspector.cli.output import progress, say, show
from inspector.errors import CacheError, FactsError

if TYPE_CHECKING:
    import pandas as pd

    from inspector.analyses.fact_recall import FactRecall
    from inspector.analyses.facts import Fact
    from inspector.analyses.locate import FactReport
    from inspector.analyses.proof import Proof
    from inspector.analyses.proof_sample import ProofSample
    from inspector.families.base import MemoryModel

_PIPE_EVERY_S: Final = 30.0
_READS: Final = 12  # strongest reads that a report prints

FactsFile = Annotated[
    Path | None,
    typer.Argument(help="A .csv, .tsv or .jsonl of facts; else the checkpoint's own."),
]
Named = Annotated[Path | None, typer.Option("--facts", help="The same, as an option.", hidden=True)]
Out = Annotated[Path | None, typer.Option(help="Write the rows as .parquet, .csv or .json, too.")]


@app.command()
def facts(  # noqa: PLR0913, PLR0917  an option each
    checkpoint: Checkpoint,
    facts_file: FactsFile = None,
    named: Named = None,
    subject: Annotated[
        str | None, typer.Option("--locate", help="Report where the fact of a subject lives.")
    ] = None,
    relation: Annotated[str | None, typer.Option(help="Which of its facts.")] = None,
    count: Annotated[
        int | None, typer.Option("--prove", min=1, help="Prove so many facts, drawn at random.")
    ] = None,
    scope: Annotated[
        str, typer.Option(help="What of a slot is ablated: table, site, head or read.")
    ] = "table",
    keep_good: Annotated[
        bool, typer.Option("--keep-good", help="Take the good rows of a file with bad ones.")
    ] = False,
    out: Out = None,
    json_file: Json = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """How many facts are recalled, whole answers: in phrasings seen in training, and held out.

    With --locate, where one fact lives and the proof; with --prove, that proof over many facts.
    """
    from inspector.analyses.ablations import SCOPES
    from inspector.capture.load import load

    if scope not in SCOPES:
        raise FactsError(f"There is no scope {scope!r}: choose {', '.join(SCOPES)}.")
    if subject is not None and count is not None:
        raise FactsError("--locate is about one fact, --prove about many: choose one of the two.")
    _check_out(out)
    asked = _facts(checkpoint, facts_file or named, keep_good)
    model = load(checkpoint, device)
    if subject is not None:
        _locate(model, asked, subject, relation, scope, seed, out, json_file)
    elif count is not None:
        _prove_many(model, asked, count, scope, seed, out, json_file)
    else:
        _recall(model, asked, seed, out, json_file)


def _facts(checkpoint: Path, named: Path | None, keep_good: bool) -> tuple[Fact, ...]:
    """The facts of the file, or the checkpoint's own."""
    from inspector.analyses.fact_tables import read_fact_table
    from inspector.training.report import checkpoint_facts

    if named is None:
        return checkpoint_facts(checkpoint)
    if not named.is_file():
        raise FactsError(f"There is no {named}: name a file of facts to ask for.")
    try:
        own: tuple[Fact, ...] = checkpoint_facts(checkpoint)
    except FactsError:
        own = ()  # a checkpoint without facts lends no words to rows without a prompt
    table = read_fact_table(named, own)
    for note in table.notes:
        say(note)
    if not keep_good or not table.facts:
        return table.checked()
    for bad in table.bad:
        say(f"left out: row {bad.row}: {bad.problem}")
    return table.facts


# --- recall -------------------------------------------------------------------------------------


def _recall(
    model: MemoryModel, asked: Sequence[Fact], seed: int, out: Path | None, json_file: Path | None
) -> None:
    from inspector.analyses.fact_recall import recall_facts

    with progress("asking") as report:
        found = recall_facts(model, asked, seed=seed, report=report)
    _write(out, found.to_frame())
    show(_recall_table(found), found.to_json(), json_file)


def _recall_table(found: FactRecall) -> Table:
    head = (
        *("relation", "facts", "recall", "held-out recall", "probability", "held-out probability"),
        *("median rank", "held-out rank"),
    )
    fields = ("probability", "heldout_probability", "rank", "heldout_rank")
    rows = [
        (
            name,
            f"{rates['n']:,}",
            *(_number(rates[field], 3) for field in ("recall", "heldout_recall", *fields[:2])),
            *(_number(rates[field], 0) for field in fields[2:]),
        )
        for name, rates in found.by_relation().items()
    ]
    return _table(head, rows)


# --- one fact -----------------------------------------------------------------------------------


def _locate(
    model: MemoryModel,
    asked: Sequence[Fact],
    subject: str,
    relation: str | None,
    scope: str,
    seed: int,
    out: Path | None,
    json_file: Path | None,
) -> None:
    from inspector.analyses.locate import find_fact, locate
    from inspector.analyses.proof import prove

    fact = find_fact(asked, subject, relation)
    found = locate(model, fact, scope=scope, seed=seed)  # type: ignore[arg-type]  # checked
    proofs = {
        kind: prove(model, asked, found, kind, seed=seed)
        for kind, core in found.cores.items()
        if core.members
    }
    _write(out, found.to_frame())
    payload = {**found.to_json(), "proofs": {kind: p.to_json() for kind, p in proofs.items()}}
    show(_reads_table(found), payload, json_file)
    say(found.summary())
    for proof in proofs.values():
        say(_in_words(proof))


def _in_words(proof: Proof) -> str:
    swaps = [
        f"With the reads of {visible_text(swap.donor)} it "
        f"{'says' if swap.says_donor else 'does not say'} {visible_text(swap.answer)}."
        for swap in proof.swaps
    ]
    return " ".join([proof.verdict(), *swaps])


def _reads_table(found: FactReport) -> Table:
    """The strongest reads, and which of them are in a core set."""
    head = ("prompt", "token", "read", "direct", "first order", "exact", "core set")
    rows = []
    for row in found.to_frame().head(_READS).to_dict("records"):
        cores = [kind for kind in found.cores if row[f"in_{kind}_core"]]
        rows.append(
            (
                visible_text(str(row["prompt"])),
                visible_text(str(row["token"])),
                str(row["address"]),
                *(_number(row[name], 3) for name in ("direct", "margin", "exact")),
                ", ".join(cores),
            )
        )
    return _table(head, rows)


# --- many facts ---------------------------------------------------------------------------------


def _prove_many(
    model: MemoryModel,
    asked: Sequence[Fact],
    count: int,
    scope: str,
    seed: int,
    out: Path | None,
    json_file: Path | None,
) -> None:
    from inspector.analyses.proof_sample import prove_many

    with progress("proving") as report:
        found = prove_many(
            model,
            asked,
            count,
            scope=scope,  # type: ignore[arg-type]  # checked
            seed=seed,
            report=report,
        )
    _write(out, found.to_frame())
    show(_proof_table(found), found.to_json(), json_file)


def _proof_table(found: ProofSample) -> Table:
    """One column an ablation, one line a measure."""
    summary = found.summary().set_index("kind")
    lines: list[tuple[str, ...]] = []
    for name in summary.columns:
        digits = 0 if name in _COUNTS else 3
        lines.append((name.replace("_", " "), *(_number(v, digits) for v in summary[name])))
    return _table(("", *map(str, summary.index)), lines)


_COUNTS: Final = frozenset(
    ("facts", "proven", "not_proven", "no_core_set", "unknown", "no_phrasing_left", "slots")
)


# --- output -------------------------------------------------------------------------------------


def _number(value: Any, digits: int) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in head:
        table.add_column(Text(column))
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _check_out(out: Path | None) -> None:
    if out is not None and out.suffix not in _WRITERS:
        raise FactsError(
            f"--out {out} names no format that is written: end it in {', '.join(_WRITERS)}."
        )


def _write(out: Path | None, frame: pd.DataFrame) -> None:
    if out is None:
        return
    try:
        _WRITERS[out.suffix](frame, out)
    except OSError as error:
        raise CacheError(f"{out} cannot be written: {error.strerror or error}.") from None


_WRITERS: Mapping[str, Callable[[pd.DataFrame, Path], object]] = {
    ".parquet": lambda frame, out: frame.to_parquet(out, index=False),
    ".csv": lambda frame, out: frame.to_csv(out, index=False),
    ".json": lambda frame, out: frame.to_json(out, orient="records", force_ascii=False),
}
