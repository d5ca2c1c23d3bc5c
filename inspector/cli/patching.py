"""``inspector patch make``, ``show`` and ``apply``: edits of facts that can be kept and sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from inspector.cli.commands import Checkpoint, Device, Facts, Json, app
from inspector.cli.output import say, show, status
from inspector.errors import EditError, FactsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inspector.analyses.edit_measures import EditFigures
    from inspector.analyses.fact_edit import EditStep, FactEdit
    from inspector.analyses.facts import Fact
    from inspector.analyses.patches import Patch

patches = typer.Typer(help="Changes of a few values that are kept beside a checkpoint.")
app.add_typer(patches, name="patch", no_args_is_help=True)

PatchFile = Annotated[Path, typer.Argument(help="A patch.", show_default=False)]


@patches.command()
def make(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Argument(help="File to write the patch to.", show_default=False)],
    about: Annotated[
        str, typer.Option("--fact", help='Which fact: "capital of France".', show_default=False)
    ],
    answer: Annotated[str | None, typer.Option(help="What to say; else it's forgotten.")] = None,
    why: Annotated[str, typer.Option(help="Kept in the patch.")] = "",
    facts_file: Facts = None,
    json_file: Json = None,
    device: Device = "auto",
) -> None:
    """Change a fact by a few values, and keep them as a patch if all phrasings then say so."""
    from inspector.analyses.edit_measures import Surroundings
    from inspector.analyses.make_it_say import forget, make_it_say
    from inspector.analyses.patch_files import write_patch
    from inspector.analyses.patches import patch_of_fact
    from inspector.analyses.specific_slots import background_usage
    from inspector.capture.load import load
    from inspector.training.report import checkpoint_facts

    if out.exists():
        raise EditError(f"{out} is there already. Name another file, or delete it.")
    if checkpoint.is_dir() and checkpoint.resolve() in out.resolve().parents:
        raise EditError(f"{out} lies in the checkpoint, which is never written to. Name another.")
    facts = checkpoint_facts(checkpoint, facts_file)
    fact = _find(facts, about)
    model = load(checkpoint, device)
    with status() as tell:
        tell("which slots its facts read (once for a checkpoint)")
        around = Surroundings(facts, background_usage(model))

        def report(step: EditStep) -> None:
            tell(
                f"step {step.step} of at most {step.steps}: {step.said} of {step.phrasings} say so"
            )

        found = (
            forget(model, fact, around, report=report)
            if answer is None
            else make_it_say(model, fact, answer, around, report=report)
        )
    show(_table_of_edit(found), found.to_json(), json_file)
    if not found.reached:
        raise EditError(f"{found.message} Nothing was written.")
    write_patch(out, patch_of_fact(model, found, why))
    say(f"{found.message} Written to {out}.")


@patches.command("show")
def show_patch(patch: PatchFile, json_file: Json = None) -> None:
    """What a patch is for, when it was made, for which checkpoint, and which slots it changes."""
    from inspector.analyses.patch_files import read_patch

    found = read_patch(patch)
    show(_table_of_patch(found), found.to_json(), json_file)


@patches.command()
def apply(
    checkpoint: Checkpoint,
    files: Annotated[
        list[Path],
        typer.Argument(help="Patches in their order, then the directory to write to."),
    ],
    later_wins: Annotated[
        bool, typer.Option("--later-wins", help="Where two change a slot, take the later's value.")
    ] = False,
    json_file: Json = None,
) -> None:
    """Write a new checkpoint that holds what the patches say; the first one stays as it is."""
    from inspector.analyses.patch_apply import apply_patches
    from inspector.analyses.patch_files import read_patch

    if len(files) < 2:
        raise EditError("Name at least one patch, and then the directory to write to.")
    *named, out = files
    done = apply_patches(
        checkpoint, [read_patch(file) for file in named], out, later_wins=later_wins
    )
    show(_table_of_patch(done), done.to_json(), json_file)
    say(f"{len(done)} values changed. Written to {out}.")


def _find(facts: Sequence[Fact], about: str) -> Fact:
    relation, _, subject = about.partition(" of ")
    for fact in facts:
        if (fact.relation, fact.subject) == (relation, subject):
            return fact
    relations = sorted({fact.relation for fact in facts})
    if relation not in relations:
        raise FactsError(
            f"{about!r} is no fact. Name one as in 'capital of France'; relations are: "
            f"{', '.join(relations)}."
        )
    raise FactsError(f"No fact tells the {relation} of {subject!r}.")


def _table_of_patch(patch: Patch) -> Table:
    table = _plain()
    rows: dict[str, Any] = {
        "what": patch.what,
        "why": patch.why or "–",
        "when": patch.when,
        "made for": f"{patch.checkpoint} ({patch.fingerprint[:12]})",
    }
    for part in patch.tables:
        some = ", ".join(map(str, part.slots[:12].tolist()))
        more = ", ..." if len(part.slots) > 12 else ""
        rows[f"table {part.table}"] = f"{len(part.slots)} slots: {some}{more}"
    for name, value in rows.items():
        table.add_row(name, Text(str(value)))
    return table


def _table_of_edit(edit: FactEdit) -> Table:
    table = _plain("", "before", "after")
    for name, field in (
        ("efficacy", "efficacy"),
        ("generality", "generality"),
        ("locality", "locality"),
        ("probability", "probability"),
    ):
        table.add_row(name, *(_share(each, field) for each in (edit.before, edit.figures)))
    figures = edit.figures
    before, after = figures.perplexity_before, figures.perplexity_after
    table.add_row("perplexity", f"{before:.3f}", f"{after:.3f}")
    return table


def _share(figures: EditFigures, field: str) -> str:
    value = getattr(figures, field)
    return "–" if value is None else f"{value:.1%}"


def _plain(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, show_header=bool(heads))
    for head in heads or ("", ""):
        table.add_column(head)
    return table
