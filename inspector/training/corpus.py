"""Sentences as batches of token ids: a pure function of the seed and the step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from inspector.training.interventions import Interventions, ReadSource, read_source

_POOL = 8  # batches sorted by length together, so that little of a batch is padding


@dataclass(frozen=True)
class Batch:
    """One training batch; position p predicts token p + 1.

    ``ids [batch pos]``, ``targets [batch pos]`` (the next token), ``weights [batch pos]`` of the
    loss at each position, 0 on padding; ``source`` where its reads come from, None: as always.
    """

    ids: Tensor
    targets: Tensor
    weights: Tensor
    source: ReadSource | None = None


class Corpus:
    """Tokenised ``(prompt, answer)`` sentences; every one ends with the end-of-text token."""

    def __init__(
        self,
        sentences: Sequence[tuple[str, str]],
        tokenizer: PreTrainedTokenizerFast,
        *,
        batch: int,
        prompt_weight: float,
        seed: int,
        interventions: Interventions | None = None,
    ) -> None:
        """Encode ``sentences``; ``batch`` of them make one step."""
        self._interventions = interventions
        prompts = tokenizer([prompt for prompt, _ in sentences]).input_ids
        whole = tokenizer([f"{prompt} {answer}" for prompt, answer in sentences]).input_ids
        self._rows = [np.array([*ids, tokenizer.eos_token_id]) for ids in whole]
        self._answers = [len(ids) for ids in prompts]  # position of the answer's first token
        self._pad = tokenizer.pad_token_id
        self._batch, self._prompt_weight, self._seed = batch, prompt_weight, seed
        self.per_epoch = len(self._rows) // batch
        if not self.per_epoch:
            raise ValueError(f"{len(self._rows)} sentences do not fill one batch of {batch}")
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def longest(self) -> int:
        """Tokens of the longest sentence that the model has to read."""
        if self._interventions is None:
            return max(map(len, self._rows)) - 1
        pairs = list(zip(map(len, self._rows), self._answers, strict=True))
        return max(start for _, start in pairs) + max(end - start for end, start in pairs) - 1

    def batch(self, step: int) -> Batch:
        """The batch of step ``step``: the same one each time it is asked for."""
        epoch, index = divmod(step, self.per_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, self._epoch_order(epoch))
        rows = self._order[1][index].tolist()
        plan = self._interventions.plan(rows, step) if self._interventions else None
        sequences = [self._rows[row] for row in rows]
        if plan is not None:
            sequences = [self._spliced(*pair) for pair in zip(rows, plan.answer_of, strict=True)]
        starts = [self._answers[row] for row in rows]
        lengths = [len(sequence) for sequence in sequences]
        length = max(lengths) - 1
        ids = np.full((len(rows), length + 1), self._pad)
        weights = np.zeros((len(rows), length), dtype=np.float32)
        for place, (tokens, answer) in enumerate(zip(sequences, starts, strict=True)):
            ids[place, : len(tokens)] = tokens
            weights[place, : answer - 1] = self._prompt_weight
            weights[place, answer - 1 : len(tokens) - 1] = 1.0
        whole = torch.from_numpy(ids)
        source = read_source(plan, starts, lengths, length) if plan is not None else None
        return Batch(whole[:, :-1], whole[:, 1:], torch.from_numpy(weights), source)

    def _spliced(self, row: int, answer_of: int) -> np.ndarray:
        """The prompt of one sentence with the answer of another (or its own)."""
        prompt, answer = self._rows[row][: self._answers[row]], self._rows[answer_of]
        return np.concatenate([prompt, answer[self._answers[answer_of] :]])

    def _epoch_order(self, epoch: int) -> np.ndarray:
        """Row numbers ``[step, batch]`` of one epoch: shuffled, alike in length within a batch."""
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(len(self._rows))[: self.per_epoch * self._batch]
        lengths = np.array([len(self._rows[row]) for row in order])
        pool = self._batch * _POOL
        pieces = [
            order[start : start + pool][np.argsort(lengths[start : start + pool], kind="stable")]
            for start in range(0, len(order), pool)
        ]
        batches = np.concatenate(pieces).reshape(self.per_epoch, self._batch)
        return batches[rng.permutation(self.per_epoch)]
