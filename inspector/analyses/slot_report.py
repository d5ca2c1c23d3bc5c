"""All that is known of one slot, gathered: the record that its page and its export show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd
import torch
from torch import Tensor

from inspector.analyses.decoding import Decoding, decode
from inspector.analyses.gates import MeanGates
from inspector.analyses.slot_address import SlotAddress
from inspector.analyses.slot_contexts import ReadContext, scanned_contexts
from inspector.analyses.slot_half_keys import HalfKeyNeighbours, slot_half_keys
from inspector.analyses.slot_triggers import Triggers
from inspector.analyses.slot_usage import SlotUsage, slot_usage
from inspector.analyses.verdicts import Verdicts
from inspector.capture.session import run_sites, session
from inspector.capture.usage import Usage
from inspector.capture.visible_text import visible_text
from inspector.errors import NotShown, SlotError
from inspector.families.base import MemoryModel, SiteInfo

TOP: Final = 8  # tokens of a decoding
_IN_CONTEXT: Final = 4  # contexts decoded: the strongest reads a scan keeps
_NAMED: Final = 3  # tokens named in the headline


@dataclass(frozen=True, eq=False)
class ContextDecoding:
    """The value through the gate of one token that read it, ``token`` as it's shown."""

    context: ReadContext
    token: str
    decoding: Decoding


@dataclass(frozen=True, eq=False)
class SlotReport:
    """One slot of one table: its address, its decodings, its half-keys, its usage, its contexts.

    ``raw`` is None where values do not live in the residual stream, ``static`` has a decoding for
    each site that has one (``notes`` say why others have not). Without a scan ``usage`` is None
    and there are no contexts; ``dropped`` counts strongest contexts that did not read the slot
    when they were run again (arithmetic differs with the batch in half precision).
    """

    address: SlotAddress
    info: SiteInfo  # of the site addressed
    sites: tuple[str, ...]  # all that read the table
    raw: Decoding | None
    static: tuple[Decoding, ...]
    in_context: tuple[ContextDecoding, ...]
    half_keys: tuple[HalfKeyNeighbours, ...]
    usage: SlotUsage | None
    contexts: tuple[ReadContext, ...]
    dropped: int
    notes: tuple[str, ...]

    @property
    def table(self) -> int:
        """The value table."""
        return self.info.table

    @property
    def text(self) -> str:
        """The address as people type it."""
        return self.info.address(self.address.slot, self.address.head)

    @property
    def main(self) -> Decoding | None:
        """The decoding that stands for the slot: static, at the site that gives it most weight."""
        site = self.usage.main_site if self.usage and self.usage.total else self.address.site
        own = [each for each in self.static if each.site == site]
        return own[0] if own else self.raw

    def decodings(self) -> list[tuple[str, Decoding]]:
        """Every decoding with its name."""
        named = [] if self.raw is None else [("raw", self.raw)]
        named += [(f"static · {each.site}", each) for each in self.static]
        return named + [
            (f"in context · {c.context.site}·H{c.context.head} at {c.token}", c.decoding)
            for c in self.in_context
        ]

    def to_frame(self) -> pd.DataFrame:
        """One row a decoding, by name."""
        rows = [each.to_frame().assign(name=name) for name, each in self.decodings()]
        return pd.concat(rows, ignore_index=True)


def report_slot(
    model: MemoryModel,
    address: SlotAddress,
    gates: MeanGates | None = None,
    usage: Usage | None = None,
    verdicts: Verdicts | None = None,
) -> SlotReport:
    """Gather what is known of a slot.

    Args:
        model: an opened checkpoint.
        address: which slot, and the site it's looked at from.
        gates: mean gates, for static decodings of gated sites.
        usage: a scan of ``model``.
        verdicts: those on ``usage``; needed with it.

    Raises:
        SlotError: there is no such site or slot.
    """
    info = model.site(address.site).info
    info.pair(address.slot)
    sites, slot = model.sites_of(info.table), address.slot
    raw, static, notes = _decode(model, sites, slot, gates)
    own: SlotUsage | None = None
    contexts: tuple[ReadContext, ...] = ()
    in_context: tuple[ContextDecoding, ...] = ()
    dropped = 0
    if usage is not None and verdicts is not None:
        own = slot_usage(usage, verdicts, info.table, slot)
        contexts = scanned_contexts(model, usage, info.table, slot)
        in_context, dropped = decode_in_context(model, slot, contexts[:_IN_CONTEXT])
    return SlotReport(
        address=address,
        info=info,
        sites=sites,
        raw=raw,
        static=static,
        in_context=in_context,
        half_keys=slot_half_keys(model, info.table, slot, usage),
        usage=own,
        contexts=contexts,
        dropped=dropped,
        notes=notes,
    )


