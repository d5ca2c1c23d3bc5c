"""The value map page's long work: what is asked for, the jobs, and finding them again.

The map comes first and is shown at once; what its values say follows when every value has been
decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import streamlit as st

from inspector.errors import Cancelled
from inspector.ui import jobs as background
from inspector.ui import state
from inspector.ui.cache import Opened
from inspector.ui.jobs import Job, jobs, watch

if TYPE_CHECKING:
    from inspector.analyses.value_map_record import ValueMap
    from inspector.capture.usage import Usage
    from inspector.ui.map_words import Words

POINTS, NEAR, MIN_DIST, SEED = 50_000, 15, 0.1, 0  # unless the URL says otherwise
Clusters = Literal["kmeans", "hdbscan"]


@dataclass(frozen=True)
class MapAsked:
    """What decides a map, beside the checkpoint and its usage; plain values, to be a cache key."""

    table: int
    site: str | None  # None: value rows; else contributions there
    points: int
    near: int
    min_dist: float
    clusters: Clusters
    seed: int

    def options(self) -> dict[str, Any]:
        """As the engine takes them."""
        return {
            "table": self.table,
            "points": self.points,
            "near": self.near,
            "min_dist": self.min_dist,
            "clusters": self.clusters,
            "seed": self.seed,
        }


def asked_map(opened: Opened) -> MapAsked:
    """The map that this view's URL asks for; what isn't in it, or makes no sense, is usual."""
    tables = {site.info.table for site in opened.model.sites.values()}
    site = state.read(state.MAP)
    site = site if site in opened.model.sites else None
    table = state.read_number(state.TABLE)
    if site is not None:
        table = opened.model.site(site).info.table
    clusters = state.read(state.CLUSTERS)
    return MapAsked(
        table=table if table in tables else min(tables),
        site=site,
        points=_within(state.read_number(state.POINTS), 2, 5_000_000, POINTS),
        near=_within(state.read_number(state.NEAR), 2, 200, NEAR),
        min_dist=_share(state.read(state.MIN_DIST)),
        clusters="hdbscan" if clusters == "hdbscan" else "kmeans",
        seed=_within(state.read_number(state.SEED), 0, 2**31 - 1, SEED),
    )


def _within(number: int | None, low: int, high: int, usual: int) -> int:
    return usual if number is None or not low <= number <= high else number


def _share(text: str | None) -> float:
    try:
        number = float(text) if text is not None else MIN_DIST
    except ValueError:
        return MIN_DIST
    return number if 0 <= number <= 1 else MIN_DIST


def begin(opened: Opened, asked: MapAsked) -> None:
    """Start on a map that needs no usage, before a scan that the page may start takes its turn."""
    if _shows_all(opened, asked) and jobs().get(_key(opened, asked, None)) is None:
        drawing = _work(opened, asked, None)
        jobs().start(_key(opened, asked, None), "Drawing the map", drawing)


def drawn_map(opened: Opened, asked: MapAsked, usage: Usage | None) -> ValueMap | None:
    """The map, once it's there: from this server's memory, the cache folder, or a new job."""
    key = _key(opened, asked, usage)
    job = jobs().get(key)
    if job is None:
        job = jobs().start(key, "Drawing the map", _work(opened, asked, usage))
    if job.progress.active:
        st.caption(
            "The map is drawn in the background and kept: you can leave this page, and it's here "
            "at once the next time."
        )
        watch(job)
        return None
    if job.result is not None:
        return cast("ValueMap", job.result)
    if _asked_again(job, "map", "The map could not be drawn.", "The map was stopped."):
        jobs().start(key, "Drawing the map", _work(opened, asked, usage))
        st.rerun()
    return None


def with_rest(opened: Opened, asked: MapAsked, usage: Usage | None, drawn: ValueMap) -> ValueMap:
    """The map with the slots it was made without, if someone had them placed on it."""
    job = jobs().get(_rest_key(opened, asked, usage))
    return drawn if job is None or job.result is None else cast("ValueMap", job.result)


def rest_control(opened: Opened, asked: MapAsked, usage: Usage | None, drawn: ValueMap) -> None:
    """Where not all slots are on the map: a button that has the others placed, and progress."""
    left = drawn.total - len(drawn.slots)
    key = _rest_key(opened, asked, usage)
    job = jobs().get(key)
    if job is not None and job.progress.active:
        watch(job)
        return
    if job is not None and job.progress.error:
        st.error("The other slots could not be placed.", icon="⚠️")
        st.text(job.progress.error)
    if drawn.sampled and (job is None or job.result is None) and left:
        st.button(
            f"Place the other {left:,} slots",
            key="place rest",
            icon="📍",
            help="Each beside its nearest neighbours on the map, by UMAP's transform; the map "
            "itself stays as it is. Takes about as long as the map took, for as many slots.",
            on_click=_place_rest,
            args=(key, opened, drawn),
        )


def found_words(opened: Opened, asked: MapAsked) -> Words | None:
    """What the slots say, once they are decoded; shows how far that is, or why it can't be."""
    key = f"words {opened.key} {opened.model.fingerprint} {asked.table} {asked.site}"
    name = "Finding what the values say"
    job = jobs().get(key)
    if job is None:
        job = jobs().start(key, name, _words_work(opened, asked))
    if job.progress.active:
        st.caption(
            "Every value is being decoded: what the points say, and the search for it, come then."
        )
        watch(job)
        return None
    if job.progress.state == "done":
        if job.result is None:
            st.caption(
                "What these values say is known only after a scan of gates, which this checkpoint "
                "does not ship."
            )
        return cast("Words | None", job.result)
    if _asked_again(job, "words", "The values could not be decoded.", "The decoding was stopped."):
        jobs().start(key, name, _words_work(opened, asked))
        st.rerun()
    return None


