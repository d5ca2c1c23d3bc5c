"""Snapshots of a training as points over its steps: recall, and once scanned their usage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import streamlit as st

from inspector.ui import state
from inspector.ui.components import sentence
from inspector.ui.jobs import Job, jobs, watch
from inspector.ui.training_curves import ALL_SITES, four_charts, pick_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from inspector.analyses.snapshots import Snapshot

_CORPUS: Final = "run corpus"


def show(snapshots: Sequence[Snapshot]) -> None:
    """Recall over the steps where it was measured, and usage once the snapshots are scanned."""
    import pandas as pd

    from inspector.figures.training import steps_figure

    _headline(snapshots)
    table = pd.DataFrame(
        {
            "step": [each.step for each in snapshots],
            "checkpoint": [each.path.name for each in snapshots],
            "recall": [each.recall for each in snapshots],
            "heldout": [each.heldout_recall for each in snapshots],
        }
    )
    chart, rows = st.columns([3, 2])
    with chart.container(border=True, height="stretch"):
        st.subheader(
            "Recall of all facts",
            anchor=False,
            help="As `inspector evaluate` wrote it to metrics.json beside each checkpoint.",
        )
        curves = {
            name: table.dropna(subset=[column]).rename(columns={column: "rate"})
            for name, column in (("seen phrasing", "recall"), ("held-out phrasing", "heldout"))
        }
        if all(each.empty for each in curves.values()):
            st.caption("Not measured: `inspector evaluate` does it.")
        else:
            figure = steps_figure(curves, "rate", "exact recall", share=True, points=True)
            st.plotly_chart(figure, key="snapshots recall")
    with rows.container(border=True, height="stretch"):
        st.dataframe(
            table,
            hide_index=True,
            column_config={
                "step": st.column_config.NumberColumn("Step", format="localized"),
                "checkpoint": "Checkpoint",
                "recall": st.column_config.NumberColumn("Recall", format="percent"),
                "heldout": st.column_config.NumberColumn("Held out", format="percent"),
            },
        )
        job = _scans(snapshots)
    if job is not None and not job.progress.active and job.result is not None:
        _scanned(job.result)


def _headline(snapshots: Sequence[Snapshot]) -> None:
    first, last = snapshots[0], snapshots[-1]
    told = f", from step {first.step:,} to {last.step:,}."
    if first.recall is not None and last.recall is not None:
        told = (
            f": recall of all facts goes from {first.recall:.1%} at step {first.step:,} to "
            f"{last.recall:.1%} at step {last.step:,}."
        )
    sentence(
        [f"{len(snapshots)} snapshots of ", (last.run, "quote"), told], key="snapshots headline"
    )


def _scans(snapshots: Sequence[Snapshot]) -> Job | None:
    """The button that scans every snapshot, and how that stands."""
    own = next((each.path for each in snapshots if (each.path / "facts.jsonl").is_file()), None)
    corpus = str(own) if own else st.text_input("Corpus to scan", key=_CORPUS).strip()
    device = state.read(state.DEVICE) or "auto"
    paths = [str(each.path) for each in snapshots]
    key = f"snapshots {paths} {corpus} {device}"
    job = jobs().get(key)
    busy = job is not None and job.progress.active
    label = "Scan again" if job and not busy else "Scan the snapshots"
    asked = st.button(
        label,
        key="scan snapshots",
        disabled=busy or not corpus,
        help="Counts in the background what every snapshot reads in the same texts, drawn at "
        "random from the run's own facts; a scan that was finished before is taken from the cache.",
    )
    if job is None and not asked:
        st.caption("Shows slots read, dead half-keys and value norms over the steps.")
    if asked:
        job = jobs().start(key, "Scanning snapshots", _work(snapshots, corpus, device))
    if job is not None and job.progress.active:
        watch(job)
    elif job is not None and job.progress.error:
        st.error("The scan stopped.", icon="⚠️")
        st.text(job.progress.error)
    return job


def _work(snapshots: Sequence[Snapshot], corpus: str, device: str) -> Any:
    def run(job: Job) -> pd.DataFrame:
        from inspector.analyses.snapshot_usage import measure_snapshots

        return measure_snapshots(
            snapshots, corpus, device=device, report=job.report, cancel=job.cancelled
        )

    return run


def _scanned(result: object) -> None:
    found = cast("pd.DataFrame", result)
    if found.empty:
        st.caption("None of the snapshots has memory.")
        return
    table = pick_table(tuple(int(number) for number in sorted(found["table"].unique())))
    chosen = found[found["table"] == table]
    whole = chosen[chosen["site"].isna()]
    sites = list(chosen["site"].dropna().unique())
    frames = {ALL_SITES: whole, **{site: chosen[chosen["site"] == site] for site in sites}}
    first, last = whole.iloc[0], whole.iloc[-1]
    sentence(
        [
            f"From step {int(first['step']):,} to {int(last['step']):,} the slots read go from "
            f"{first['usage']:.1%} to {last['usage']:.1%}, dead half-keys from "
            f"{first['half_keys_dead'] / first['half_keys']:.1%} to "
            f"{last['half_keys_dead'] / last['half_keys']:.1%}."
        ],
        key="snapshots usage",
    )
    four_charts(frames, whole, points=True, key="snapshots")
    st.caption(
        f"{int(last['tokens']):,} tokens each, of the same texts, drawn at random (seed 0); dead "
        "as a scan judges it, with its evidence."
    )
