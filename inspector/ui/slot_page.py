"""What the slot page opens with: which slot, what it holds in one sentence, and its figures."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from inspector.errors import InspectorError, NotShown, SlotError
from inspector.ui import cache, frame, prompt, scans, slot_cache, state
from inspector.ui.cache import Opened
from inspector.ui.components import sentence

if TYPE_CHECKING:
    from inspector.analyses.slot_address import SlotAddress
    from inspector.analyses.slot_report import Part, SlotReport
    from inspector.capture.usage import Usage

_BOX, _SHOWN, _PROBLEM, _SCANNED = "slot box", "slot shown", "slot problem", "slot scanned"


@dataclass(frozen=True, eq=False)
class SlotView:
    """One slot as the page shows it."""

    opened: Opened
    address: SlotAddress
    usage: Usage | None
    report: SlotReport


def go_to(site: str, slot: int, head: int | None = None) -> None:
    """Show another slot."""
    state.write(site=site, slot=slot, head=head)


def asked(opened: Opened) -> SlotAddress:
    """The slot of the URL; where it has none, one that matters to an example.

    Raises:
        SlotError: the URL asks for a slot there is none of.
    """
    from inspector.analyses.slot_address import SlotAddress, parse_address

    slot = state.read(state.SLOT)
    if slot is None:
        site, number, head = _example(opened)
        go_to(site, number, head)
        return SlotAddress(site, number, head)
    named = state.read(state.SITE)
    if named is not None:
        opened.model.site(named)
    found = parse_address(opened.model, slot, named)
    head = state.read_number(state.HEAD)
    if head is None or found.head is not None:
        return found
    heads = opened.model.site(found.site).info.heads
    return SlotAddress(found.site, found.slot, head if 0 <= head < heads else None)


def _example(opened: Opened) -> tuple[str, int, int | None]:
    """The read that adds most to what the model says after an example, if its value stands out.

    Of the first example in which there is such a read; of the first of all if there's none.
    """
    texts = [text for _, text in prompt.fact_prompts(str(opened.model.path))] or [prompt.DEFAULT]
    found = (_strongest(opened, text) for text in texts)
    try:
        first = next(found)
    except InspectorError:  # single reads of this model have no effect of their own to go by
        return next(iter(opened.model.sites)), 0, None
    best = first if first[0] else next((each for each in found if each[0]), first)
    return best[1:]


def _strongest(opened: Opened, text: str) -> tuple[bool, str, int, int]:
    """Whether its value stands out in context, and site, slot and head of that read."""
    import numpy as np

    trace, length = cache.traced(opened, text)
    token = int(trace.logits[0, length - 1].argmax())
    effect = cache.explained(opened, text, 0, length - 1, token, -1)
    best: tuple[bool, float, str, int] | None = None
    for name, effects in effect.reads.items():
        passes = cache.decoded_reads(opened, text, 0, length - 1, name).passes
        place = int(np.lexsort((effects.ravel(), passes))[-1])
        worth = (bool(passes[place]), float(effects.ravel()[place]), name, place)
        best = worth if best is None or worth[:2] > best[:2] else best
    if best is None:
        raise NotShown("No site of this model has reads with an effect of their own.")
    passes_test, _, site, place = best
    slot = int(trace.reads[site].slots[0, length - 1].flatten()[place])
    return passes_test, site, slot, place // trace.sites[site].knn


def bar(opened: Opened, usage: Usage | None) -> SlotAddress | None:
    """The box for an address, the random button; the slot shown, or None with a sentence why."""
    address, problem = None, ""
    try:
        address = asked(opened)
    except SlotError as error:
        problem = str(error)
    shown = "" if address is None else _text(opened, address)
    if st.session_state.get(_SHOWN) != shown or _BOX not in st.session_state:
        st.session_state[_BOX] = st.session_state[_SHOWN] = shown
    with st.form("slot form", border=False, enter_to_submit=True):
        box, show, draw = st.columns([8, 1.4, 1.8], vertical_alignment="bottom")
        box.text_input(
            "Slot",
            key=_BOX,
            placeholder="L4·H2·(431,77) or 55245",
            help="An address, with or without head, or a slot's number. Dots, dashes or spaces "
            "serve as well as the middle dot.",
        )
        site = None if address is None else address.site
        show.form_submit_button(
            "Show", type="primary", width="stretch", on_click=_typed, args=(opened, site)
        )
        draw.form_submit_button(
            "Random",
            width="stretch",
            on_click=_random,
            args=(opened, usage, site),
            help="A slot drawn at random: of those read in the scan, or of all without one.",
        )
    typed = st.session_state.pop(_PROBLEM, "")
    if problem or typed:
        frame.problem("There is no such slot.", SlotError(typed or problem))
    return address


def _text(opened: Opened, address: SlotAddress) -> str:
    return opened.model.site(address.site).info.address(address.slot, address.head)


def _typed(opened: Opened, site: str | None) -> None:
    from inspector.analyses.slot_address import parse_address

    try:
        found = parse_address(opened.model, st.session_state[_BOX], site)
    except InspectorError as error:
        st.session_state[_PROBLEM] = str(error)
        st.session_state[_SHOWN] = None  # the box shows the slot that is still open
        return
    go_to(found.site, found.slot, found.head)


def _random(opened: Opened, usage: Usage | None, site: str | None) -> None:
    import numpy as np

    chosen = opened.model.site(site or next(iter(opened.model.sites)))
    slots: np.ndarray | range = range(chosen.info.slots)
    if usage is not None:
        from inspector.analyses.usage_measures import sites_of, table_reads

        read = np.flatnonzero(table_reads(usage, chosen.info.table))
        slots = read if len(read) else slots
    slot = int(random.choice(slots))
    name = chosen.info.name
    if usage is not None:
        own = sites_of(usage, chosen.info.table)
        name = max(own, key=lambda each: float(own[each].weights[:, slot].sum()))
    go_to(name, slot)


def scan_of(opened: Opened, above: DeltaGenerator, below: DeltaGenerator) -> Usage | None:
    """The scan of this view; its control stands ``above`` until there is one, then ``below``."""
    known = st.session_state.get(_SCANNED) == opened.key
    with (below if known else above).container(border=True):
        found = scans.control(opened)
    if (found is not None) != known:
        st.session_state[_SCANNED] = None if found is None else opened.key
        st.rerun()
    return found


def look(opened: Opened, address: SlotAddress, usage: Usage | None) -> SlotView:
    """All that is known of the slot."""
    return SlotView(opened, address, usage, slot_cache.report(opened, address, usage))


def parts_of_headline(view: SlotView, study: slot_cache.SlotStudy | None) -> list[Part]:
    """What the slot holds and when it fires, as parts of a sentence."""
    from inspector.analyses.slot_report import fires, headline

    known = None
    if study is not None:
        sampled = None if study.index.complete else study.index.sampled
        known = fires(study.triggers, view.opened.model.token_text, sampled)
    return headline(view.report, known)


def headline(view: SlotView, study: slot_cache.SlotStudy | None) -> None:
    """What the slot holds and when it fires, in one sentence."""
    sentence(parts_of_headline(view, study), key="slot headline")


def figures(view: SlotView) -> None:
    """Reads, places in the ranking and the verdict, each with its evidence."""
    use = view.report.usage
    if use is None or view.usage is None:
        return
    reads, by_reads, by_weight, verdict = st.columns(4)
    reads.metric(
        "Reads",
        f"{use.total:,}",
        help=f"Of {view.usage.tokens:,} tokens scanned, by all heads of {', '.join(use.reads)}; "
        f"{use.hits:,} of them in distinct contexts, in {use.documents:,} of "
        f"{view.usage.documents:,} documents.",
        border=True,
    )
    by_reads.metric(
        "Rank by reads",
        f"{use.by_reads.rank:,} of {use.slots:,}",
        help=f"It takes {use.by_reads.share:.3%} of all reads of its table; {use.by_reads.ties:,} "
        f"slots share this place. {use.slots_read:,} slots were read at all.",
        border=True,
    )
    by_weight.metric(
        "Rank by weight",
        f"{use.by_weight.rank:,} of {use.slots:,}",
        help=f"It takes {use.by_weight.share:.3%} of all summed |coefficients| of its table.",
        border=True,
    )
    verdict.metric(
        "Verdict",
        use.verdict.label,
        help=f"{use.hits:,} reads in distinct contexts, where uniform use would give "
        f"{use.expected:,.1f}. Its rate is at most {use.rate_bound:.3g} of uniform use (95 %); "
        f"{use.clump:.1f} reads that come together count as one.",
        border=True,
    )
