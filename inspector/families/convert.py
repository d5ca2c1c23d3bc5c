"""Any checkpoint that fits the native form, written as one: nothing of it is computed anew.

A native checkpoint is a transformers directory of ``MemoryLlama``. Families whose models run as
one are written with the weights that they run with, in their own element types; tables are written
in blocks of rows, so that they may be larger than memory.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from inspector.errors import CheckpointError
from inspector.families.base import MemoryModel, Site
from inspector.families.native import open_native, tables_by_name
from inspector.families.native_edit import check_out
from inspector.families.new_folder import new_folder
from inspector.families.registry import Opening
from inspector.memory.llama import MemoryLlamaForCausalLM
from inspector.memory.packed import PackedRows

_NAMES: Final = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}
_BLOCK: Final = 2**24  # numbers written at a time
_SLACK: Final = 1e-5  # of packed tables, whose weighted sums are rounded in another order
_BESIDE: Final = ("facts.jsonl",)  # what is asked of it, whatever form it has

Report = Callable[[int, int], None]  # bytes written, bytes in all


@dataclass(frozen=True)
class Conversion:
    """A native checkpoint that was made of another.

    ``error`` is the largest deviation of its logits on random tokens from those of the original,
    over the largest magnitude: 0 where they are the same bit for bit.
    """

    family: str
    out: Path
    tensors: int
    size: int  # bytes
    error: float

    def to_frame(self) -> pd.DataFrame:
        """One row."""
        return pd.DataFrame([{**self.__dict__, "out": str(self.out)}])

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {**self.__dict__, "out": str(self.out)}


def misfits(model: MemoryModel) -> tuple[str, ...]:
    """What of ``model`` the native form cannot hold; nothing if it can be converted."""
    found = [] if isinstance(model.module, MemoryLlamaForCausalLM) else list(_foreign(model))
    if not isinstance(model.tokenizer, PreTrainedTokenizerFast):
        found.append("its tokenizer cannot be written as a tokenizer.json")
    return tuple(found)


def _foreign(model: MemoryModel) -> Iterator[str]:
    yield f"its blocks are those of {type(model.module).__name__}, not of Llama"
    if model.backbone.residual_scales:
        yield "its blocks scale the residual stream, channel by channel, before they add to it"
    if not model.backbone.complete:
        yield "its parts cannot be told apart"
    for name, site in model.sites.items():
        problem = _misfit(site)
        if problem:
            yield f"{name} {problem}"


def _misfit(site: Site) -> str:
    info = site.info
    if not info.additive:
        return "puts out what is no sum of its reads"
    if not info.projects:
        return "scores its input itself, without a query projection"
    if info.normalisation != "softmax":
        return f"weighs its reads by {info.normalisation}, not by a softmax"
    if info.activation not in ("none", "gelu"):
        return f"multiplies its weights by the activation {info.activation}"
    return ""


def convert(model: MemoryModel, out: Path, report: Report = lambda done, total: None) -> Conversion:
    """Write ``model`` as a native checkpoint ``out``, which appears as a whole or not at all.

    What was written is opened again and its logits are held against the original's. ``report`` is
    told how far it is, and may raise to stop it.

    Raises:
        CheckpointError: it does not fit the native form, by what of it; ``out`` is something else,
            or lies in the original; the disk is too small; the copy computes something else.
        CacheError: it cannot be written.
    """
    check_out(model.path, out)
    problems = misfits(model)
    if problems:
        raise CheckpointError(
            f"{model.name} does not fit the native form: {'; '.join(problems)}. It opens as it is."
        )
    assert isinstance(model.module, MemoryLlamaForCausalLM)
    shards = _shards(model.module)
    size = sum(_bytes(tensor) for shard in shards for tensor in shard.values())
    target = out.expanduser().resolve()
    _check_disk(target, size)
    with new_folder(target) as part:
        _write_config(model, part)
        assert isinstance(model.tokenizer, PreTrainedTokenizerFast)
        model.tokenizer.save_pretrained(part)
        _write_shards(shards, part, size, report)
        _copy_beside(model.path, part)
        error = _difference(model, part)
    tensors = sum(len(shard) for shard in shards)
    return Conversion(model.provenance.family, out, tensors, size, error)


def _shards(module: MemoryLlamaForCausalLM) -> list[dict[str, Tensor]]:
    """The tensors of every file: the backbone's, then each table's."""
    tables = {name: table.weight.data for name, table in tables_by_name(module).items()}
    tied = {"lm_head.weight"} if module.config.tie_word_embeddings else set()
    rest = {
        name: tensor
        for name, tensor in module.state_dict().items()
        if name not in tables and name not in tied
    }
    return [rest, *({name: table} for name, table in tables.items())]


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.dtype.itemsize


def _check_disk(target: Path, size: int) -> None:
    place = next(folder for folder in target.parents if folder.exists())
    free = shutil.disk_usage(place).free
    if size > free:
        raise CheckpointError(
            f"The native checkpoint has {size / 1e9:.1f} GB, and {place} only {free / 1e9:.1f} GB "
            "free. Nothing was written: make room, or name a directory on a larger disk."
        )


def _write_config(model: MemoryModel, folder: Path) -> None:
    assert isinstance(model.module, MemoryLlamaForCausalLM)
    config: dict[str, Any] = model.module.config.to_dict()
    config |= {
        "architectures": ["MemoryLlamaForCausalLM"],
        "model_type": "memory_llama",
        "dtype": str(model.dtype).removeprefix("torch."),
        "converted_from": {"family": model.provenance.family, "fingerprint": model.fingerprint},
    }
    text = json.dumps(config, indent=2, sort_keys=True)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def _write_shards(shards: list[dict[str, Tensor]], folder: Path, size: int, report: Report) -> None:
    names = [f"model-{n:05}-of-{len(shards):05}.safetensors" for n in range(1, len(shards) + 1)]
    if len(shards) == 1:
        names = ["model.safetensors"]
    done = 0
    for name, tensors in zip(names, shards, strict=True):
        with (folder / name).open("wb") as file:
            for written in _write_tensors(file, tensors):
                done += written
                report(done, size)
    if len(shards) > 1:
        places = {t: name for name, shard in zip(names, shards, strict=True) for t in shard}
        index = {"metadata": {"total_size": size}, "weight_map": places}
        text = json.dumps(index, indent=2, sort_keys=True)
        (folder / "model.safetensors.index.json").write_text(text + "\n", encoding="utf-8")


def _write_tensors(file: BinaryIO, tensors: Mapping[str, Tensor]) -> Iterator[int]:
    """A safetensors file, block by block; gives the bytes of each."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + _bytes(tensor)
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * ((-8 - len(text)) % 64)  # so that the numbers begin at a round byte
    file.write(len(text).to_bytes(8, "little") + text)
    for tensor in tensors.values():
        for block in _blocks(tensor):
            stored = block.contiguous().cpu().view(-1).view(torch.uint8).numpy()
            file.write(stored.data)
            yield len(stored)


