"""A fact as it is asked: which phrasings the model answers, and which are kept for the proof.

Where a fact lives is found on some phrasings and proven on others.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from inspector.analyses.answers import score_answers
from inspector.analyses.facts import Fact
from inspector.analyses.recall import Question, QuestionBatch, measure_recall, question_batch
from inspector.capture.generate import continue_greedily
from inspector.capture.trace import encode
from inspector.families.base import MemoryModel

Use = Literal["locate", "prove", "both", "none"]


@dataclass(frozen=True)
class Phrasing:
    """One phrasing of a fact and what the model, left alone, makes of it.

    ``probability`` of the whole answer; ``rank`` of its first token, 1 for the most probable;
    ``kept``: greedy decoding writes the answer, word for word. ``use``: ``locate``, ``prove``,
    ``both`` (there was only one), or ``none`` if the model doesn't answer it.
    """

    prompt: str
    heldout: bool
    probability: float
    rank: int
    kept: bool
    use: Use


@dataclass(frozen=True)
class AskedFact:
    """A fact in all its phrasings. ``ends``: whether the end of text counts as part of the answer.

    It does if the model writes it: then a longer answer is another answer.
    """

    fact: Fact
    phrasings: tuple[Phrasing, ...]
    ends: bool

    def prompts(self, use: Literal["locate", "prove"]) -> tuple[str, ...]:
        """The prompts used for one of the two."""
        return tuple(p.prompt for p in self.phrasings if p.use in (use, "both"))

    @property
    def known(self) -> bool:
        """Whether the model gives the answer in at least one phrasing."""
        return any(p.kept for p in self.phrasings)

    @property
    def fresh(self) -> bool:
        """Whether there are phrasings to prove it in that it isn't located on."""
        return any(p.use == "prove" for p in self.phrasings)

    def batch(self, model: MemoryModel, use: Literal["locate", "prove"]) -> QuestionBatch:
        """These phrasings (at least one), in their order, with the answer."""
        asked = [Question(prompt, self.fact.object) for prompt in self.prompts(use)]
        return question_batch(model, asked, ends=self.ends)

    def whole_batch(self, model: MemoryModel) -> QuestionBatch:
        """All phrasings, answered or not."""
        asked = [Question(phrasing.prompt, self.fact.object) for phrasing in self.phrasings]
        return question_batch(model, asked, ends=self.ends)


def ask_fact(model: MemoryModel, fact: Fact, seed: int = 0) -> AskedFact:
    """Ask ``fact`` in all its phrasings, and set some aside for the proof.

    Set aside are the held-out phrasings that the model answers; where there is none, one of the
    others, drawn with ``seed``. Phrasings it doesn't answer are used for neither.

    Raises:
        PromptTooLong: one does not fit into the model's positions.
    """
    prompts = (*fact.prompts, *fact.heldout_prompts)
    asked = [Question(prompt, fact.object) for prompt in prompts]
    recall = measure_recall(model, asked)
    ends = int(recall.correct.sum()) >= int(recall.begun.sum())
    kept = recall.correct if ends else recall.begun
    logprob = score_answers(model, question_batch(model, asked, ends=ends)).logprob
    found = [
        Phrasing(
            prompt,
            heldout=number >= len(fact.prompts),
            probability=math.exp(float(logprob[number])),
            rank=int(recall.rank[number]),
            kept=bool(kept[number]),
            use="none",
        )
        for number, prompt in enumerate(prompts)
    ]
    return AskedFact(fact, _shared_out(fact, found, seed), ends)


def _shared_out(fact: Fact, asked: Sequence[Phrasing], seed: int) -> tuple[Phrasing, ...]:
    own = [p for p in asked if p.kept and not p.heldout]
    aside = [p for p in asked if p.kept and p.heldout]
    if not own:
        own, aside = aside, []
    if not aside and len(own) > 1:
        draw = random.Random(f"{seed} {fact.relation} {fact.subject}")
        aside = [draw.choice(own)]
    located = [p for p in own if p not in aside]
    uses: dict[str, Use] = {p.prompt: "locate" if aside else "both" for p in located}
    uses |= {p.prompt: "prove" for p in aside}
    return tuple(replace(p, use=uses.get(p.prompt, "none")) for p in asked)


def says(model: MemoryModel, prompt: str, tokens: int = 8) -> str:
    """What greedy decoding writes after ``prompt``, up to the end of text or ``tokens``."""
    ids = encode(model, prompt)
    written = continue_greedily(model, ids, tokens)[0, ids.shape[1] :].tolist()
    end = model.tokenizer.eos_token_id
    if end in written:
        written = written[: written.index(end)]
    text = model.tokenizer.decode(written)
    assert isinstance(text, str)
    return text.strip()
