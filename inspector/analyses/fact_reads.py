"""What every fact reads where its answer is due: slots, coefficients and direct effects."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from inspector.analyses.facts import Fact
from inspector.analyses.recall import Question, QuestionBatch, question_batches
from inspector.capture.cache import cache_folder, cache_key, replacing
from inspector.capture.contributions import read_contributions
from inspector.capture.session import run_sites, session
from inspector.errors import CacheError
from inspector.families.base import MemoryModel, Site
from inspector.memory.product_keys import SiteReads

NO_SLOT: Final = -1  # pads, where sites differ in heads or reads
_FORMAT: Final = 1
_AT_ONCE: Final = 256

Report = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class FactReads:
    """The reads of facts at the position that predicts the first token of the answer.

    Every fact is asked once, in its first phrasing. ``slots``, ``coefficients`` and ``effects``
    are ``[fact site head knn]`` in the order of ``sites``; where sites differ in size, ``slots``
    is padded with ``NO_SLOT`` and the others with 0. ``effects`` are direct effects on the
    answer's first token against the mean of the vocabulary, in logits, the rms held fixed; NaN
    where a site's output is no sum of its reads or not all parts of the model are known.
    ``answers [fact]`` are those tokens, ``probability [fact]`` what the model gives them.
    """

    fingerprint: str
    facts: tuple[Fact, ...]
    sites: tuple[str, ...]
    tables: tuple[int, ...]  # of each site
    slots: np.ndarray  # int64
    coefficients: np.ndarray  # float32
    effects: np.ndarray  # float32
    answers: np.ndarray  # int64
    probability: np.ndarray  # float32

    def __post_init__(self) -> None:
        """Refuse parts that disagree."""
        shape = self.slots.shape
        if shape[:2] != (len(self.facts), len(self.sites)) or len(shape) != 4:
            raise ValueError(f"slots are {shape}: not those of these facts and sites")
        if self.coefficients.shape != shape or self.effects.shape != shape:
            raise ValueError("slots, coefficients and effects disagree in shape")

    def of_slot(self, table: int, slot: int) -> pd.DataFrame:
        """Facts that read ``slot`` at any site of ``table``, largest summed effect first.

        ``effect`` is summed over the slot's reads; ``place`` names the site and head of the
        strongest of them.
        """
        own = np.array([number == table for number in self.tables])
        hit = (self.slots == slot) & own[None, :, None, None]
        fact, site, head, rank = hit.nonzero()
        reads = pd.DataFrame(
            {
                "fact": fact,
                "site": np.array(self.sites, dtype=object)[site],
                "head": head,
                "coefficient": self.coefficients[fact, site, head, rank],
                "effect": self.effects[fact, site, head, rank],
            }
        )
        return _by_fact(reads, self)

    def to_frame(self) -> pd.DataFrame:
        """One row a read: the fact's number, relation and subject, site, head, rank, slot, ..."""
        fact, site, head, rank = (self.slots != NO_SLOT).nonzero()
        at = (fact, site, head, rank)
        relations, subjects = (
            np.array([getattr(each, name) for each in self.facts], dtype=object)
            for name in ("relation", "subject")
        )
        return pd.DataFrame(
            {
                "fact": fact,
                "relation": relations[fact],
                "subject": subjects[fact],
                "site": np.array(self.sites, dtype=object)[site],
                "head": head,
                "rank": rank,
                "slot": self.slots[at],
                "coefficient": self.coefficients[at],
                "effect": self.effects[at],
            }
        )


def _by_fact(reads: pd.DataFrame, found: FactReads) -> pd.DataFrame:
    strongest = reads.loc[reads["coefficient"].abs().groupby(reads["fact"]).idxmax()]
    rows = strongest.set_index("fact")
    summed = reads.groupby("fact")["effect"].sum(min_count=1)  # NaN where none is known
    numbers = rows.index.to_numpy()
    facts = [found.facts[number] for number in numbers]
    frame = pd.DataFrame(
        {
            "fact": numbers,
            "relation": [fact.relation for fact in facts],
            "subject": [fact.subject for fact in facts],
            "object": [fact.object for fact in facts],
            "effect": summed.loc[numbers].to_numpy(),
            "coefficient": rows["coefficient"].to_numpy(),
            "place": [f"{s}·H{h}" for s, h in zip(rows["site"], rows["head"], strict=True)],
            "probability": found.probability[numbers],
        }
    )
    return frame.sort_values(["effect", "fact"], ascending=[False, True], ignore_index=True)


def fact_reads(
    model: MemoryModel,
    facts: Sequence[Fact],
    report: Report | None = None,
    cancel: Callable[[], bool] | None = None,
    *,
    cache: bool = True,
) -> FactReads | None:
    """Ask all ``facts`` once and record what is read where the answer is due.

    Args:
        model: an opened checkpoint with memory layers.
        facts: in the order in which they are numbered.
        report: told after every batch how many were asked, and of how many.
        cancel: asked before every batch; if it says True, None is returned.
        cache: whether to keep it on disk, in ``cache_folder()``, and to take it from there.

    Raises:
        PromptTooLong: a fact does not fit into the model's positions.
    """
    path = _path(model, facts) if cache else None
    if path is not None and path.is_file():
        try:
            return _load(path, model, facts)
        except CacheError:
            pass  # a broken one is made anew
    found = _ask(model, facts, report, cancel)
    if found is not None and path is not None:
        _save(path, found)
    return found


