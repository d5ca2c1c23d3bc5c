"""What every family is held against: its checkpoints, and its sites worked out slowly by hand.

A new family is one more line in ``CASES`` for each of its variants; ``test_conformance.py`` then
asks it everything.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inspector.capture.load import load
from inspector.capture.lookup_edits import Edit
from inspector.capture.session import logits, session
from inspector.families.base import MemoryModel, Site
from inspector.families.convert import convert
from inspector.families.registry import open_checkpoint
from inspector.memory.product_keys import SiteReads
from tests.conftest import SENTENCES
from tests.families import tiny_meta, tiny_re133, tiny_wrapped
from tests.families.by_hand import native_logits
from tests.families.doge_by_hand import doge_logits
from tests.families.meta_by_hand import meta_logits
from tests.families.re133_by_hand import re133_logits
from tests.families.tiny_doge import write_doge
from tests.families.tiny_native import write_checkpoint
from tests.families.wrapped_by_hand import wrapped_logits
from tests.memory.by_hand import best_slots, softmax

Slots = frozenset[int]
NOTHING: Slots = frozenset()
ByHand = Callable[[Path, Tensor, Slots, Slots], Tensor]


def unhooked_logits(path: Path, ids: Tensor) -> Tensor:
    """What a checkpoint computes before any hook is on it."""
    return logits(open_checkpoint(path, device=torch.device("cpu")), ids)


@dataclass(frozen=True)
class Case:
    """One way in which the checkpoints of a family can differ.

    ``write(folder, seed)`` makes one. ``by_hand(path, ids, zeroed, masked)`` computes its logits
    from the numbers in its files, with none of the inspector's code; None if nobody wrote that.
    ``open(path, device, dtype)`` and ``plain_logits(path, ids)`` say how it's opened, and what it
    computes without hooks, where that isn't by its path.
    """

    name: str
    write: Callable[[Path, int], Path]
    by_hand: ByHand | None = None
    open: Callable[..., MemoryModel] = load
    plain_logits: Callable[[Path, Tensor], Tensor] = unhooked_logits


def native(name: str, **options: Any) -> Case:
    """Our own checkpoints with these fields in their configuration."""

    def write(folder: Path, seed: int) -> Path:
        return write_checkpoint(folder, SENTENCES, seed=seed, **options)

    return Case(f"native-{name}", write, native_logits)


def meta(
    name: str, write: Callable[..., Path] = tiny_meta.write_consolidated, **options: Any
) -> Case:
    """Checkpoints of Meta's code with these options of its memory layers."""

    def written(folder: Path, seed: int) -> Path:
        config = tiny_meta.params(**options)
        return write(folder, config, tiny_meta.random_state(config, seed))

    return Case(f"meta-{name}", written, meta_logits)


def doge(name: str, **options: Any) -> Case:
    """Checkpoints of transformers' Doge with these fields in their configuration."""

    def write(folder: Path, seed: int) -> Path:
        return write_doge(folder, SENTENCES, seed=seed, **options)

    return Case(f"doge-{name}", write, doge_logits)


def wrapped(name: str, *specs: tiny_wrapped.Spec) -> Case:
    """A user's own model, with these memories in its blocks."""

    def write(folder: Path, seed: int) -> Path:
        return tiny_wrapped.write_user_model(folder, specs, seed)

    opens, plain = tiny_wrapped.open_user_model, tiny_wrapped.plain_logits
    return Case(f"wrapped-{name}", write, wrapped_logits, opens, plain)


def re133(name: str, write: Callable[..., Path] = tiny_re133.write_run, **options: Any) -> Case:
    """Checkpoints of re133's code with these options of its memory layers."""

    def written(folder: Path, seed: int) -> Path:
        config = {**tiny_re133.OPTIONS, **options}
        return write(folder, config, tiny_re133.random_state(config, seed))

    return Case(f"re133-{name}", written, re133_logits)


def converted(case: Case) -> Case:
    """What ``inspector convert`` makes of another family's checkpoints: native ones."""

    def written(folder: Path, seed: int) -> Path:
        original = case.write(folder.with_name(f"{folder.name}-original"), seed)
        convert(load(original, device="cpu"), folder)
        return folder

    return Case(f"converted-{case.name}", written, native_logits)


