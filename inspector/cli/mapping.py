"""``inspector map CHECKPOINT``: where the values of a table lie, with progress."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from inspector.cli.commands import Checkpoint, Device, Json, Tokenizer, app
from inspector.cli.output import progress, say, show, stop_once
from inspector.errors import CacheError, Cancelled

if TYPE_CHECKING:
    from inspector.analyses.value_map import ValueMap
    from inspector.capture.usage import Usage
    from inspector.families.base import MemoryModel

_WRITERS: Final = {".parquet": "to_parquet", ".csv": "to_csv"}


class _Metric(StrEnum):
    COSINE = "cosine"
    EUCLIDEAN = "euclidean"


class _Clusters(StrEnum):
    KMEANS = "kmeans"
    HDBSCAN = "hdbscan"


@app.command("map")
def map_values(  # noqa: PLR0913  each is an option of the command line
    checkpoint: Checkpoint,
    *,
    site: Annotated[
        str | None, typer.Option(help="Contributions at L2, say; else the value rows.")
    ] = None,
    table: Annotated[int | None, typer.Option(min=0, help="Number of the value table.")] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(help="Scan it, so that slots it reads come first where not all have a place."),
    ] = None,
    points: Annotated[int, typer.Option(min=1, help="Slots at most; drawn at random.")] = 50_000,
    seed: Annotated[int, typer.Option(min=0, help="Of everything drawn at random.")] = 0,
    neighbours: Annotated[int, typer.Option(min=1, help="Nearest values of each.")] = 15,
    min_dist: Annotated[float, typer.Option(min=0, max=1, help="How close they may lie.")] = 0.1,
    metric: Annotated[_Metric, typer.Option(help="What near means.")] = _Metric.COSINE,
    clusters: Annotated[_Clusters, typer.Option(help="How they are found.")] = _Clusters.KMEANS,
    cluster_count: Annotated[int | None, typer.Option(min=1, help="Of k-means.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the points there: .parquet or .csv.")
    ] = None,
    json_file: Json = None,
    device: Device = "auto",
    tokenizer: Tokenizer = None,
) -> None:
    """Where the values of a table lie, and what their clusters are about; Ctrl-C keeps nothing."""
    from inspector.analyses.value_map import value_map
    from inspector.capture.load import load

    if out is not None and out.suffix not in _WRITERS:
        raise CacheError(f"{out} ends in neither .parquet nor .csv: a map is written as one.")
    model = load(checkpoint, device, tokenizer=tokenizer)
    with stop_once() as stopped:
        usage = None if corpus is None else _scanned(model, corpus, stopped)
        with progress("mapping") as report:
            found = value_map(
                model,
                site,
                table=table,
                usage=usage,
                points=points,
                seed=seed,
                near=neighbours,
                min_dist=min_dist,
                metric=metric.value,
                clusters=clusters.value,
                cluster_count=cluster_count,
                report=lambda stage, share: report(share, 1.0, stage),
                cancel=stopped,
            )
    _tell(found, out, json_file)


def _tell(found: ValueMap, out: Path | None, json_file: Path | None) -> None:
    for note in found.notes:
        say(note)
    if out is not None:
        _write(out, found)
    show(_table(found), _payload(found), json_file)


def _scanned(model: MemoryModel, corpus: Path, stopped: Callable[[], bool]) -> Usage:
    from inspector.capture.corpus import open_corpus
    from inspector.capture.scan import scan

    usage = scan(model, open_corpus(corpus), cancel=stopped)
    if stopped():
        raise Cancelled("Stopped while scanning; the same command goes on from there.")
    return usage


def _write(out: Path, found: ValueMap) -> None:
    from inspector.capture.cache import replacing

    with replacing(out) as temporary:
        getattr(found.to_frame(), _WRITERS[out.suffix])(temporary, index=False)


def _payload(found: ValueMap) -> dict[str, Any]:
    """A summary; the points are written with ``--out``."""
    sizes = _sizes(found)
    return {
        "fingerprint": found.fingerprint,
        "table": found.table,
        "site": found.site,
        "points": len(found.slots),
        "total": found.total,
        "sampled": found.sampled,
        "seed": found.seed,
        "neighbours": found.neighbours.shape[1],
        "min_dist": found.settings.min_dist,
        "metric": found.settings.metric,
        "graph": found.graph,
        "trustworthiness": None if math.isnan(found.trustworthiness) else found.trustworthiness,
        "trust_k": found.trust_k,
        "named_by": found.named_by,
        "clusters": [
            {"name": name, "points": size}
            for name, size in zip(found.cluster_names, sizes, strict=True)
        ],
        "unclustered": len(found.slots) - sum(sizes),
        "notes": list(found.notes),
    }


def _sizes(found: ValueMap) -> list[int]:
    return [int((found.clusters == number).sum()) for number in range(len(found.cluster_names))]


def _table(found: ValueMap) -> Table:
    """A line for each cluster."""
    what = "value rows" if found.site is None else f"contributions at {found.site}"
    trust = (
        "too few points to say how far it can be trusted"
        if math.isnan(found.trustworthiness)
        else f"trustworthiness {found.trustworthiness:.3f} at {found.trust_k} neighbours"
    )
    drawn = found.sampled or f"all {found.total:,} slots"
    named = found.named_by or "none, nothing says what they decode to"
    lines = (
        f"{what} of table {found.table}, {drawn}",
        f"{trust}; graph {found.graph}",
        f"names: {named}",
    )
    table = Table(
        box=None,
        pad_edge=False,
        expand=True,
        caption=Text("\n".join(lines)),
        caption_justify="left",
    )
    table.add_column("cluster")
    table.add_column("points", justify="right")
    table.add_column("", ratio=1)  # the caption is as wide as the table
    for name, size in zip(found.cluster_names, _sizes(found), strict=True):
        table.add_row(Text(name), f"{size:,}", "")
    return table