def _ask(
    model: MemoryModel,
    facts: Sequence[Fact],
    report: Report | None,
    cancel: Callable[[], bool] | None,
) -> FactReads | None:
    infos = [site.info for site in model.sites.values()]
    heads, knn = (max(getattr(info, name) for info in infos) for name in ("heads", "knn"))
    shape = (len(facts), len(infos), heads, knn)
    slots = np.full(shape, NO_SLOT, dtype=np.int64)
    coefficients, effects = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    answers, probability = np.zeros(len(facts), np.int64), np.zeros(len(facts), np.float32)
    unembedding = model.backbone.unembedding().float()
    questions = [Question(fact.prompts[0], fact.object) for fact in facts]
    done = 0
    for batch in question_batches(model, questions, _AT_ONCE):
        if cancel is not None and cancel():
            return None
        rows = list(batch.rows)
        asked = _ask_batch(model, batch, unembedding)
        answers[rows], probability[rows] = asked.answers, asked.probability
        for number, (info, (reads, effect)) in enumerate(zip(infos, asked.reads, strict=True)):
            part = (rows, number, slice(info.heads), slice(info.knn))
            slots[part] = reads.slots.cpu().numpy()
            coefficients[part] = reads.coefficients.float().cpu().numpy()
            effects[part] = effect.cpu().numpy()
        done += len(rows)
        if report is not None:
            report(done, len(facts))
    return _of(model, facts, (slots, coefficients, effects), answers, probability)


def _of(
    model: MemoryModel,
    facts: Sequence[Fact],
    grids: Sequence[np.ndarray],
    answers: np.ndarray,
    probability: np.ndarray,
) -> FactReads:
    """``grids`` are slots, coefficients and effects, each ``[fact site head knn]``."""
    infos = [site.info for site in model.sites.values()]
    names, tables = tuple(info.name for info in infos), tuple(info.table for info in infos)
    slots, coefficients, effects = grids
    return FactReads(
        model.fingerprint,
        tuple(facts),
        names,
        tables,
        slots,
        coefficients,
        effects,
        answers,
        probability,
    )


@dataclass(frozen=True, eq=False)
class _Asked:
    """One batch: reads and effects ``[batch head knn]`` by site; the answers' first tokens."""

    reads: list[tuple[SiteReads, Tensor]]
    answers: np.ndarray  # [batch]
    probability: np.ndarray  # [batch]


def _ask_batch(model: MemoryModel, batch: QuestionBatch, unembedding: Tensor) -> _Asked:
    rows, first = torch.arange(len(batch.ids), device=batch.ids.device), batch.first()
    with session(record=True, residual=True) as recording:
        run_sites(model, batch.ids)
    assert recording.residual is not None
    target = batch.targets[rows, first]
    reads = []
    with torch.inference_mode():
        final = recording.residual[rows, first]
        logits = model.backbone.head(model.backbone.final_norm(final)).float()
        chance = logits.softmax(-1)[rows, target]
        rms = model.backbone.rms(final)[:, None]
        direction = (unembedding[target] - unembedding.mean(0)) / rms  # [batch d_model]
        for name, site in model.sites.items():
            own = recording.reads[name]
            parts = (own.slots, own.scores, own.weights, own.coefficients)
            here = SiteReads(*(part[rows, first] for part in parts))
            x = recording.inputs[name][rows, first]
            reads.append((here, _effects(model, site, x, here, direction)))
    return _Asked(reads, target.cpu().numpy(), chance.cpu().numpy())


def _effects(
    model: MemoryModel, site: Site, x: Tensor, reads: SiteReads, direction: Tensor
) -> Tensor:
    """Direct effects of ``reads [batch head knn]`` along ``direction [batch d_model]``."""
    if not (site.info.additive and model.backbone.complete):
        return torch.full(reads.slots.shape, torch.nan)
    written = read_contributions(site, x, reads)
    carried = model.backbone.carried(written, site.info.layer, "feed_forward")
    return torch.einsum("bhkd,bd->bhk", carried.float(), direction)


def _path(model: MemoryModel, facts: Sequence[Fact]) -> Path:
    text = json.dumps([[fact.prompts[0], fact.object] for fact in facts])
    parameters = {
        "format": _FORMAT,
        "fingerprint": model.fingerprint,
        "computed": f"{model.dtype} {model.device.type}",
        "facts": hashlib.sha256(text.encode()).hexdigest(),
    }
    return cache_folder() / "fact_reads" / f"{cache_key(parameters)}.parquet"


_GRIDS: Final = {"slots": np.int64, "coefficients": np.float32, "effects": np.float32}


def _save(path: Path, found: FactReads) -> None:
    """One row a fact; grids as lists of site x head x knn numbers, their shape in the metadata."""
    size = int(np.prod(found.slots.shape[1:]))
    columns: dict[str, Any] = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(getattr(found, name).ravel()), size)
        for name in _GRIDS
    }
    columns |= {name: pa.array(getattr(found, name)) for name in ("answers", "probability")}
    about = {"shape": found.slots.shape[1:], "fingerprint": found.fingerprint}
    table = pa.table(columns).replace_schema_metadata({"about": json.dumps(about)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            pq.write_table(table, temporary)
    except (OSError, CacheError):
        return  # it serves this time, and is made again the next


def _load(path: Path, model: MemoryModel, facts: Sequence[Fact]) -> FactReads:
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[b"about"])
        grids = [
            table[name].combine_chunks().flatten().to_numpy().reshape(len(facts), *about["shape"])
            for name in _GRIDS
        ]
        answers, probability = (table[name].to_numpy() for name in ("answers", "probability"))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as problem:
        raise CacheError(f"{path} holds no reads of facts ({problem}). Delete it.") from None
    return _of(model, facts, grids, answers, probability)