def write_renamed(folder: Path, config: Any, state: tiny_meta.State) -> Path:
    """As forks do: other names, and the file in a folder of a run's last step."""
    place = folder / "checkpoints" / "0000000020"
    tiny_meta.write_consolidated(place, config, tiny_meta.renamed(state), inside="consolidated")
    return folder


def write_bf16(folder: Path, config: Any, state: tiny_meta.State) -> Path:
    """All weights in bfloat16."""
    short = {name: tensor.bfloat16() for name, tensor in state.items()}
    return tiny_meta.write_consolidated(folder, config, short)


CASES = [
    native("plain", memory_projection="none"),
    native("linear", memory_projection="linear", memory_d_value=20),
    native("swiglu", memory_d_value=24),
    native("sigmoid", memory_sigmoid_gate=True, memory_query_norm="rms", memory_key_norm="layer"),
    native("separate", memory_tables=[1, 0], memory_projection="none", memory_sigmoid_gate=True),
    native("peer", memory_activation="gelu", memory_projection="none"),
    native("tied", tie_word_embeddings=True, memory_query_bias=False),
    native("bf16", dtype=torch.bfloat16),
    meta("plain"),
    meta("memory-plus", swilu_projection=True, mem_share_values=False),
    meta("linear", mem_v_dim=20),
    meta("narrow", mem_v_dim=20, swilu_projection=True),
    meta("gated", mem_gated=True, swilu_projection=True),
    meta("peer", peer_variant=True, swilu_projection=True),
    meta("peer-gated", peer_variant=True, mem_gated=True, mem_share_values=False),
    meta("directory", tiny_meta.write_dcp, swilu_projection=True),
    meta("directory-peer", tiny_meta.write_dcp, peer_variant=True),
    meta("fork", write_renamed, mem_gated=True),
    meta("bf16", write_bf16, dtype="bf16", swilu_projection=True),
    doge("routed"),
    doge("tied", tie_word_embeddings=True, norm_topk_prob=True, num_experts=70),
    doge("biases", attention_bias=True, mlp_bias=True),
    doge("bf16", dtype=torch.bfloat16),
    wrapped("ours", (0, "ours", {}), (2, "ours", {})),
    wrapped("pkm", (0, "pkm", {}), (2, "pkm", {"heads": 1})),
    wrapped("pkm-relu", (1, "pkm", {"non_competitive_gates": True, "pre_layernorm": True})),
    wrapped("pkm-normed", (0, "pkm", {"norm_output": True}), (1, "pkm", {})),
    wrapped("pkm-combined", (1, "pkm", {"concat_values_and_combine": True})),
    wrapped("peer", (0, "peer", {}), (2, "peer", {"heads": 3})),
    wrapped("peer-softmax", (1, "peer", {"non_competing_scores": False, "pre_rmsnorm": True})),
    re133("run", mem_share_values=False),
    re133("four-bits", tiny_re133.write_packed, mem_score_scale="learned"),
    re133("four-bits-plain", tiny_re133.write_packed, mem_swilu=False, mem_query_norm="none"),
    re133("narrow", mem_v_dim=20),
    converted(meta("gated", mem_gated=True, swilu_projection=True)),
    converted(re133("four-bits", tiny_re133.write_packed, mem_score_scale="learned")),
]


def random_ids(model: MemoryModel, rows: int = 2, length: int = 7, seed: int = 0) -> Tensor:
    """``[batch pos]``, any tokens of the vocabulary."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.backbone.head.out_features, (rows, length), generator=generator)


@dataclass
class Observation:
    """One pass as seen by hooks of the tests' own, and as a session recorded it."""

    logits: Tensor
    reads: dict[str, SiteReads]
    half_scores: dict[str, Tensor] = field(default_factory=dict)
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)


