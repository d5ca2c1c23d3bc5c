"""Checkpoints on the Hugging Face Hub, by their name: only files that are read are fetched.

They go to the Hub's own cache, as with every program that uses ``huggingface_hub``, and open from
there without a network. No file of code is ever fetched.
"""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

from inspector.errors import CheckpointNotFound
from inspector.families.roots import check_root

_ID: Final = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(@(?P<revision>[\w./-]{1,200}))?",
    re.ASCII,
)
# What each family reads. A checkpoint needs all of one line's first entries.
_WEIGHTS: Final = (
    ("config.json", "model*.safetensors"),
    ("consolidated.pth", "params.json"),
    (".metadata", "*.distcp", "params.json"),
    ("rest.pt", "values_q4.bin", "scales_q4.bin"),
    ("model.pt",),
)
_INDEX: Final = "model.safetensors.index.json"
_PLAIN: Final = re.compile(r"[\w.-]+", re.ASCII)  # names of files that checkpoints are written with
_BESIDE: Final = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json"),
    *("merges.txt", "tokenizer.model", "generation_config.json", _INDEX),
    *("meta.json", "mem_access_train.npy", "facts.jsonl", "metrics.json"),
    *("mean_gates.safetensors", "training.json", "README.md"),
)

Report = Callable[[int, int, str], None]  # bytes there, bytes in all, the file now


@dataclass(frozen=True)
class HubId:
    """``org/name``, or ``org/name@revision``: a branch, a tag or a commit."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


@dataclass(frozen=True)
class Listing:
    """The files of a repository that are read, and their sizes in bytes, in order."""

    files: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def size(self) -> int:
        """All of them."""
        return sum(self.sizes)


def hub_id(path: str | Path) -> HubId | None:
    """The name on the Hub that ``path`` is; None if it's a path here, which always goes first."""
    text = str(path)
    found = _ID.fullmatch(text)
    if found is None or Path(text).exists() or Path(text.split("/", 1)[0]).is_dir():
        return None
    if {"", ".", ".."} & set((found["revision"] or "main").split("/")):
        return None  # the Hub's cache would look for it in another folder
    return HubId(found["repo"], found["revision"])


def fetched(name: HubId) -> Path | None:
    """The folder it was fetched to; None if some of it is missing there."""
    try:
        folder = Path(_cached(name))
        files = [file.name for file in folder.iterdir()]
    except (LocalEntryNotFoundError, HFValidationError, ValueError, OSError):
        return None
    return folder if _chosen(files) and _all_shards(folder, files) else None


def fetched_whole(name: HubId) -> Path:
    """The folder it was fetched to; the Hub isn't asked.

    Raises:
        CheckpointNotFound: it was not fetched yet, or not all of it.
        UnsafeCheckpoint: the Hub's cache lies outside of the folders that are allowed.
    """
    check_root(Path(constants.HF_HUB_CACHE))
    folder = fetched(name)
    if folder is None:
        raise CheckpointNotFound(
            f"{name} was not fetched from the Hub yet, or not all of it. Open it as the checkpoint "
            "of the app, which offers to fetch it, or with `inspector.load`."
        )
    return folder


