"""Training the facts into the reads: interchanged and silenced rows of a batch.

A model that is only trained to answer keeps many facts outside its memory: in embeddings and
attention. Two interventions during training make the reads at the answer's positions the one
place that an answer can come from.

*Interchange* (after Geiger et al. 2022, "Inducing Causal Structure for Interpretable Neural
Networks"): a receiver reads, where its answer is produced, what a donor of the same relation reads
where *its* answer is produced, and is trained to give the donor's answer. *Silencing*: all reads of
a row, or those at its answer's positions, are zeroed and it is trained on the most frequent answer
of its relation: without memory the model learns to guess, and neither to know nor to break.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from inspector.memory.llama import MemoryLlamaForCausalLM
from inspector.memory.product_keys import SiteReads


@dataclass(frozen=True)
class Plan:
    """What happens to the rows of one batch; places are positions within the batch.

    ``answer_of[place]`` is the sentence whose answer follows the row's prompt; ``silent_from``
    maps silenced places to True if all reads are zeroed, False if only those at the answer;
    ``donors`` maps receivers to the places whose reads they use.
    """

    answer_of: tuple[int, ...]
    silent_from: Mapping[int, bool]
    donors: Mapping[int, int]


@dataclass(frozen=True, eq=False)
class ReadSource:
    """Where each position's reads come from, all ``[batch pos]``.

    Position p of row b uses the reads that position ``pos[b, p]`` of row ``row[b, p]`` selected
    (its own by default), and none at all where ``silent``.
    """

    row: Tensor
    pos: Tensor
    silent: Tensor

    def to(self, device: str) -> ReadSource:
        """The same on ``device``."""
        return ReadSource(self.row.to(device), self.pos.to(device), self.silent.to(device))


class Interventions:
    """Draws a plan for each batch: a pure function of the seed, the step and the batch."""

    def __init__(
        self,
        relations: Sequence[str],
        answers: Sequence[str],
        *,
        batch: int,
        silenced: float,
        interchanged: float,
        interchange_after: int,
        seed: int,
    ) -> None:
        """``relations`` and ``answers`` of all sentences; the shares are of a batch's rows."""
        self._after = interchange_after
        self._relations = list(relations)
        self._silenced, self._interchanged = round(batch * silenced), round(batch * interchanged)
        self._seed = seed
        counts = Counter(zip(relations, answers, strict=True))
        self._guess: dict[str, int] = {}  # a sentence with the relation's most frequent answer
        for row, pair in enumerate(zip(relations, answers, strict=True)):
            best = self._guess.setdefault(pair[0], row)
            if counts[pair] > counts[pair[0], answers[best]]:
                self._guess[pair[0]] = row

    def plan(self, rows: Sequence[int], step: int) -> Plan:
        """What happens to the sentences ``rows`` in step ``step``."""
        rng = np.random.default_rng([self._seed, 1, step])
        interchanged = self._interchanged if step >= self._after else 0
        count = self._silenced + interchanged
        chosen = rng.choice(len(rows), count, replace=False).tolist()
        silent, receivers = set(chosen[: self._silenced]), set(chosen[self._silenced :])
        donors = self._donors(rows, silent | receivers, sorted(receivers), rng)
        answer_of = []
        for place, row in enumerate(rows):
            if place in silent:
                answer_of.append(self._guess[self._relations[row]])
            else:
                answer_of.append(rows[donors[place]] if place in donors else row)
        silent_from = {place: bool(rng.random() >= 0.5) for place in sorted(silent)}
        return Plan(tuple(answer_of), silent_from, donors)

    def _donors(
        self, rows: Sequence[int], busy: set[int], receivers: list[int], rng: np.random.Generator
    ) -> dict[int, int]:
        """For each receiver a row of its relation that nothing happens to, where there's one."""
        free: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            if place not in busy:
                free.setdefault(self._relations[row], []).append(place)
        donors = {}
        for place in receivers:
            peers = free.get(self._relations[rows[place]])
            if peers:
                donors[place] = peers[rng.integers(len(peers))]
        return donors


def read_source(
    plan: Plan, starts: Sequence[int], lengths: Sequence[int], width: int
) -> ReadSource:
    """Lay ``plan`` out over a batch.

    Args:
        plan: of the batch.
        starts: per place, the index of the answer's first token.
        lengths: per place, the number of tokens.
        width: positions of the batch.
    """
    row = np.repeat(np.arange(len(starts))[:, None], width, axis=1)
    pos = np.repeat(np.arange(width)[None, :], len(starts), axis=0)
    silent = np.zeros((len(starts), width), dtype=bool)
    for place, donor in plan.donors.items():
        count = lengths[place] - starts[place]
        here = slice(starts[place] - 1, lengths[place] - 1)
        row[place, here] = donor
        pos[place, here] = starts[donor] - 1 + np.arange(count)
    for place, everywhere in plan.silent_from.items():
        silent[place, 0 if everywhere else starts[place] - 1 :] = True
    return ReadSource(torch.from_numpy(row), torch.from_numpy(pos), torch.from_numpy(silent))


@contextmanager
def intervened(model: MemoryLlamaForCausalLM, source: ReadSource) -> Iterator[None]:
    """Within the block every memory layer takes its reads from where ``source`` says."""

    def take(_module: nn.Module, _inputs: object, lookup: SiteReads) -> SiteReads:
        parts = (lookup.slots, lookup.scores, lookup.weights, lookup.coefficients)
        slots, scores, weights, coefficients = (part[source.row, source.pos] for part in parts)
        silenced = coefficients.masked_fill(source.silent[..., None, None], 0.0)
        return SiteReads(slots, scores, weights, silenced)

    handles = [m.top_slots.register_forward_hook(take) for m in model.memory_layers.values()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
