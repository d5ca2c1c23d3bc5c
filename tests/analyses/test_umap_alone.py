"""umap-learn for one thread at a time, whatever becomes of the one before."""

from __future__ import annotations

import io
import threading

import pytest
import torch
from tqdm import tqdm

from inspector.analyses.umap_alone import umap_alone
from inspector.errors import Cancelled

pytestmark = pytest.mark.slow  # umap-learn takes seconds to import


class Stopping(io.StringIO):
    """A file that stops the work of whoever draws on it, as a cancelled map does."""

    def write(self, text: str) -> int:
        raise Cancelled("It was stopped.")


def draw_a_bar() -> None:
    for _ in tqdm(range(2), file=io.StringIO(), mininterval=0):
        pass


def test_work_that_is_stopped_within_a_bar_leaves_the_next_one_free() -> None:
    with pytest.raises(Cancelled), umap_alone():
        for _ in tqdm(range(9), file=Stopping(), mininterval=0):
            pass
    another = threading.Thread(target=draw_a_bar, daemon=True)
    another.start()
    another.join(timeout=20)
    assert not another.is_alive()


def test_the_next_may_go_on_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="no"), umap_alone():
        raise RuntimeError("no")
    with umap_alone() as umap:
        assert callable(umap.UMAP)


def test_torch_keeps_its_number_of_threads() -> None:
    before = torch.get_num_threads()
    with umap_alone():
        torch.set_num_threads(before + 1)  # as a threading layer that both share may do
    assert torch.get_num_threads() == before
