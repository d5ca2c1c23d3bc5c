"""Watching a training: its record as curves while it runs, and its snapshots beside it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import streamlit as st

from inspector.errors import InspectorError, TrainingError
from inspector.ui import frame, samples, state, training_snapshots
from inspector.ui.components import sentence
from inspector.ui.training_curves import ALL_SITES, four_charts, pick_table

if TYPE_CHECKING:
    from inspector.analyses.training_record import TrainingRecord

_BOX: Final = "run path"
_FRESH_S: Final = 180.0  # a record that grew so lately is followed, or within
_INTERVALS: Final = 3  # times what its parts are apart
_EVERY_S: Final = 2.0


def show() -> None:
    """The box for a path, and what lies there."""
    asked = state.read(state.RUN) or _default()
    st.session_state[_BOX] = asked
    typed = st.text_input(
        "Folder of a run, its record, or its snapshots",
        key=_BOX,
        on_change=lambda: state.write(run=st.session_state[_BOX].strip() or None),
        placeholder="runs/my-model",
        help="On the computer that runs the app. `inspector train`, the callback for transformers' "
        "Trainer and the plain monitor write a record; checkpoints side by side, such as "
        "NAME-step-500 or checkpoint-500, are snapshots.",
    )
    if not typed.strip():
        st.caption("Type the path of a run to watch.")
        return
    _look(samples.resolve(typed))


def _default() -> str:
    """The checkpoint that is open, if it's a sample or a path; else the first sample."""
    return state.read(state.CHECKPOINT) or next(iter(samples.samples()), "")


def _look(path: Path) -> None:
    from inspector.analyses.snapshots import find_snapshots
    from inspector.analyses.training_record import record_folder
    from inspector.families.roots import check_root

    if not _exists(path):
        frame.problem(
            "There is nothing to watch.",
            TrainingError(f"{path} does not exist; expected the folder of a run or of snapshots."),
        )
        return
    try:
        check_root(path)
    except InspectorError as error:
        frame.problem("There is nothing to watch.", error)
        return
    recorded = path.is_file() or record_folder(path) is not None
    if recorded:
        _record(path)
    if path.is_file():
        return
    try:
        snapshots = find_snapshots(path)
    except InspectorError as error:
        if not recorded:
            frame.problem(
                "There is nothing to watch.",
                TrainingError(f"{path} holds no record of a training, and: {error}"),
            )
        return
    training_snapshots.show(snapshots)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file can have
        return False


# --- a record -----------------------------------------------------------------------------------


def _record(path: Path) -> None:
    growing = _is_fresh(path)

    @st.fragment(run_every=_EVERY_S if growing else None)
    def shown() -> None:
        from inspector.analyses.training_record import read_training_record

        if growing and not _is_fresh(path):
            st.rerun()  # it has stopped growing: no more looking
        try:
            record = read_training_record(path)
        except InspectorError as error:
            frame.problem("The record cannot be shown.", error)
            return
        _curves(record, growing)

    shown()


def _is_fresh(path: Path) -> bool:
    """Whether something was written to the record a short while ago."""
    from inspector.analyses.training_record import record_folder

    folder = record_folder(path)
    if folder is None:
        return False
    try:
        stamps = sorted(file.stat().st_mtime for file in folder.glob("part-*.parquet"))
        newest = stamps[-1]
    except (OSError, IndexError):  # parts are being joined just now
        return True
    apart = newest - stamps[-2] if len(stamps) > 1 else 0.0
    return time.time() - newest < max(_FRESH_S, _INTERVALS * apart)


def _curves(record: TrainingRecord, growing: bool) -> None:
    table = pick_table(record.tables)
    whole = record.of(table)
    last = whole.iloc[-1]
    sentence(
        [
            ("Growing: " if growing else "No longer growing: "),
            f"after step {int(last['step']):,} the last {int(last['steps'])} steps read "
            f"{last['usage']:.1%} of {int(last['slots']):,} slots, as evenly as "
            f"{last['effective']:,.0f} slots would be read; {int(last['half_keys_dead'])} of "
            f"{int(last['half_keys']):,} half-keys are dead in these steps.",
        ],
        key="record headline",
    )
    names = record.sites_of(table)
    each = {name: record.of(table, name) for name in names} if len(names) > 1 else {}
    frames = {ALL_SITES: whole, **each}
    four_charts(frames, whole, points=False, key="record")
    st.caption(
        f"{int(last['tokens']):,} distinct prefixes in the last {int(last['steps'])} steps: each "
        "record counts its own (that of step 1 a single step's), so usage here grows with them and "
        "is no scan's. A half-key is dead in these steps if it was read significantly less than a "
        "tenth as often as under uniform use."
    )
    with st.expander("The record as a table"):
        st.dataframe(record.to_frame(), hide_index=True)
