"""Decoding a table against the bare matrix product of its values and all tokens:

    python -m pytest tests/benchmarks/test_decode_speed.py -s

``BENCHMARK_SLOTS`` values of 256 numbers (65,536 is the size that counts; fewer by default, so that
it takes seconds) against 32,768 tokens; ``BENCHMARK_DEVICE`` says where.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from inspector.analyses.token_ranking import products, rank_ends

SLOTS = int(os.environ.get("BENCHMARK_SLOTS", "4096"))
DEVICE = os.environ.get("BENCHMARK_DEVICE", "cpu")
TOKENS, WIDTH, TOP = 32_768, 256, 20
ROUNDS = 5


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    if DEVICE.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak(work: Callable[[], object]) -> int:
    """Bytes that this process had in memory at most while it worked, beyond what it had before."""
    found, done = [resident()], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            found.append(resident())

    thread = threading.Thread(target=watch)
    thread.start()
    work()
    done.set()
    thread.join()
    return max(found) - found[0]


@pytest.mark.timeout(1800)
def test_both_ends_take_at_most_twice_as_long_as_the_bare_product() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(TOKENS, WIDTH, device=DEVICE)
    values = torch.randn(SLOTS, WIDTH, device=DEVICE)
    works: dict[str, Callable[[], object]] = {
        "bare product": lambda: [None for _ in products(tokens, values)],
        "both ends": lambda: rank_ends(tokens, values, TOP),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(ROUNDS + 1):  # in turn, so that a busy machine slows both alike
        for name, work in works.items():
            took = seconds(work)
            if turn:  # the first warms up
                times[name].append(took)
    for name, rounds in times.items():
        print(f"{name}: {1e6 * statistics.median(rounds) / SLOTS:.1f} microseconds a value")
    ratios = [
        bare / both for bare, both in zip(times["bare product"], times["both ends"], strict=True)
    ]
    ratio = statistics.median(ratios)
    print(f"rate, of the bare product's: median {ratio:.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
    assert ratio >= 0.5


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.skipif(DEVICE != "cpu", reason="the memory of the process is measured")
@pytest.mark.timeout(600)
def test_memory_stays_flat() -> None:
    """Eight times as many values need no more than their results take."""
    tokens = torch.randn(TOKENS, WIDTH)
    values = torch.randn(8_192, WIDTH)
    rank_ends(tokens, values[:1_024], TOP)  # what is allocated once
    few = peak(lambda: rank_ends(tokens, values[:1_024], TOP))
    many = peak(lambda: rank_ends(tokens, values, TOP))
    print(f"peak beyond what was there: {few / 1e6:.0f} MB of 1,024, {many / 1e6:.0f} MB of 8,192")
    results = len(values) * TOP * 2 * (8 + 4)
    assert many - few <= 2 * results + 64e6
    assert many < len(values) * TOKENS * 4 / 4  # all logits at once would take 1.07 GB