def _rest_key(opened: Opened, asked: MapAsked, usage: Usage | None) -> str:
    return f"rest of {_key(opened, asked, usage)}"


def _key(opened: Opened, asked: MapAsked, usage: Usage | None) -> str:
    """Usage decides a map only where not all slots have a place on it."""
    decides = usage is not None and not _shows_all(opened, asked)
    scanned = usage.identity if usage and decides else None
    return f"map {opened.key} {opened.model.fingerprint} {asked} {scanned}"


def _shows_all(opened: Opened, asked: MapAsked) -> bool:
    return bool(opened.model.tables[asked.table].slots <= asked.points)


def _work(opened: Opened, asked: MapAsked, usage: Usage | None) -> Callable[[Job], ValueMap]:
    def run(job: Job) -> ValueMap:
        from inspector.analyses.value_map import value_map

        def report(stage: str, share: float) -> None:
            job.report(round(1000 * share), 1000, stage)

        try:
            return value_map(
                opened.model,
                asked.site,
                usage=usage,
                report=report,
                cancel=job.cancelled,
                **asked.options(),
            )
        except Cancelled:
            raise background.Cancelled from None

    return run


def _place_rest(key: str, opened: Opened, drawn: ValueMap) -> None:
    jobs().start(key, "Placing the other slots", _rest_work(opened, drawn))


def _rest_work(opened: Opened, drawn: ValueMap) -> Callable[[Job], ValueMap]:
    def run(job: Job) -> ValueMap:
        from inspector.analyses.map_placing import place, with_placed

        def report(stage: str, share: float) -> None:
            job.report(round(1000 * share), 1000, stage)

        try:
            placed = place(drawn, opened.model, report=report, cancel=job.cancelled)
        except Cancelled:
            raise background.Cancelled from None
        return with_placed(drawn, placed)

    return run


def _words_work(opened: Opened, asked: MapAsked) -> Callable[[Job], Words | None]:
    def run(job: Job) -> Words | None:
        from inspector.ui.map_words import find_words

        def report(stage: str, share: float) -> None:
            job.report(round(1000 * share), 1000, stage)

        try:
            return find_words(opened, asked.table, asked.site, report, job.cancelled)
        except Cancelled:
            raise background.Cancelled from None

    return run


def _asked_again(job: Job, kind: str, failed: str, stopped: str) -> bool:
    """Says why there is no result, and offers to try again."""
    if job.progress.error:
        st.error(failed, icon="⚠️")
        st.text(job.progress.error)
    else:
        st.info(stopped)
    return st.button("Start again", type="primary", key=f"start {kind} again")
