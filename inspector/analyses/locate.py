"""Where one fact lives: every read's effect on its answer, and its core sets."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from inspector.analyses.ablations import ABLATIONS, Ablation, Scope
from inspector.analyses.core_sets import CoreSet, find_core_set
from inspector.analyses.facts import Fact
from inspector.analyses.phrasings import AskedFact, ask_fact, says
from inspector.analyses.read_effects import ReadEffects, read_effects
from inspector.errors import FactsError
from inspector.families.base import MemoryModel, SiteInfo

EXACT: Final = 64  # reads of each phrasing whose effect is measured by ablation
Report = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class FactReport:
    """Where a fact lives in one model.

    ``asked``: its phrasings, and which of them were used. ``tokens``: per located phrasing the
    texts of its tokens, the answer's included, in the order that ``effects.phrasing`` counts.
    ``cores`` by ablation, *zero* and *mask*; empty if the model doesn't know the fact, and then
    ``instead`` is what it says. ``scope``: which reads of a slot an ablation takes.
    """

    model: str
    fingerprint: str
    asked: AskedFact
    tokens: tuple[tuple[str, ...], ...]
    sites: Mapping[str, SiteInfo]
    effects: ReadEffects
    cores: Mapping[Ablation, CoreSet]
    scope: Scope
    instead: str = ""

    @property
    def fact(self) -> Fact:
        """The fact."""
        return self.asked.fact

    def summary(self) -> str:
        """One sentence: what was found."""
        fact = self.fact
        if not self.asked.known:
            return (
                f"{self.model} does not know this fact: asked for {fact.object!r} it says "
                f"{self.instead!r}. What no pass gives cannot be located."
            )
        if not self.cores:
            return f"{self.model} has no memory layers, so the fact lives elsewhere."
        return " ".join(_describe(core) for core in self.cores.values())

    def to_frame(self) -> pd.DataFrame:
        """One row a read, strongest first: prompt, token, address, effects, and which core sets."""
        frame = self.effects.to_frame()
        prompts = self.asked.prompts("locate") or tuple(p.prompt for p in self.asked.phrasings)
        frame.insert(0, "prompt", [prompts[row] for row in frame["phrasing"]])
        places = zip(frame["phrasing"], frame["pos"], strict=True)
        frame.insert(3, "token", [self.tokens[row][pos] for row, pos in places])
        named = zip(frame["site"], frame["slot"], frame["head"], strict=True)
        frame["address"] = [self.sites[name].address(int(s), int(h)) for name, s, h in named]
        for kind, core in self.cores.items():
            frame[f"in_{kind}_core"] = core.covers(frame, self.sites)
        return frame

    def to_json(self) -> dict[str, Any]:
        """The fact, its phrasings and core sets as plain values; the reads are in ``to_frame``."""
        return {
            "relation": self.fact.relation,
            "subject": self.fact.subject,
            "object": self.fact.object,
            "summary": self.summary(),
            "known": self.asked.known,
            "instead": self.instead,
            "end_counts": self.asked.ends,
            "phrasings": [dict(vars(phrasing)) for phrasing in self.asked.phrasings],
            "scope": self.scope,
            "reads": len(self.effects),
            "core_sets": {kind: core.to_json() for kind, core in self.cores.items()},
        }


def _describe(core: CoreSet) -> str:
    if not core.members:
        return f"It has no core set for {core.kind}: {core.why}."
    most = "no smaller one would do" if core.fewest else "none of them can be left out"
    count = f"{len(core.members)} slot{'s' if len(core.members) > 1 else ''}"
    where = " where the answer is produced" if core.searched == "answer" else ""
    return (
        f"For {core.kind} its core set is {count} of the {core.common:,} that all phrasings "
        f"read{where}; {most}."
    )


def locate(
    model: MemoryModel,
    fact: Fact,
    *,
    scope: Scope = "table",
    kinds: Sequence[Ablation] = ABLATIONS,
    exact: int = EXACT,
    seed: int = 0,
) -> FactReport:
    """Find the slots that carry ``fact``, on its phrasings that are not kept for the proof.

    Args:
        model: the model; one without memory gives a report without reads.
        fact: what to look for; see ``ask_fact`` for which phrasings are used.
        scope: which reads of a slot an ablation takes: all of the table (the default), those of a
            site, of a head, or of a head where the answer is produced (*read*).
        kinds: the ablations that a core set is sought for.
        exact: how many reads of each phrasing are ablated one by one.
        seed: draws the phrasing that is kept for the proof where none was held out.

    Raises:
        PromptTooLong: a phrasing does not fit into the model's positions.
        ValueError: there is no such ablation or scope.
    """
    asked = ask_fact(model, fact, seed)
    if asked.known:
        batch = asked.batch(model, "locate")
        instead = ""
    else:
        batch = asked.whole_batch(model)
        instead = says(model, fact.prompts[0])
    effects = read_effects(model, batch, exact=exact)
    cores = {
        kind: find_core_set(model, batch, effects, kind, scope)
        for kind in (kinds if asked.known and model.sites else ())
    }
    texts = {token: model.token_text(token) for token in set(batch.ids.flatten().tolist())}
    lengths = (batch.answering.long().cumsum(-1).argmax(-1) + 1).tolist()
    return FactReport(
        model=model.name,
        fingerprint=model.fingerprint,
        asked=asked,
        tokens=tuple(
            tuple(texts[token] for token in row[:length])
            for row, length in zip(batch.ids.tolist(), lengths, strict=True)
        ),
        sites={name: site.info for name, site in model.sites.items()},
        effects=effects,
        cores=cores,
        scope=scope,
        instead=instead,
    )


def find_fact(facts: Sequence[Fact], subject: str, relation: str | None = None) -> Fact:
    """The fact about ``subject``, by its name in any case; ``relation`` if there are several.

    Raises:
        FactsError: there is none, or there are several.
    """
    wanted = subject.strip().casefold()
    about = [f for f in facts if f.subject.casefold() == wanted]
    found = [f for f in about if relation is None or f.relation == relation]
    if len(found) == 1:
        return found[0]
    if found:
        known = ", ".join(sorted({f.relation for f in found}))
        raise FactsError(f"There are several facts about {subject!r}; name a relation: {known}.")
    if about:
        known = ", ".join(sorted({f.relation for f in about}))
        raise FactsError(f"There is no {relation} of {subject!r}; its relations are: {known}.")
    names = sorted({f.subject for f in facts})
    close = difflib.get_close_matches(subject, names, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise FactsError(
        f"No fact is about {subject!r}; these facts have {len(names):,} other subjects.{hint}"
    )
