"""A checkpoint that is on the Hub and not here yet: how large it is, and fetching it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from inspector.errors import Cancelled
from inspector.ui import jobs as background
from inspector.ui.jobs import Job, jobs, watch

if TYPE_CHECKING:
    from inspector.families.hub import HubId


def wait_until_here(choice: str) -> None:
    """Go on if ``choice`` is a path or was fetched; else offer to fetch it and end the page.

    Nothing is fetched by following a link: it takes a click.
    """
    if "/" not in choice or choice.startswith(("/", ".", "~")) or Path(choice).exists():
        return
    from inspector.families.hub import fetched, hub_id

    name = hub_id(choice)
    if name is None or fetched(name) is not None:
        return
    fetching = jobs().get(f"fetch {name}")
    if fetching is not None and fetching.progress.state == "done":
        return  # opening it will say what is wrong
    st.subheader("This checkpoint is on the Hugging Face Hub", anchor=False)
    if fetching is None or not fetching.progress.active:
        _offer(name, fetching)
    else:
        st.caption("It is kept in the Hub's cache on this machine: the next time it opens at once.")
        watch(fetching)
    st.stop()


def _offer(name: HubId, before: Job | None) -> None:
    """How large it is, and the button that fetches it."""
    if before is not None:
        _ended(before, "Fetching was stopped; what was fetched is kept.")
    asking = jobs().get(f"list {name}")
    if asking is None:
        asking = jobs().start(f"list {name}", "Asking the Hub", _asking(name))
    if asking.progress.active:
        watch(asking)
        return
    listing = asking.result
    if listing is None:
        _ended(asking, "Asking was stopped.")
    size = "" if listing is None else f" ({listing.size / 1e9:.2f} GB, {len(listing.files)} files)"
    if st.button(f"Fetch it{size}", type="primary", key="fetch from hub"):
        jobs().start(f"fetch {name}", f"Fetching {name}", _fetching(name))
        st.rerun()


def _ended(job: Job, stopped: str) -> None:
    if job.progress.error:
        st.error("It could not be fetched.", icon="⚠️")
        st.text(job.progress.error)
    else:
        st.info(stopped)


def _asking(name: HubId) -> Callable[[Job], Any]:
    def run(job: Job) -> Any:
        from inspector.families.hub import list_files

        return list_files(name)

    return run


def _fetching(name: HubId) -> Callable[[Job], Path]:
    def run(job: Job) -> Path:
        from inspector.families.hub import fetch

        def report(done: int, total: int, file: str) -> None:
            job.report(done, total, f"{done / 1e9:.2f} of {total / 1e9:.2f} GB · {file}")
            if job.cancelled():
                raise Cancelled("It was stopped.")

        try:
            return fetch(name, report)
        except Cancelled:
            raise background.Cancelled from None

    return run
