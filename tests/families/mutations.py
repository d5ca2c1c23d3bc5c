"""Seeded damage to checkpoints: what bad disks, half copies, editors and malice do to files."""

from __future__ import annotations

import copy
import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Bytes = dict[str, bytes]
NASTY: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 3, 7, 2**15, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308),
    *(math.nan, math.inf, "", "x", "float32", "\0", "../../etc/passwd", [], [0], [-1], [1, 1]),
    *({}, {"a": 1}, [[]], "9" * 400),
)


def contents(folder: Path) -> Bytes:
    """Every file by its place in the folder."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def restore(folder: Path, files: Bytes) -> None:
    """The folder as it was."""
    if contents(folder) == files:
        return
    shutil.rmtree(folder)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


class Damage:
    """One mutation of the checkpoint in a folder, drawn from a seed; says what it did."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        kinds: list[Callable[[Path], str]] = [self._flip, self._flip, self._cut, self._whole]
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        file = self.random.choice(files)
        if file.suffix == ".json":
            kinds += [self._field] * 6
        if file.suffix == ".safetensors":
            kinds += [self._tensors] * 6
        if file.suffix in (".pt", ".pth"):
            kinds += [self._saved] * 6
        self.told = f"seed {seed}: {file.name}: {self.random.choice(kinds)(file)}"

    def _flip(self, file: Path) -> str:
        content = bytearray(file.read_bytes())
        if not content:
            return self._whole(file)
        heads = self.random.random() < 0.5
        places = []
        for _ in range(self.random.choice((1, 1, 2, 8))):
            end = min(len(content), 600) if heads else len(content)
            place = self.random.choice((self.random.randrange(end), len(content) - 1 - end // 20))
            place = max(place, 0)
            content[place] = self.random.randrange(256)
            places.append(place)
        file.write_bytes(content)
        return f"bytes {places} changed"

    def _cut(self, file: Path) -> str:
        content = file.read_bytes()
        kept = self.random.randrange(len(content) + 1)
        if self.random.random() < 0.2:
            kept = self.random.choice((0, 1, 7, 8, len(content) - 1))
        file.write_bytes(content[:kept])
        return f"cut to {kept} of {len(content)}"

    def _whole(self, file: Path) -> str:
        kind = self.random.choice(("deleted", "grown", "a folder", "a loop", "noise", "swapped"))
        content = file.read_bytes()
        if kind == "grown":
            file.write_bytes(content + self.random.randbytes(self.random.randrange(1, 99)))
        elif kind == "noise":
            file.write_bytes(self.random.randbytes(len(content)))
        elif kind == "swapped":
            other = self.random.choice([p for p in sorted(self.folder.rglob("*")) if p.is_file()])
            file.write_bytes(other.read_bytes())
            other.write_bytes(content)
            return f"swapped with {other.name}"
        else:
            file.unlink()
            if kind == "a folder":
                file.mkdir()
            elif kind == "a loop":
                file.symlink_to(file.name)
        return kind

    def _field(self, file: Path) -> str:
        tree = json.loads(file.read_text(encoding="utf-8"))
        place, key = self._place(tree)
        told = self._change(place, key)
        file.write_text(json.dumps(tree), encoding="utf-8")
        return told

    def _place(self, tree: Any) -> tuple[Any, Any]:
        """Somewhere in nested dictionaries and lists."""
        while True:
            keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
            if not keys:
                return {"empty": None}, "empty"
            key = self.random.choice(keys)
            deeper = isinstance(tree[key], dict | list) and len(tree[key]) > 0
            if not deeper or self.random.random() < 0.15:
                return tree, key
            tree = tree[key]

    def _change(self, place: Any, key: Any) -> str:
        kind = self.random.choice(("value", "value", "value", "delete", "rename"))
        if kind == "delete":
            del place[key]
        elif kind == "rename" and isinstance(place, dict):
            place[f"{key}_"] = place.pop(key)
        else:
            kind = "value"
            old = place[key]
            place[key] = self.random.choice(NASTY)
            if isinstance(old, int) and self.random.random() < 0.3:
                place[key] = old + self.random.choice((-1, 1, old))
            return f"{key} = {place[key]!r:.60}"
        return f"{kind} {key}"

    def _tensors(self, file: Path) -> str:
        tensors = load_file(file)
        told = self._change_tensors(tensors)
        distinct = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
        save_file(distinct, file, metadata={"format": "pt"})
        return told

    def _saved(self, file: Path) -> str:
        saved = torch.load(file, weights_only=True)
        state = saved.get("model", saved.get("state_dict"))
        others = {key: value for key, value in saved.items() if value is not state}
        if others and self.random.random() < 0.5:
            tree = copy.deepcopy({key: value for key, value in others.items() if key != "optim"})
            place, key = self._place(tree) if tree else ({"optim": 0}, "optim")
            told = self._change(place, key)
            saved = {**{k: v for k, v in saved.items() if k not in others}, **tree}
        else:
            told = self._change_tensors(state)
        torch.save(saved, file)
        return told

    def _change_tensors(self, tensors: dict[str, Tensor]) -> str:
        name = self.random.choice(sorted(tensors))
        kind = self.random.choice(sorted(_OF_A_TENSOR))
        made = _OF_A_TENSOR[kind](tensors[name])
        if kind == "renamed":
            tensors[self.random.choice((f"{name}_", name[1:], "", name.upper()))] = tensors.pop(
                name
            )
        elif kind == "doubled":
            tensors[f"{name}.copy"] = tensors[name].clone()
        elif kind == "deleted":
            del tensors[name]
        elif kind == "exchanged":
            other = self.random.choice(sorted(tensors))
            tensors[name], tensors[other] = tensors[other], tensors[name]
        else:
            tensors[name] = made
        return f"{name} {kind}"


def _with(tensor: Tensor, number: float) -> Tensor:
    if not tensor.is_floating_point() or not tensor.numel():
        return tensor
    changed = tensor.clone()
    changed.view(-1)[-1] = number
    return changed


_OF_A_TENSOR: dict[str, Callable[[Tensor], Any]] = {
    "renamed": lambda t: t,
    "doubled": lambda t: t,
    "deleted": lambda t: t,
    "exchanged": lambda t: t,
    "turned": lambda t: t.mT.contiguous() if t.ndim > 1 else t[:-1].clone(),
    "flat": lambda t: t.reshape(-1).clone(),
    "longer": lambda t: torch.cat([t, t]) if t.ndim else t.view(1),
    "empty": lambda t: t[:0].clone() if t.ndim else t.view(1)[:0],
    "int": lambda t: t.to(torch.int32),
    "bool": lambda t: t.bool(),
    "half": lambda t: t.half(),
    "bfloat16": lambda t: t.bfloat16(),
    "double": lambda t: t.double(),
    "complex": lambda t: t.to(torch.complex64),
    "float8": lambda t: t.to(torch.float8_e4m3fn),
    "nan": lambda t: _with(t, math.nan),
    "infinite": lambda t: _with(t, -math.inf),
    "huge": lambda t: _with(t.float(), 3e38),
    "zero": torch.zeros_like,
}
