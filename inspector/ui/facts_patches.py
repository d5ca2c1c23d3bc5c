"""Before and after an edit is kept: the safety view, patches saved, loaded, stacked."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd
import streamlit as st

from inspector.errors import InspectorError, PatchError
from inspector.ui import edit_state
from inspector.ui.cache import Opened
from inspector.ui.components import ContextRow, context_list, sentence
from inspector.ui.facts_view import background
from inspector.ui.jobs import Cancelled, Job

if TYPE_CHECKING:
    from inspector.analyses.fact_edit import FactEdit
    from inspector.analyses.patches import Patch
    from inspector.analyses.safety import SafetyProgress, SafetyView
    from inspector.capture.value_edits import NewValues

SAMPLE: Final = 40_000  # tokens: some seconds for a small model
_LISTED: Final = 25
_ROWS: Final = 200
_FILES, _WHY = "patch files", "patch why"


def safety(
    opened: Opened, key: str, values: Sequence[NewValues], corpus: Path | Sequence[str]
) -> None:
    """Every context of ``corpus`` that reads the changed rows, the worst first.

    A random sample is offered first, and the whole corpus beside what it found.
    """
    st.subheader(
        "Safety view",
        anchor=False,
        help="The checkpoint's own facts, or yours where it has none, are run as the model is and "
        "as edited: a random sample at first, then all if you ask for it. A context "
        "is a token with all before it; shown is the probability of the token that does follow, "
        "which is marked. Equal contexts are counted once.",
    )
    name = "Looking for what suffers"
    why = (
        "Look at it before saving: what suffers from the changed rows? Some "
        f"{SAMPLE:,} tokens, in documents drawn at random, or all if there are no more."
    )
    work = _look(opened, values, corpus, SAMPLE)
    found: SafetyView | None = background(
        f"safety sample {key}", name, work, "Look at what else changes", why
    )
    if found is None:
        return
    if not found.complete:
        why = "Every document, not a sample: it can take minutes. You can leave this page."
        work = _look(opened, values, corpus, None)
        found = background(f"safety {key}", name, work, "Look at the whole corpus", why) or found
    _found(found)


def _found(found: SafetyView) -> None:
    sentence(safety_line(found), key="safety headline")
    if found.texts:
        context_list(_rows(found), key="safety contexts")
    with st.expander("As a table"):
        st.dataframe(
            found.to_frame().head(_ROWS),
            hide_index=True,
            key="safety table",
            column_config={
                "before": st.column_config.NumberColumn("p before", format="percent"),
                "after": st.column_config.NumberColumn("p after", format="percent"),
                "change": st.column_config.NumberColumn("Δ log p, nats", format="%+.3f"),
            },
        )


def _look(
    opened: Opened, values: Sequence[NewValues], corpus: Path | Sequence[str], tokens: int | None
) -> Callable[[Job], SafetyView]:
    """A sample that was stopped is one still; of the whole, its first part would be none."""

    def run(job: Job) -> SafetyView:
        from inspector.analyses.safety import safety_view

        def report(progress: SafetyProgress) -> None:
            share = progress.share or 0.0
            note = f"{progress.tokens:,} tokens, {progress.contexts:,} contexts"
            if not progress.tokens:
                note = "drawing documents at random"
            job.report(round(1000 * share), 1000, note)

        model = opened.model
        found = safety_view(model, values, corpus, tokens, report=report, cancel=job.cancelled)
        if job.cancelled() and (found.drawn_from is None or not found.tokens):
            raise Cancelled
        return found

    return run


def safety_line(found: SafetyView) -> list[str | tuple[str, str]]:
    """How many contexts read the rows, and how many suffer."""
    seen = "" if found.complete else " (not all of the corpus was looked at)"
    if found.drawn_from is not None and not found.complete:
        seen = (
            f" (a sample: documents drawn at random with seed {found.seed} from the corpus's "
            f"{found.drawn_from:,} tokens)"
        )
    parts: list[str | tuple[str, str]] = [(f"{found.contexts:,}", "strong")]
    parts += [f" distinct contexts of {found.tokens:,} tokens{seen} read the changed rows; "]
    parts += [(f"{found.worse_than(0.1):,}", "strong"), " lose more than 0.1 nats, "]
    parts += [(f"{found.worse_than(1.0):,}", "strong"), " more than 1."]
    if found.later:
        parts.append(
            f" The {found.later:,} tokens that come after one of them and read none change by "
            f"{found.later_mean:+.3f} nats in the mean, {found.later_worst:+.3f} at worst."
        )
    return parts


def _rows(found: SafetyView) -> list[ContextRow]:
    shown = min(_LISTED, len(found.texts))
    parts = (found.texts, found.following, found.before, found.after, found.change)
    return [
        ContextRow(
            "Change in log p of the marked token, nats: the worst first",
            f"{before:.1%} → {after:.1%}",
            float(change),
            [text],
            following,
            [],
        )
        for text, following, before, after, change in zip(
            *(part[:shown] for part in parts), strict=True
        )
    ]


def save_fact(opened: Opened, found: FactEdit) -> None:
    """Keep the edit as a patch, unless it fell short."""
    st.subheader(
        "Save as a patch",
        anchor=False,
        help="A safetensors file of the changed rows, old and new, with what, why, when and for "
        "which checkpoint. `inspector patch apply CHECKPOINT PATCH OUT` writes a new checkpoint "
        "with it; the base is never written to.",
    )
    if not found.reached:
        st.caption("This edit did not reach its goal, so it is not offered as a patch.")
        return
    why = st.text_input("Why (kept in the patch)", key=_WHY)
    fact = found.goal.fact
    name = _file_name(f"{fact.relation} {fact.subject} {found.goal.answer or 'forgotten'}")
    st.download_button(
        "Save the patch",
        partial(_patch_of_fact, opened, found, why),
        file_name=name,
        on_click="ignore",
        key="patch download",
    )


def _patch_of_fact(opened: Opened, found: FactEdit, why: str) -> bytes:
    from inspector.analyses.patches import patch_of_fact

    return _bytes(patch_of_fact(opened.model, found, why))


def _bytes(patch: Patch) -> bytes:
    from inspector.analyses.patch_files import SUFFIX, write_patch

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"patch{SUFFIX}"
        write_patch(path, patch)
        return path.read_bytes()


def _file_name(text: str) -> str:
    from inspector.analyses.patch_files import SUFFIX

    return (re.sub(r"[^A-Za-z0-9-]+", "_", text).strip("_") or "patch") + SUFFIX


def load(opened: Opened) -> None:
    """Load patches, see whether they conflict, and put them on the list."""
    st.subheader(
        "Load patches",
        anchor=False,
        help="Several are stacked in the order of their names. Two conflict if they hold "
        "different values for a slot.",
    )
    files = st.file_uploader("Patches", type="safetensors", accept_multiple_files=True, key=_FILES)
    if not files:
        return
    patches = []
    for file in sorted(files, key=lambda file: file.name):
        try:
            patches.append(_read(opened, file.getvalue(), file.name))
        except InspectorError as error:
            st.error("A file was left out.", icon="⚠️")
            st.text(f"{file.name}: {error}")
    if patches:
        _stack(opened, patches)


def _read(opened: Opened, content: bytes, name: str) -> Patch:
    """The patch, held against the open checkpoint."""
    from inspector.analyses.patch_files import read_patch
    from inspector.analyses.patches import check_base

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "patch"
        path.write_bytes(content)
        try:
            patch = read_patch(path)
        except PatchError as error:
            raise PatchError(str(error).replace(str(path), "it")) from None
    check_base(opened.model, patch)
    return patch


def _stack(opened: Opened, patches: Sequence[Patch]) -> None:
    from inspector.analyses.patch_conflicts import find_conflicts, stack_patches

    told = [{"what": p.what, "why": p.why, "when": p.when, "rows": len(p)} for p in patches]
    st.dataframe(pd.DataFrame(told), hide_index=True, key="patches")
    conflicts = find_conflicts(patches)
    later = False
    if conflicts:
        st.warning("These patches conflict.", icon="⚠️")
        rows = pd.concat([each.to_frame() for each in conflicts], ignore_index=True)
        rows[["first", "second"]] = rows[["first", "second"]].map(lambda n: patches[n].what)
        st.dataframe(rows, hide_index=True, key="patch conflicts", height=200)
        later = st.checkbox("The later one wins", key="later wins")
        if not later:
            return
    stacked = stack_patches(patches, later_wins=later)
    with st.container(horizontal=True):
        st.button(
            f"Use {'them' if len(patches) > 1 else 'it'} in this session",
            key="use patches",
            icon="✏️",
            on_click=edit_state.add,
            args=(opened, *stacked.slot_edits()),
        )
        if len(patches) > 1:
            st.download_button(
                "Save them as one",
                partial(_bytes, stacked),
                file_name=_file_name("stacked"),
                on_click="ignore",
                key="stack download",
            )