def _decode(
    model: MemoryModel, sites: Sequence[str], slot: int, gates: MeanGates | None
) -> tuple[Decoding | None, tuple[Decoding, ...], tuple[str, ...]]:
    """The raw decoding, the static ones, and why some are missing."""
    notes, static = [], []
    raw = None
    try:
        raw = decode(model, [slot], sites[0], "raw", top=TOP)
    except (NotShown, SlotError) as problem:
        notes.append(str(problem))
        if isinstance(problem, NotShown):  # values of this model have no tokens at all
            return None, (), tuple(notes)
    for name in sites:
        info = model.site(name).info
        if not info.additive:
            notes.append(
                f"What {name} writes is no sum over its reads: a single value says nothing there."
            )
        elif info.gated and (gates is None or name not in gates.sites):
            notes.append(
                f"What it says at {name} on average (static) is not known: the mean gates of the "
                "tokens that read it come with a checkpoint that was evaluated."
            )
        else:
            static.append(decode(model, [slot], name, "static", top=TOP, gates=gates))
    return raw, tuple(static), tuple(notes)


def decode_in_context(
    model: MemoryModel, slot: int, contexts: Sequence[ReadContext]
) -> tuple[tuple[ContextDecoding, ...], int]:
    """``slot`` through the gates of the tokens that read it; how many contexts didn't read it.

    Contexts of sites that nothing gates are left out: there a value means the same everywhere.
    """
    infos = {each.site: model.site(each.site).info for each in contexts}
    gated = [c for c in contexts if infos[c.site].gated and infos[c.site].additive]
    found, dropped = [], 0
    for each in gated:
        gate = _gate(model, each, slot)
        if gate is None:
            dropped += 1
            continue
        token = visible_text(model.token_text(each.prefix[-1]))
        decoding = decode(model, [slot], each.site, gate, top=TOP)
        found.append(ContextDecoding(each, token, decoding))
    return tuple(found), dropped


def _gate(model: MemoryModel, context: ReadContext, slot: int) -> Tensor | None:
    """The gate of the token that read the slot; None if it doesn't read it when run again."""
    ids = torch.tensor([context.prefix], device=model.device)
    with session(record=True) as recording:
        run_sites(model, ids)
    slots = recording.reads[context.site].slots[0, -1, context.head]
    if not bool((slots == slot).any()):
        return None
    with torch.inference_mode():
        return model.site(context.site).gate(recording.inputs[context.site][0, -1])


Part = str | tuple[str, str]


@dataclass(frozen=True)
class Fires:
    """When a slot fires, for its headline: the token with most of its reads, and the surest one.

    ``sure_reads`` of the ``sure_contexts`` that end with the surest token read the slot. All of it
    is known of ``sampled`` tokens drawn at random; None: of all that were scanned.
    """

    most: str
    surest: str
    sure_reads: int
    sure_contexts: int
    sampled: int | None = None


def fires(
    triggers: Triggers, token_text: Callable[[int], str], sampled: int | None = None
) -> Fires | None:
    """When a slot fires, in all or in so many ``sampled`` tokens; None if no read is known."""
    if not len(triggers.ids):
        return None
    most = int(triggers.ids[triggers.reads.argmax()])
    return Fires(
        token_text(most),
        token_text(int(triggers.ids[0])),
        int(triggers.reads[0]),
        int(triggers.occurrences[0]),
        sampled,
    )


def headline(report: SlotReport, fires: Fires | None = None) -> list[Part]:
    """What the slot holds and when it fires, as parts of one sentence.

    A part is text, or ``(text, kind)`` with kind ``token`` or ``strong``.

    Args:
        report: of the slot.
        fires: at which tokens, where that is known.
    """
    parts: list[Part] = [(report.text, "strong"), " "]
    parts += _holds(report.main)
    use = report.usage
    if use is None:
        return [*parts, "; when it fires is known after a scan."]
    if not use.total:
        return [*parts, f"; no read of it was seen in the scan: {use.verdict.label}."]
    site, head = use.main_reader()
    reads = "once" if use.total == 1 else f"{use.total:,} times"
    parts += ["; it was read ", (reads, "strong"), f" (rank {use.by_reads.rank:,} of "]
    parts += [f"{use.slots:,}), most often by {site}·H{head}"]
    if fires is not None:
        where = " and at "
        if fires.sampled is not None:
            where = f"; in a sample of {fires.sampled:,} tokens most often at "
        parts += [where, (fires.most, "token")]
        if fires.surest != fires.most:
            parts += [", most surely at ", (fires.surest, "token")]
        parts += [f" (in {fires.sure_reads:,} of {fires.sure_contexts:,} contexts)"]
    return [*parts, ", and is judged ", (use.verdict.label, "strong"), "."]


def _holds(decoding: Decoding | None) -> list[Part]:
    if decoding is None:
        return ["holds a value that cannot be decoded without a gate"]
    through = "taken raw" if decoding.gate == "raw" else f"through {decoding.site}"
    if decoding.fallback[0]:
        through += "'s mean gate"
    if not decoding.passes[0]:
        through += "; no clearer than a random value would"
    tokens: list[Part] = []
    for text in decoding.texts(decoding.promoted[0])[:_NAMED]:
        tokens += [", " if tokens else "", (text, "token")]
    return ["promotes ", *tokens, f" ({through})"]
