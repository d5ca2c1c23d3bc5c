"""``inspector convert IN OUT``, and what else foreign checkpoints bring: training's own counts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from inspector.cli.commands import Checkpoint, Device, Json, Tokenizer, app
from inspector.cli.output import say, show, status


@app.command()
def convert(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Argument(help="Directory to write to.", show_default=False)],
    json_file: Json = None,
    device: Device = "cpu",
    tokenizer: Tokenizer = None,
) -> None:
    """Write a checkpoint of another family as a native one, if it fits; the first stays as it is.

    What was written is opened again, and must compute the same logits.
    """
    from inspector.capture.load import load
    from inspector.families.convert import convert as run_convert
    from inspector.families.native_edit import check_out

    check_out(checkpoint, out)
    with status() as tell:
        tell(f"opening {checkpoint}")
        model = load(checkpoint, device, tokenizer=tokenizer)
        last = -1

        def report(done: int, total: int) -> None:
            nonlocal last
            tenth = 10 * done // max(total, 1)
            if tenth != last:
                last = tenth
                tell(f"{done / 1e9:.2f} of {total / 1e9:.2f} GB written")

        made = run_convert(model, out, report)
    table = Table(box=None, pad_edge=False, show_header=False)
    same = "the same bit for bit" if made.error == 0 else f"within {made.error:.0e} (rounding)"
    for name, value in (
        ("from", f"{model.name} ({made.family})"),
        ("tensors", f"{made.tensors}, {made.size / 1e9:.2f} GB"),
        ("logits", same),
    ):
        table.add_row(name, value)
    show(table, made.to_json(), json_file)
    say(f"Written to {out}.")


@app.command("training-reads")
def training_reads(
    checkpoint: Checkpoint,
    counts: Annotated[
        Path | None,
        typer.Option(help="The file of counts; else mem_access_train.npy beside the checkpoint."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Slots shown.")] = 10,
    json_file: Json = None,
    device: Device = "cpu",
    tokenizer: Tokenizer = None,
) -> None:
    """How often training itself read each slot, where a checkpoint ships that: counts, no scan."""
    from inspector.capture.load import load
    from inspector.capture.training_usage import read_training_usage

    found = read_training_usage(load(checkpoint, device, tokenizer=tokenizer), counts)
    table = Table(box=None, pad_edge=False)
    for head in ("slot", "key", "reads in training"):
        table.add_column(head, justify="right")
    for row in found.to_frame().head(top).itertuples():
        table.add_row(str(row.slot), f"({row.i},{row.j})", f"{row.reads:,}")
    show(table, found.to_json(), json_file)
    say(
        f"Training read {found.usage:.1%} of {len(found.counts):,} slots, {found.reads:,} times, "
        f"from {', '.join(found.sites)}. Not known: {'; '.join(found.unknown)}."
    )
