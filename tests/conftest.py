"""What every test stands on: fixed seeds, one thread, no network, a cache folder of its own."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Read once, when the libraries are first imported; servers that tests start inherit them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import torch
from hypothesis import settings

CHROMIUM = Path("/usr/bin/chromium")

# A busy machine is no reason to fail, and a failure must come back on the next run.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty cache folder for this run, so that no test reads what another run stored."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INSPECTOR_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True, scope="session")
def heeds_ctrl_c() -> None:
    """A shell that starts the tests in the background has them ignore Ctrl-C, which some press."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Two threads that wait for each other make small work slower, and sums round otherwise.

    Set anew for every test: the app and the command line choose the number for the whole process.
    """
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 -- umap and scikit-learn still draw from it
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser's executable. Only outside CI may it be missing."""
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{CHROMIUM} is missing: in CI the browser tests must run")
        pytest.skip(f"{CHROMIUM} is missing: install Debian's package chromium")
    return CHROMIUM


SENTENCES = tuple(
    f"{subject} {relation} {answer}."
    for relation, pairs in (
        ("is the capital of", (("Jakarta", "Indonesia"), ("Ottawa", "Canada"), ("Lima", "Peru"))),
        ("is paid with the", (("Japan", "yen"), ("India", "rupee"), ("Mexico", "peso"))),
        ("speaks", (("Brazil", "Portuguese"), ("Kenya", "Swahili"), ("Vienna", "German"))),
    )
    for subject, answer in pairs
)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes native checkpoints with random weights: ``tiny_checkpoint(seed=1, memory_knn=2)``.

    Any field of MemoryLlamaConfig may be given, ``dtype`` and ``max_shard_size`` too. Calls with
    the same arguments give the same directory, which is read only: copy it to change it.
    """
    from tests.families.tiny_native import write_checkpoint

    written: dict[str, Path] = {}

    def write(**options: Any) -> Path:
        key = repr(sorted(options.items()))
        if key not in written:
            folder = tmp_path_factory.mktemp("tiny") / "tiny"
            written[key] = write_checkpoint(folder, SENTENCES, **options)
        return written[key]

    return write


@pytest.fixture(scope="session")
def little_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint trained for seconds that knows about half of its facts; it is read only."""
    from tests.training.little_world import train_little_world

    return train_little_world(tmp_path_factory.mktemp("little") / "little-world")
