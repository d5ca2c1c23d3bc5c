"""``inspector sweep CONFIG RESULTS``: what memory buys, run after run, killable at any time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from inspector.cli.commands import Json, app
from inspector.cli.output import progress, say, show

if TYPE_CHECKING:
    from inspector.analyses.sweep_results import SweepResults

_HEAD: Final = ("model", "seed", "recall", "held out", "nats", "held out", "flops", "parameters")


@app.command()
def sweep(
    config: Annotated[Path, typer.Argument(help="A TOML file of the sweep.", show_default=False)],
    results: Annotated[Path, typer.Argument(help="The JSON of its runs.", show_default=False)],
    work: Annotated[
        Path | None, typer.Option(help="Where checkpoints lie; else the cache folder.")
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(min=0, help="Stop after so many runs; 0: only time the models anew."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    supersede: Annotated[
        bool, typer.Option(help="Keep runs of another configuration apart and start anew.")
    ] = False,
    json_file: Json = None,
) -> None:
    """Train memories of several sizes and dense models matched to them; what does memory buy?

    Every finished run is written down at once; stopped or killed, the same command goes on.
    """
    from inspector.capture.cache import cache_folder
    from inspector.training.sweep import set_threads, time_models
    from inspector.training.sweep import sweep as run_sweep
    from inspector.training.sweep_config import read_sweep_config

    settings = read_sweep_config(config)
    set_threads(threads)
    folder = work or cache_folder() / "sweeps"
    try:
        if most != 0:
            with progress("sweep") as report:
                found = run_sweep(
                    settings,
                    results,
                    folder,
                    most=most,
                    supersede=supersede,
                    report=lambda run, now: report(
                        now.step, now.steps, f"{run.config.name}: {now.in_words}"
                    ),
                    tell=say,
                )
        if most == 0 or not (found.missing or found.times):
            found = time_models(settings, results, folder, say)
    except KeyboardInterrupt:
        say("Stopped. The same command goes on from here.")
        raise typer.Exit(130) from None
    show(_table(found), found.to_json(), json_file)


def _table(found: SweepResults) -> Table:
    """A line for each finished run; what is missing below."""
    missing = ", ".join(f"{model} seed {seed}" for model, seed in found.missing)
    caption = f"Not made yet: {missing}." if missing else "All runs are made."
    table = Table(box=None, pad_edge=False, caption=Text(caption), caption_justify="left")
    for name in _HEAD:
        table.add_column(name, justify="left" if name == "model" else "right")
    for run in found.runs:
        table.add_row(
            run.model,
            str(run.seed),
            f"{run.seen.recall:.3f}",
            f"{run.heldout.recall:.3f}",
            f"{run.seen.nll:.3f}",
            f"{run.heldout.nll:.3f}",
            f"{run.flops['total']:,}",
            f"{run.parameters['total']:,}",
        )
    return table