def observe(model: MemoryModel, ids: Tensor, edits: Sequence[Edit] = ()) -> Observation:
    """Run ``ids`` under ``edits``."""
    seen = Observation(torch.empty(0), {})
    hooks = []
    for name, site in model.sites.items():

        def on_lookup(_m: Any, inputs: Any, _o: Any, name: str = name) -> None:
            seen.half_scores[name] = inputs[0].clone()

        def on_site(_m: Any, inputs: Any, output: Tensor, name: str = name) -> None:
            seen.inputs[name], seen.outputs[name] = inputs[0].clone(), output.clone()

        hooks.append(site.top_slots.register_forward_hook(on_lookup))
        hooks.append(site.module.register_forward_hook(on_site))
    try:
        with session(edits, record=True) as recording:
            seen.logits = logits(model, ids)
    finally:
        for hook in hooks:
            hook.remove()
    seen.reads = recording.reads
    return seen


NORMALISATIONS = {
    "softmax": softmax,
    "relu": lambda scores: [max(s, 0.0) for s in scores],
    "none": lambda scores: [1.0] * len(scores),  # scores choose, and do not weigh
}


def reads_by_hand(
    site: Site, half_scores: Tensor, masked: Slots = NOTHING, *, x: Tensor | None = None
) -> SiteReads:
    """The reads of ``half_scores [batch pos head half half_key]``, from all n * n keys.

    Activations are the site's own, for ``x [batch pos d_model]`` (without it there are none):
    whether they are the model's, only its logits worked out by hand can tell.
    """
    weigh = NORMALISATIONS[site.info.normalisation]
    n, shape = site.info.half_keys, (*half_scores.shape[:-2], site.info.knn)
    slots, scores = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.float64)
    weights = torch.zeros_like(scores)
    for row in itertools.product(*map(range, half_scores.shape[:-2])):
        best = best_slots(half_scores[row], site.info.knn, masked)
        first, second = half_scores[row].tolist()
        own = [first[slot // n] + second[slot % n] for slot in best]
        slots[row] = torch.tensor(best)
        scores[row] = torch.tensor(own, dtype=torch.float64)
        weights[row] = torch.tensor(weigh(own), dtype=torch.float64)
    activation = None if x is None else site.activation(x, slots)
    assert x is None or (activation is None) == (site.info.activation == "none")
    coefficients = weights if activation is None else weights * activation.double()
    return SiteReads(slots, scores, weights, coefficients)


def output_by_hand(site: Site, x: Tensor, reads: SiteReads) -> Tensor:
    """Read by read: the contributions and the remainder, summed in float64."""
    gate, total = site.gate(x), site.remainder(x).double()
    for read in itertools.product(*map(range, reads.slots.shape)):
        place = read[:2]
        value = site.table.rows(reads.slots[read]).to(x.dtype)
        weighted = reads.coefficients[read].to(x.dtype) * value
        total[place] += site.project(weighted, None if gate is None else gate[place]).double()
    return total


def additive_sites(model: MemoryModel) -> dict[str, Site]:
    """Sites whose output is a sum of their reads: of the others nothing is said read by read."""
    return {name: site for name, site in model.sites.items() if site.info.additive}


@contextmanager
def sites_by_hand(model: MemoryModel, zeroed: Slots, masked: Slots) -> Iterator[None]:
    """Within the block every memory layer gives what it would without these slots."""
    half_scores: dict[str, Tensor] = {}
    hooks = []
    for name, site in model.sites.items():

        def on_lookup(_m: Any, inputs: Any, _o: Any, name: str = name) -> None:
            half_scores[name] = inputs[0]

        def on_site(_m: Any, inputs: Any, output: Tensor, name: str = name) -> Tensor:
            site = model.sites[name]
            if not site.info.additive:
                return output  # only logits worked out by hand can tell
            reads = reads_by_hand(site, half_scores[name], masked, x=inputs[0])
            for read in itertools.product(*map(range, reads.slots.shape)):
                if reads.slots[read].item() in zeroed:
                    reads.coefficients[read] = 0.0
            return output_by_hand(site, inputs[0], reads).to(output.dtype)

        hooks.append(site.top_slots.register_forward_hook(on_lookup))
        hooks.append(site.module.register_forward_hook(on_site))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
