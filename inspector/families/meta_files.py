"""Where the files of a run of Meta's training code lie, from whichever of them was named."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from inspector.families import dcp

PARAMS: Final = "params.json"
CONSOLIDATED: Final = "consolidated.pth"


@dataclass(frozen=True)
class MetaFiles:
    """One checkpoint: its weights, as one file or as a directory, and its configuration."""

    kind: Literal["file", "directory"]
    weights: Path
    params: Path
    note: str = ""

    @property
    def contents(self) -> tuple[Path, ...]:
        """Every file that defines the computation."""
        if self.kind == "file":
            return (self.params, self.weights)
        return (self.params, self.weights / dcp.METADATA, *self.weights.glob("*.distcp"))


def find_files(path: Path) -> MetaFiles | None:
    """The checkpoint at ``path``: a file, its folder, a step's folder or a whole run's.

    Of a run, the last step is taken. None if there is none of Meta's.
    """
    try:
        if path.is_dir():
            return _in_folder(path) or _last_step(path)
        if path.name in (PARAMS, dcp.METADATA) or path.suffix == ".distcp":
            return _in_folder(path.parent)
        if path.is_file() and (path.name == CONSOLIDATED or _is_torch_file_of_a_run(path)):
            return MetaFiles("file", path, _params_of(path.parent))
    except OSError:
        return None
    return None


def _in_folder(folder: Path) -> MetaFiles | None:
    for inner in (folder, folder / "consolidated"):
        if (inner / CONSOLIDATED).is_file():
            return MetaFiles("file", inner / CONSOLIDATED, _params_of(inner))
    if (folder / dcp.METADATA).is_file():
        return MetaFiles("directory", folder, _params_of(folder))
    return None


def _last_step(folder: Path) -> MetaFiles | None:
    """The last step of a run that holds a checkpoint."""
    for inner in (folder, folder / "checkpoints"):
        if not inner.is_dir():
            continue
        steps = [step for step in inner.iterdir() if step.name.isdigit() and step.is_dir()]
        for step in sorted(steps, key=lambda step: int(step.name), reverse=True):
            found = _in_folder(step)
            if found is not None:
                note = f"Of {len(steps)} steps in {inner}, the last one is open: {step.name}."
                return MetaFiles(found.kind, found.weights, found.params, note)
    return None


def _is_torch_file_of_a_run(path: Path) -> bool:
    """A renamed consolidated file: still one of torch.save, with its configuration beside it."""
    beside = path.suffix in (".pth", ".pt") and _params_of(path.parent).is_file()
    return beside and zipfile.is_zipfile(path)


def _params_of(folder: Path) -> Path:
    """``params.json`` of the folder or the one above; where it should be if there is none."""
    places = [folder / PARAMS]
    if folder.name == "consolidated":
        places.append(folder.parent / PARAMS)
    return next((place for place in places if place.is_file()), places[0])
