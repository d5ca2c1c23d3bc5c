"""Two checkpoints side by side: what they say, know, use, and where their slots differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from inspector.errors import InspectorError
from inspector.ui import compare_source, frame, prompt
from inspector.ui.compare_source import Pair
from inspector.ui.components import sentence

if TYPE_CHECKING:
    from inspector.analyses.prediction_changes import PredictionChange
    from inspector.capture.usage import Usage


def _percent(label: str) -> Any:
    return st.column_config.ProgressColumn(label, format="percent", min_value=0, max_value=1)


def download(label: str, table: pd.DataFrame, name: str) -> None:
    """A button that saves what a table shows."""
    st.download_button(
        f"{label} (CSV)",
        lambda: table.to_csv(index=False).encode(),
        file_name=f"compared_{name}.csv",
        mime="text/csv",
        on_click="ignore",
        key=f"compare {name} csv",
    )


def limits(pair: Pair) -> None:
    """What cannot be compared, and why."""
    if pair.sizes.reasons:
        with st.container(border=True):
            st.markdown("**Not everything of these two can be compared**")
            for reason in pair.sizes.reasons:
                st.text(f"· {reason}")


def predictions(pair: Pair) -> None:
    """What both say after the same prompts."""
    st.subheader("Predictions", anchor=False, help="The most probable next token, by both.")
    folder = compare_source.facts_folder(pair)
    examples = [text for _, text in prompt.fact_prompts(str(folder))]
    key = "compare prompts"
    if key not in st.session_state:
        st.session_state[key] = "\n".join(examples or [prompt.DEFAULT])
    typed = st.text_area("Prompts, one a line", key=key, height=140)
    prompts = tuple(line for line in typed.splitlines() if line.strip())
    if not prompts:
        st.caption("Type a prompt.")
        return
    try:
        found = _predicted(pair.key, prompts, pair)
    except InspectorError as error:
        frame.problem("These prompts cannot be compared.", error)
        return
    _said(found)
    from inspector.analyses.prediction_changes import changes_frame

    first, second = pair.names
    table = changes_frame(found)
    st.dataframe(
        table,
        hide_index=True,
        key="compare predictions",
        column_config={
            "first_says": f"{first} says",
            "second_says": f"{second} says",
            "first_probability": _percent("p"),
            "second_probability": _percent("p "),
            "kl": st.column_config.NumberColumn("KL, nats", format="%.3f"),
        },
    )
    download("Predictions", table, "predictions")


def _said(found: tuple[PredictionChange, ...]) -> None:
    same = sum(change.same for change in found)
    parts: list[str | tuple[str, str]] = [
        "Both say the same after ",
        (f"{same} of {len(found)}", "strong"),
        " prompts",
    ]
    divergences = [change.kl for change in found if change.kl is not None]
    if divergences:
        mean = sum(divergences) / len(divergences)
        parts += ["; their predictions are ", (f"{mean:.3f} nats", "strong"), " apart on average"]
    sentence([*parts, "."], key="compare said")


@st.cache_resource(max_entries=16, show_spinner=False)
def _predicted(key: str, prompts: tuple[str, ...], _pair: Pair) -> tuple[PredictionChange, ...]:
    from inspector.analyses.prediction_changes import prediction_changes

    return prediction_changes(_pair.first.model, _pair.second.model, prompts)


def recall(pair: Pair) -> None:
    """Which facts both know."""
    st.subheader(
        "Recall",
        anchor=False,
        help="Share of facts whose whole answer each gives, in a phrasing seen in "
        "training and in one held out of it. Won: only the second knows it; lost: only the first.",
    )
    folder = compare_source.facts_folder(pair)
    if folder is None:
        st.caption("Neither checkpoint brings a facts.jsonl.")
        return
    table = compare_source.recalls(pair, folder)
    if table is None:
        return
    every = table.iloc[-1]
    sentence(
        [
            "Of ",
            (f"{every['n']:,} facts", "strong"),
            f" {pair.names[0]} recalls ",
            (f"{every['first']:.1%}", "strong"),
            f" and {pair.names[1]} ",
            (f"{every['second']:.1%}", "strong"),
            f": {every['won']:,} won, {every['lost']:,} lost.",
        ],
        key="compare recall said",
    )
    shares = {
        "first": pair.names[0],
        "second": pair.names[1],
        "first_heldout": f"{pair.names[0]}, held out",
        "second_heldout": f"{pair.names[1]}, held out",
    }
    st.dataframe(
        table,
        hide_index=True,
        key="compare recall",
        column_config={name: _percent(label) for name, label in shares.items()},
    )
    download("Recall", table, "recall")


def usage(pair: Pair) -> tuple[Usage, Usage] | None:
    """How evenly both use their memory, on one corpus; their scans once there are any."""
    st.subheader(
        "Usage",
        anchor=False,
        help="Measures of the usage page for both, over the same corpus. They compare also where "
        "tables differ in size.",
    )
    dense = [opened.model.name for opened in (pair.first, pair.second) if not opened.model.sites]
    if dense:
        st.caption("Usage needs memory layers in both.")
        return None
    try:
        found = compare_source.scans(pair)
    except InspectorError as error:
        frame.problem("They could not be scanned.", error)
        return None
    if found is None:
        return None
    table = _measures(pair, found)
    st.dataframe(table, hide_index=True, key="compare usage")
    download("Usage", table, "usage")
    return found


def _measures(pair: Pair, usages: tuple[Usage, Usage]) -> pd.DataFrame:
    from inspector.analyses.usage_measures import comparison_frame

    frames = []
    for name, scanned in zip(pair.names, usages, strict=True):
        table = comparison_frame(scanned)
        table.insert(0, "checkpoint", name)
        frames.append(table)
    merged = pd.concat(frames, ignore_index=True)
    place = [name for name in ("table", "site", "head", "of", "by") if name in merged]
    order = merged.groupby(place, dropna=False, sort=False).ngroup()
    return merged.assign(_order=order).sort_values("_order", kind="stable").drop(columns="_order")
