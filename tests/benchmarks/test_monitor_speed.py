"""What watching a training costs: ``pytest tests/benchmarks/test_monitor_speed.py -s``.

A ratio, measured in turns on one model of the sample's size and batches like its own: steps that
are counted against steps that are not, and what a record itself takes, spread over its interval.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from inspector.memory.llama import MemoryLlamaConfig, MemoryLlamaForCausalLM
from inspector.training.monitor import EVERY, WINDOW, Monitor

STEPS = 25
AT_MOST = 0.02
SIZE = {
    "vocab_size": 8192,
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.08,
    "tie_word_embeddings": True,
    "memory_layers": [1, 2, 3],
    "memory_heads": 4,
    "memory_knn": 4,
    "memory_half_keys": 128,
    "memory_d_key": 128,
}


def batches() -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randint(8192, (128, 12), generator=generator)


def seconds_a_step(model: MemoryLlamaForCausalLM, ids: Tensor) -> float:
    start = time.perf_counter()
    model.model(ids).last_hidden_state.square().mean().backward()
    model.zero_grad(set_to_none=True)
    return time.perf_counter() - start


@pytest.mark.timeout(900)
def test_watching_takes_less_than_a_fiftieth_of_the_time(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MemoryLlamaForCausalLM(MemoryLlamaConfig(**SIZE)).train()
    monitor = Monitor(model.model, tmp_path, budget=None, board=False)
    took: dict[str, list[float]] = {"plain": [], "counted": [], "record": []}
    stream = batches()
    for _ in range(3):
        seconds_a_step(model, next(stream))
    for _ in range(STEPS):
        for kind in ("plain", "counted"):
            monitor._counting = kind == "counted"
            took[kind].append(seconds_a_step(model, next(stream)))
        start = time.perf_counter()
        monitor._record(EVERY)
        took["record"].append(time.perf_counter() - start)
    pairs = zip(took["counted"], took["plain"], strict=True)
    counting = statistics.median(counted / plain for counted, plain in pairs) - 1
    plain = statistics.median(took["plain"])
    record = statistics.median(took["record"])
    share = (max(counting, 0.0) * WINDOW + record / plain) / EVERY
    print(
        f"\na step {1e3 * plain:.0f} ms, counting adds {counting:.1%} to {WINDOW} of {EVERY}, "
        f"a record {1e3 * record:.1f} ms: {share:.2%} of the time; by its own clock "
        f"{monitor._spent / STEPS / EVERY / plain:.2%}"
    )
    assert share < AT_MOST
