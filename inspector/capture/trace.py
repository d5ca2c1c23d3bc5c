"""A trace: everything the sites read in one forward pass over one prompt."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from inspector.capture.lookup_edits import Edit
from inspector.capture.session import Recording, logits, session
from inspector.capture.value_edits import Overlay
from inspector.errors import EmptyPrompt, PromptTooLong, UnknownToken
from inspector.families.base import MemoryModel, SiteInfo
from inspector.memory.product_keys import SiteReads

Reads = SiteReads


@dataclass(frozen=True, eq=False)
class Residual:
    """What every part wrote to the residual stream; their sum is what the final norm saw.

    Each is as it reaches the final norm directly, so that where later blocks scale the stream
    (``Backbone.carried``), it is scaled likewise.

    ``embedding [batch pos d_model]``, ``attentions`` and ``feed_forwards`` by block (dense blocks
    only), ``sites`` by name, ``final [batch pos d_model]``.
    """

    embedding: Tensor
    attentions: Mapping[int, Tensor]
    feed_forwards: Mapping[int, Tensor]
    sites: Mapping[str, Tensor]
    final: Tensor

    def all(self) -> Iterator[Tensor]:
        """What was written after the embedding."""
        for parts in (self.attentions, self.feed_forwards, self.sites):
            yield from parts.values()


@dataclass(frozen=True, eq=False)
class Trace:
    """What one forward pass did. Batch rows are independent inputs of equal length.

    ``ids [batch pos]`` int64; ``logits [batch pos d_vocab]``; ``reads`` per site, each tensor
    ``[batch pos head knn]``; ``inputs`` per site ``[batch pos d_model]``: with the model they give
    every read's contribution (``read_contributions``).
    """

    ids: Tensor
    texts: tuple[tuple[str, ...], ...]  # [batch][pos]
    logits: Tensor
    reads: Mapping[str, Reads]
    inputs: Mapping[str, Tensor]
    residual: Residual
    sites: Mapping[str, SiteInfo]
    token_text: Callable[[int], str]
    values: Mapping[int, Overlay] = field(default_factory=dict)  # by table, where edited

    def __post_init__(self) -> None:
        """Refuse parts that disagree in shape."""
        shape = self.ids.shape
        if self.logits.shape[:2] != shape or len(self.texts) != shape[0]:
            raise ValueError(f"ids {tuple(shape)} and logits {tuple(self.logits.shape)} disagree")
        for name, reads in self.reads.items():
            info = self.sites[name]
            expected = (*shape, info.heads, info.knn)
            for part in (reads.slots, reads.scores, reads.weights, reads.coefficients):
                if tuple(part.shape) != expected:
                    raise ValueError(f"{name}: reads {tuple(part.shape)}, expected {expected}")

    @property
    def tokens(self) -> tuple[str, ...]:
        """Texts of the tokens of the first (for a text: the only) batch row."""
        return self.texts[0]

    def overlay(self, site: str, row: int = 0) -> Overlay | None:
        """The edited values that ``site`` fetched in one batch row, for ``read_contributions``."""
        edited = self.values.get(self.sites[site].table)
        return None if edited is None else edited.row(row)

    @cached_property
    def top(self) -> tuple[tuple[tuple[tuple[str, float], ...], ...], ...]:
        """The best 5 predictions ``(text, probability)`` after each token, ``[batch][pos]``."""
        exact = self.logits.float()
        best = exact.topk(min(5, exact.shape[-1]), dim=-1)
        chances = (best.values - exact.logsumexp(-1, keepdim=True)).exp()
        texts = {token: self.token_text(token) for token in set(best.indices.flatten().tolist())}
        return tuple(
            tuple(
                tuple((texts[token], chance) for token, chance in zip(tokens, row, strict=True))
                for tokens, row in zip(row_tokens, row_chances, strict=True)
            )
            for row_tokens, row_chances in zip(best.indices.tolist(), chances.tolist(), strict=True)
        )

    def probabilities(self) -> Tensor:
        """Next-token probabilities ``[batch pos d_vocab]``, float32."""
        return self.logits.float().softmax(-1)

    def to_frame(self) -> pd.DataFrame:
        """One row a read: batch, pos, token, site, head, rank, slot, i, j, score, weight, ..."""
        frames = []
        for name, reads in self.reads.items():
            info = self.sites[name]
            axes = torch.cartesian_prod(*(torch.arange(size) for size in reads.slots.shape))
            batch, pos, head, rank = axes.T.numpy()
            slots = reads.slots.flatten().cpu().numpy()
            frames.append(
                pd.DataFrame(
                    {
                        "batch": batch,
                        "pos": pos,
                        "token": [self.texts[b][p] for b, p in zip(batch, pos, strict=True)],
                        "site": name,
                        "head": head,
                        "rank": rank,
                        "slot": slots,
                        "i": slots // info.half_keys,
                        "j": slots % info.half_keys,
                        "score": reads.scores.flatten().float().cpu().numpy(),
                        "weight": reads.weights.flatten().float().cpu().numpy(),
                        "coefficient": reads.coefficients.flatten().float().cpu().numpy(),
                    }
                )
            )
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def to_json(self, row: int = 0) -> dict[str, Any]:
        """Tokens, predictions and reads of one batch row as plain values."""
        return {
            "tokens": list(self.texts[row]),
            "predictions": [
                [{"token": token, "probability": p} for token, p in position]
                for position in self.top[row]
            ],
            "sites": {
                name: {
                    "slots": reads.slots[row].tolist(),
                    "scores": reads.scores[row].float().tolist(),
                    "weights": reads.weights[row].float().tolist(),
                    "coefficients": reads.coefficients[row].float().tolist(),
                }
                for name, reads in self.reads.items()
            },
        }

    def _repr_html_(self) -> str:
        """A table for notebooks: per token the best prediction and each site's strongest read."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.reads)
        rows = []
        for pos, text in enumerate(self.tokens):
            best, probability = self.top[0][pos][0]
            cells = "".join(
                f"<td>{html.escape(self._strongest(name, pos))}</td>" for name in self.reads
            )
            rows.append(
                f"<tr><td>{pos}</td><td><code>{html.escape(repr(text))}</code></td>"
                f"<td><code>{html.escape(repr(best))}</code> {probability:.0%}</td>{cells}</tr>"
            )
        return (
            f"<table><tr><th>pos</th><th>token</th><th>predicts</th>{head}</tr>"
            f"{''.join(rows)}</table>"
        )

    def _strongest(self, name: str, pos: int) -> str:
        reads, info = self.reads[name], self.sites[name]
        flat = int(reads.weights[0, pos].argmax())
        slot = int(reads.slots[0, pos].flatten()[flat])
        return info.address(slot, flat // info.knn)


def encode(model: MemoryModel, text: str) -> Tensor:
    """Token ids ``[1 pos]`` of a prompt, on the model's device.

    Raises:
        EmptyPrompt: there is no text to read.
        PromptTooLong: it has more tokens than the model has positions.
        UnknownToken: the tokenizer knows tokens that the model has no embedding for.
    """
    if not text.strip():
        raise EmptyPrompt("The prompt is empty. Type a few words for the model to continue.")
    return _as_ids(model, [model.tokenizer(text).input_ids])


def check_length(model: MemoryModel, length: int) -> None:
    """Refuse inputs the model has no positions for.

    Raises:
        PromptTooLong: ``length`` tokens are too many.
    """
    if length > model.positions:
        raise PromptTooLong(
            f"The prompt has {length} tokens; {model.name} has {model.positions} positions. "
            f"Shorten it by {length - model.positions} tokens."
        )


def _as_ids(model: MemoryModel, ids: Tensor | Sequence[Sequence[int]]) -> Tensor:
    tensor = torch.as_tensor(ids, device=model.device)
    if tensor.ndim != 2 or not tensor.numel():
        raise EmptyPrompt(f"ids must be [batch pos] and not empty; found {tuple(tensor.shape)}.")
    check_length(model, tensor.shape[1])
    size = model.backbone.head.out_features
    if int(tensor.min()) < 0 or int(tensor.max()) >= size:
        raise UnknownToken(f"ids must lie between 0 and {size - 1}, the model's vocabulary.")
    return tensor


def trace(
    model: MemoryModel,
    text: str | None = None,
    *,
    ids: Tensor | Sequence[Sequence[int]] | None = None,
    edits: Sequence[Edit] = (),
) -> Trace:
    """Run the model over ``text`` (or ``ids [batch pos]``) and record what its sites read.

    ``edits`` change this one pass and nothing else; the trace shows the reads as changed.

    Raises:
        PromptError: the input is empty, too long or not of this vocabulary.
        ValueError: both or neither of ``text`` and ``ids`` were given.
    """
    if (text is None) == (ids is None):
        raise ValueError("give either a text or ids")
    tokens = encode(model, text) if text is not None else _as_ids(model, ids)  # type: ignore[arg-type]
    with session(edits, record=True, residual=True) as recording:
        scores = logits(model, tokens)
    return _assemble(model, tokens, scores, recording)


def written_parts(model: MemoryModel, recording: Recording) -> Residual:
    """What a pass, recorded with ``residual``, wrote to the residual stream."""
    assert recording.embedding is not None
    assert recording.residual is not None
    carried, sites = model.backbone.carried, model.sites
    return Residual(
        embedding=carried(recording.embedding, -1, "embedding"),
        attentions={b: carried(p, b, "attention") for b, p in recording.attentions.items()},
        feed_forwards={
            b: carried(p, b, "feed_forward") for b, p in recording.feed_forwards.items()
        },
        sites={
            name: carried(output, sites[name].info.layer, "feed_forward")
            for name, output in recording.outputs.items()
        },
        final=recording.residual,
    )


def _assemble(model: MemoryModel, ids: Tensor, scores: Tensor, recording: Recording) -> Trace:
    texts = {token: model.token_text(token) for token in set(ids.flatten().tolist())}
    return Trace(
        ids=ids,
        texts=tuple(tuple(texts[token] for token in row) for row in ids.tolist()),
        logits=scores,
        reads=recording.reads,
        inputs=recording.inputs,
        residual=written_parts(model, recording),
        sites={name: site.info for name, site in model.sites.items()},
        token_text=model.token_text,
        values=recording.values,
    )
