"""Before new values are kept: every place of a corpus that reads them, and what it suffers.

A random sample of the corpus answers within seconds; the whole of it leaves nothing out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from inspector.analyses.corpus_sample import CorpusSample, sample_corpus
from inspector.analyses.safety_tally import SafetyTally
from inspector.capture.corpus import Corpus, open_corpus
from inspector.capture.scan_windows import (
    Batch,
    Chunk,
    check_vocabulary,
    make_batches,
    make_chunks,
    read_windows,
)
from inspector.capture.session import logits_where, run_sites, session
from inspector.capture.value_edits import NewValues, Overlays, check_values, overlay_values
from inspector.families.base import MemoryModel

_CHUNK: Final = 2**14  # tokens between two looks at how much of the corpus was read
_BATCH: Final = 4096  # positions
_LOGITS: Final = 2**25  # numbers of one batch's logits


@dataclass(frozen=True)
class SafetyProgress:
    """How far it is: tokens seen, their share of what is looked at (None if not known), the worst.

    No tokens were seen yet while a sample is drawn.
    """

    tokens: int
    share: float | None
    contexts: int
    worst: float  # change of a log-probability, in nats


@dataclass(frozen=True, eq=False)
class SafetyView:
    """What new values do where a corpus reads them, the context that suffers most first.

    A context is a token with all before it and the token that follows; equal ones are counted once,
    and ``times [context]`` says how often they came. ``before`` and ``after [context]`` are the
    probabilities of the token that does follow, ``change [context]`` that of its log-probability in
    nats. ``texts`` and ``following`` tell the worst of them, as many as were asked for. Tokens that
    read none of the values but come after one that does are not contexts; ``later`` of them have a
    mean change of ``later_mean`` and a worst of ``later_worst``.

    Of a sample ``drawn_from`` is how many tokens the whole corpus has: it holds whole documents (or
    as much of one as the model reads at once), drawn at random with ``seed``.
    """

    corpus: str
    tokens: int
    complete: bool  # False: cancelled, or a sample
    before: np.ndarray
    after: np.ndarray
    change: np.ndarray
    times: np.ndarray
    texts: tuple[str, ...]
    following: tuple[str, ...]
    later: int
    later_mean: float
    later_worst: float
    drawn_from: int | None = None  # None: the corpus itself was looked at, from its start
    seed: int = 0

    @property
    def contexts(self) -> int:
        """Distinct contexts that read the values."""
        return len(self.change)

    def worse_than(self, nats: float) -> int:
        """Contexts whose log-probability falls by more than ``nats``."""
        return int((self.change < -nats).sum())

    def to_frame(self) -> pd.DataFrame:
        """One row a context, the worst first; only the first have texts."""
        blank = [""] * (self.contexts - len(self.texts))
        return pd.DataFrame(
            {
                "text": [*self.texts, *blank],
                "following": [*self.following, *blank],
                "before": self.before,
                "after": self.after,
                "change": self.change,
                "times": self.times,
            }
        )

    def to_json(self, top: int = 50) -> dict[str, Any]:
        """Counts, and the ``top`` worst contexts, as plain values."""
        mean = float(np.average(self.change, weights=self.times)) if self.contexts else 0.0
        return {
            "corpus": self.corpus,
            "tokens": self.tokens,
            "complete": self.complete,
            "drawn_from": self.drawn_from,
            "seed": self.seed,
            "contexts": self.contexts,
            "reads": int(self.times.sum()),
            "mean_change": mean,
            "worse_than_0.1_nats": self.worse_than(0.1),
            "worse_than_1_nat": self.worse_than(1.0),
            "later": self.later,
            "later_mean": self.later_mean,
            "later_worst": self.later_worst,
            "worst": self.to_frame().head(min(top, len(self.texts))).to_dict("records"),
        }


def safety_view(
    model: MemoryModel,
    edits: Sequence[NewValues],
    corpus: str | Path | Iterable[str] | Corpus,
    tokens: int | None = None,
    *,
    seed: int = 0,
    keep: int = 200,
    report: Callable[[SafetyProgress], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> SafetyView:
    """Run ``corpus`` as the model is and, where edited values are read, as edited.

    Args:
        model: an opened checkpoint; it isn't touched.
        edits: the new values, as of a ``FactEdit`` or a ``Patch``.
        corpus: what ``scan`` takes; a checkpoint's folder stands for its own facts.
        tokens: look at a sample of at least so many, in whole documents drawn at random; None
            looks at all, as one should before the values are kept.
        seed: draws the sample.
        keep: texts are told of so many contexts, the worst.
        report: told after every batch how far it is.
        cancel: asked before every batch; what was found until then is the result.

    Raises:
        CorpusError: the corpus cannot be read.
        SlotError: the model has no such table or slot, or values of another width.
    """
    for edit in edits:
        check_values(model, edit)
    source, values = open_corpus(corpus), overlay_values(edits)
    stopped = cancel or (lambda: False)
    report = report or (lambda progress: None)
    sample, exhausted, tally = None, False, SafetyTally(keep)
    if tokens is not None:
        report(SafetyProgress(0, None, 0, 0.0))
        sample = sample_corpus(model, source, tokens, seed, cancel=stopped)
    for chunk, batch in _batches(model, source, sample, drawn=tokens is not None):
        if stopped():
            exhausted = False
            break
        _look(model, edits, values, batch, tally)
        tally.tokens += len(batch.tokens)
        exhausted = chunk.exhausted
        share = chunk.share if sample is None else tally.tokens / sample.tokens
        report(SafetyProgress(tally.tokens, share, len(tally), tally.worst))
    found = tally.arrays()
    text = model.token_text
    return SafetyView(
        corpus=source.name,
        tokens=tally.tokens,
        complete=exhausted and (sample is None or sample.complete),
        **found,
        texts=tuple("".join(map(text, ids[:-1])) for ids in tally.kept()),
        following=tuple(text(ids[-1]) for ids in tally.kept()),
        later=tally.later,
        later_mean=tally.later_sum / max(tally.later, 1),
        later_worst=tally.later_worst,
        drawn_from=None if sample is None else sample.drawn_from,
        seed=seed,
    )


def _batches(
    model: MemoryModel, corpus: Corpus, sample: CorpusSample | None, *, drawn: bool
) -> Iterator[tuple[Chunk, Batch]]:
    """The corpus, or what was drawn from it: nothing if drawing was stopped."""
    size = max(model.positions, min(_BATCH, _LOGITS // model.backbone.head.out_features))
    windows = iter(sample.windows if sample else ()) if drawn else read_windows(model, corpus)
    for chunk in make_chunks(windows, _CHUNK, None):
        check_vocabulary(model, chunk.ids)
        for batch in make_batches(chunk, size, model.device):
            yield chunk, batch


def _look(
    model: MemoryModel,
    edits: Sequence[NewValues],
    values: Overlays,
    batch: Batch,
    tally: SafetyTally,
) -> None:
    """Find where ``batch`` reads edited values, and compare the predictions from there on."""
    with session(record=True) as recording:
        run_sites(model, batch.ids)
    read = torch.zeros_like(batch.ids, dtype=torch.bool)
    for name, reads in recording.reads.items():
        edited = values.get(model.sites[name].info.table)
        if edited is not None:
            read |= torch.isin(reads.slots, edited.slots.to(reads.slots.device)).flatten(2).any(-1)
    read[:, :-1] &= _real(batch)[:, 1:]
    read[:, -1] = False  # nothing follows the last token
    rows = read.any(-1)
    if not rows.any():
        return
    ids, read, real = batch.ids[rows], read[rows], _real(batch)[rows]
    since = read.cummax(-1).values  # a causal model's later predictions may change as well
    since[:, :-1] &= real[:, 1:]
    since[:, -1] = False
    following = ids.roll(-1, dims=-1)[since]
    chances = []
    for each in ((), edits):
        with session(each), torch.inference_mode():
            scores = logits_where(model, ids, since).float().log_softmax(-1)
        chances.append(scores.gather(-1, following[:, None])[:, 0].double().cpu().numpy())
    row, pos = since.nonzero().cpu().numpy().T
    tally.add(ids.cpu().numpy(), row, pos, read[since].cpu().numpy(), *chances)


def _real(batch: Batch) -> Tensor:
    """Which positions hold tokens, ``[batch pos]`` bool."""
    if batch.real is None:
        return torch.ones_like(batch.ids, dtype=torch.bool)
    flat = torch.zeros(batch.ids.numel(), dtype=torch.bool, device=batch.ids.device)
    flat[batch.real] = True
    return flat.view(batch.ids.shape)
