"""The command line: ``inspector trace CHECKPOINT "text"`` and its fellows, without a browser.

What takes seconds to import waits inside the commands, so that ``inspector --help`` is instant.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from inspector.cli import payloads, tables
from inspector.cli.output import progress, say, show, status
from inspector.errors import (
    CheckpointError,
    InspectorError,
    PromptError,
    SelfCheckFailed,
)

app = typer.Typer(
    help="Look inside product-key memory layers of trained transformers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Checkpoint = Annotated[
    Path, typer.Argument(help="A checkpoint: its directory or file.", show_default=False)
]
Tokenizer = Annotated[
    Path | None, typer.Option(help="Its tokenizer's file, where it doesn't bring one.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
Json = Annotated[
    Path | None,
    typer.Option("--json", help="Write it as JSON, too; - for standard output, and that alone."),
]
Facts = Annotated[
    Path | None, typer.Option("--facts", help="Ask these facts, not the checkpoint's own.")
]
Routing = Annotated[
    str | None,
    typer.Option(help="Of Doge: token (each by itself, as it writes), or full (as in one pass)."),
]
Seed = Annotated[int, typer.Option(help="Decides which phrasings and facts are drawn.")]


@app.callback()
def options(
    context: typer.Context,
    allow_loader: Annotated[
        bool,
        typer.Option(
            "--allow-loader",
            help="Let a checkpoint be module:function, a loader of your own that is called: it "
            "returns a model and its tokenizer.",
        ),
    ] = False,
) -> None:
    """What holds for all commands."""
    if allow_loader:
        from inspector.capture.loaders import allow_loaders, forbid_loaders

        token = allow_loaders()
        context.call_on_close(lambda: forbid_loaders(token))


def main() -> None:
    """Run the command line; what the user can set right is one sentence on stderr, and exit 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without · is no reason to fail
    try:
        app()
    except InspectorError as error:
        say(f"inspector: {error}")
        sys.exit(2)


@app.command()
def trace(
    checkpoint: Checkpoint,
    text: Annotated[str, typer.Argument(help="The prompt.", show_default=False)],
    json_file: Json = None,
    device: Device = "auto",
    top: Annotated[int, typer.Option(min=1, help="Predictions, and reads a site, shown.")] = 5,
    tokenizer: Tokenizer = None,
    routing: Routing = None,
) -> None:
    """What fires on a text: for every token its predictions and each site's strongest reads."""
    from inspector.capture.load import load
    from inspector.capture.trace import trace as run_trace

    try:
        text.encode()
    except UnicodeEncodeError:
        raise PromptError("The prompt is not valid UTF-8. Type it as text.") from None
    model = load(checkpoint, device, tokenizer=tokenizer, routing=routing)
    found = run_trace(model, text)
    best = payloads.predictions(model, found, top)
    show(tables.of_trace(found, best, top), payloads.of_trace(found, best), json_file)


@app.command()
def check(
    checkpoint: Checkpoint,
    json_file: Json = None,
    device: Device = "auto",
    tokenizer: Tokenizer = None,
    routing: Routing = None,
) -> None:
    """What was opened, and whether its parts add up to what the model computes."""
    from inspector.capture.load import load, self_check

    model = load(checkpoint, device, tokenizer=tokenizer, routing=routing)
    result = self_check(model)
    payload = payloads.of_check(model, result)
    show(tables.of_check(payload, model), payload, json_file)
    if not result.passed:
        raise SelfCheckFailed(
            f"The self-check of {model.name} failed: what its reads add up to is further than "
            f"{result.tolerance:.0e} from what the model computes, so its traces can't be trusted."
        )


@app.command()
def evaluate(
    checkpoint: Checkpoint,
    facts_file: Facts = None,
    json_file: Json = None,
    device: Device = "auto",
    seed: Seed = 0,
    gates: Annotated[bool, typer.Option(help="Also scan for every slot's mean gate.")] = True,
) -> None:
    """Measure a checkpoint on its facts: metrics.json, README.md and mean gates beside it."""
    from inspector.training.report import evaluate_checkpoint

    with status() as tell:
        metrics = evaluate_checkpoint(
            checkpoint, facts=facts_file, device=device, seed=seed, gates=gates, tell=tell
        )
    show(tables.of_bars(metrics), metrics.to_json(), json_file)


@app.command()
def revive(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Argument(help="Directory to write to.", show_default=False)],
    corpus: Annotated[
        Path | None, typer.Argument(help="Text to scan; else the checkpoint's own facts.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Scan so many, judge on a quarter as many.")
    ] = None,
    json_file: Json = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Decides what is held out, and the clusters.")] = 0,
) -> None:
    """Write a copy whose dead half-keys start anew where the queries are, if little else changes.

    As many are revived as leave the predictions on held-out text alone: at least half of them are
    read there, KL is at most 0.01 nats a token, and recall falls by at most 0.5 points.
    """
    from inspector.analyses.revive import revive as run_revive
    from inspector.analyses.revive import write_revived
    from inspector.capture.load import load
    from inspector.families.native_edit import check_out

    check_out(checkpoint, out)
    model = load(checkpoint, device)
    with status() as tell:
        outcome = run_revive(model, corpus or checkpoint, tokens, seed=seed, tell=tell)
        if outcome.plan is not None:
            tell(f"writing {out}")
            write_revived(model, outcome, out)
    show(tables.of_revival(outcome), outcome.to_json(), json_file)
    if outcome.plan is None:
        raise CheckpointError(f"{outcome.message} Nothing was written.")
    say(outcome.message)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A TOML file of settings.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Directory to train into.", show_default=False)],
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    measure: Annotated[
        bool, typer.Option("--evaluate/--no-evaluate", help="Measure it at the end.")
    ] = True,
    monitor: Annotated[
        int, typer.Option(min=0, help="Record how the memory is used every so many steps; 0: not.")
    ] = 50,
) -> None:
    """Train a checkpoint; killed or stopped, the same command goes on from where it was."""
    import torch

    from inspector.capture.load import choose_device
    from inspector.training.config import read_config
    from inspector.training.trainer import train as run_training

    settings = read_config(config)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with progress("training") as report:
            run_training(
                settings,
                out,
                device=str(choose_device(device)),
                report=lambda now: report(now.step, now.steps, now.in_words),
                monitor_every=monitor,
            )
    except KeyboardInterrupt:
        say("Stopped. The same command goes on from here.")
        raise typer.Exit(130) from None
    if measure:
        evaluate(out, device=device)