def _blocks(tensor: Tensor) -> Iterator[Tensor]:
    if tensor.numel() <= _BLOCK:
        yield tensor[:] if tensor.ndim else tensor.view(1)
        return
    rows = max(1, _BLOCK // (tensor.numel() // len(tensor)))
    for first in range(0, len(tensor), rows):
        yield tensor[first : first + rows]


def _copy_beside(path: Path, folder: Path) -> None:
    source = path if path.is_dir() else path.parent
    for name in _BESIDE:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


@torch.inference_mode()
def _difference(model: MemoryModel, folder: Path) -> float:
    """How far the copy's logits are from the original's, on random tokens."""
    copy = open_native(folder, "it was just written", Opening(model.device))
    generator = torch.Generator().manual_seed(0)
    length = min(24, model.positions)
    ids = torch.randint(model.backbone.head.out_features, (1, length), generator=generator)
    original, found = (
        m.module(input_ids=ids.to(model.device), use_cache=False).logits.double()
        for m in (model, copy)
    )
    error: float = ((found - original).abs().max() / original.abs().max()).item()
    packed = any(isinstance(table.weight, PackedRows) for table in model.tables)
    if not error <= (_SLACK if packed else 0.0):  # NaN fails, too
        raise CheckpointError(
            f"The native copy of {model.name} computes other logits: they differ by {error:.1e} of "
            "the largest. Nothing was written; please report this."
        )
    return error