def _all_shards(folder: Path, files: Sequence[str]) -> bool:
    """Whether every file is there that the index of the weights names, where there is one."""
    if _INDEX not in files:
        return True
    try:
        named = json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"]
        return {str(name) for name in named.values()} <= set(files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return True  # opening it will say what is wrong with its index


def _cached(name: HubId) -> str:
    patterns = [pattern for line in _WEIGHTS for pattern in line]
    return str(
        snapshot_download(
            name.repo,
            revision=name.revision,
            local_files_only=True,
            allow_patterns=[*patterns, *_BESIDE],
        )
    )


def fetch(name: HubId, report: Report = lambda done, total, file: None) -> Path:
    """The folder of ``name`` in the Hub's cache, after fetching what isn't there yet.

    ``report`` is told how far it is, and may raise to stop it: what is there by then is kept.

    Raises:
        CheckpointNotFound: the Hub has no such repository, revision or checkpoint; it is gated; it
            cannot be reached and nothing is cached; the disk is too full.
        UnsafeCheckpoint: the Hub's cache lies outside of the folders that are allowed.
    """
    check_root(Path(constants.HF_HUB_CACHE))
    try:
        listing = list_files(name)
    except _Unreachable as problem:
        folder = fetched(name)
        if folder is None:
            raise CheckpointNotFound(str(problem)) from None
        return folder
    _check_disk(name, listing)
    folders, done = set(), 0
    for file, size in zip(listing.files, listing.sizes, strict=True):
        with _told(name):
            place = hf_hub_download(
                name.repo,
                file,
                revision=name.revision,
                tqdm_class=_bar(report, done, listing.size, file),
            )
        folders.add(Path(place).parent)
        done += size
        report(done, listing.size, file)
    if len(folders) != 1:
        raise CheckpointNotFound(f"{name} changed on the Hub while it was fetched. Try again.")
    return folders.pop()


def list_files(name: HubId) -> Listing:
    """Which of its files are read, and how large they are: nothing is fetched yet.

    Raises:
        CheckpointNotFound: see ``fetch``.
    """
    with _told(name):
        found = HfApi().model_info(name.repo, revision=name.revision, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in found.siblings or ()}
    chosen = _chosen(list(sizes))
    if not chosen:
        more = f" and {len(sizes) - 6} more" if len(sizes) > 6 else ""
        raise CheckpointNotFound(
            f"{name} is on the Hub, but holds no checkpoint that can be opened here. It has: "
            f"{', '.join(list(sizes)[:6]) or 'no files'}{more}. Expected safetensors with a "
            "config.json, or one of the other families' files."
        )
    return Listing(chosen, tuple(sizes[file] for file in chosen))


def _chosen(names: Sequence[str]) -> tuple[str, ...]:
    """The files of the first family all of whose files are there, and what is read beside them."""
    plain = [name for name in names if _PLAIN.fullmatch(name)]
    for patterns in _WEIGHTS:
        matched = [fnmatch.filter(plain, pattern) for pattern in patterns]
        if all(matched):
            own = [name for group in matched for name in group]
            beside = [name for name in names if name in _BESIDE and name not in own]
            return tuple(dict.fromkeys([*beside, *own]))
    return ()


def _check_disk(name: HubId, listing: Listing) -> None:
    cache = Path(constants.HF_HUB_CACHE)
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free, needed = shutil.disk_usage(place).free, listing.size
    if needed > free and fetched(name) is None:
        raise CheckpointNotFound(
            f"{name} has {needed / 1e9:.1f} GB, and {place} only {free / 1e9:.1f} GB free. Make "
            "room, or set HF_HOME to a folder on a larger disk."
        )


def _bar(report: Report, before: int, total: int, file: str) -> type[tqdm]:
    """A progress bar that draws nothing and tells ``report``."""

    class Told(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]
            self.there = int(kwargs.get("initial") or 0)

        def update(self, n: float | None = 1) -> None:
            self.there += int(n or 0)
            report(min(before + self.there, total), total, file)

    return Told


class _Unreachable(CheckpointNotFound):
    """The Hub cannot be asked now; what is cached may do."""


@contextmanager
def _told(name: HubId) -> Iterator[None]:
    """Tell what went wrong, as a sentence that says what would work."""
    try:
        yield
    except GatedRepoError:
        raise CheckpointNotFound(
            f"{name} is gated: its owner wants to know who uses it. Ask for access on its page, "
            f"{constants.ENDPOINT}/{name.repo}, then log in here with `hf auth login`, or set "
            "HF_TOKEN."
        ) from None
    except RevisionNotFoundError:
        raise CheckpointNotFound(
            f"{name.repo} is on the Hub, but has no revision {name.revision}. Give a branch, a tag "
            "or a commit, or leave it out."
        ) from None
    except RepositoryNotFoundError:
        raise CheckpointNotFound(
            f"There is nothing at {name} here, and no such repository on the Hub. Check its "
            "spelling; if it is private, log in with `hf auth login`, or set HF_TOKEN."
        ) from None
    except (OfflineModeIsEnabled, LocalEntryNotFoundError):
        raise _offline(name, "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "") from None
    except HfHubHTTPError as error:
        raise _offline(name, f"it answered: {str(error).splitlines()[0]}") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise _offline(name, str(error).split("\n", 1)[0]) from None
    except Exception as error:
        if not _of_the_client(error):
            raise
        raise _offline(name, str(error).split("\n", 1)[0]) from None


def _of_the_client(error: Exception) -> bool:
    return type(error).__module__.split(".", 1)[0].startswith(("httpx", "httpcore", "requests"))


def _offline(name: HubId, reason: str) -> _Unreachable:
    why = f" ({reason})" if reason else ""
    return _Unreachable(
        f"There is nothing at {name} here, and the Hub cannot be reached{why}. Fetch it once with "
        f"a network, as with `hf download {name.repo}`, or give the path of a checkpoint."
    )
