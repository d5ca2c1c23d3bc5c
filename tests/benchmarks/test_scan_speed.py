"""Scanning against the plain forward pass on the same batches: ``pytest tests/benchmarks -s``.

``BENCHMARK_CHECKPOINT`` names a checkpoint with facts to measure on, ``BENCHMARK_DEVICE`` where;
without it a model of the samples' size with random weights reads made-up sentences.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from inspector.capture.corpus import Corpus, open_corpus
from inspector.capture.load import load
from inspector.capture.scan import BATCH_TOKENS, scan
from inspector.capture.scan_recorder import Recorder
from inspector.capture.scan_windows import Batch, make_batches, make_chunks, read_windows
from inspector.capture.session import logits, run_sites
from inspector.families.base import MemoryModel

TOKENS = int(os.environ.get("BENCHMARK_TOKENS", "60000"))
BATCH = int(os.environ.get("BENCHMARK_BATCH_TOKENS", str(BATCH_TOKENS)))
ROUNDS = 5
SAMPLE_SIZE = {
    "vocab_size": 8192,
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
    "memory_layers": [1, 2, 3],
    "memory_heads": 4,
    "memory_half_keys": 128,
    "memory_d_key": 128,
    "memory_d_value": 128,
    "memory_projection": "swiglu",
}


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Callable[..., Path]) -> Path:
    named = os.environ.get("BENCHMARK_CHECKPOINT")
    return Path(named) if named else tiny_checkpoint(**SAMPLE_SIZE)


@pytest.fixture(scope="module")
def corpus(checkpoint: Path) -> Corpus:
    if (checkpoint / "facts.jsonl").is_file():
        return open_corpus(checkpoint)
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnop", k=5)) for _ in range(2000)]
    return open_corpus([" ".join(draw.choices(words, k=draw.randint(2, 6))) for _ in range(10_000)])


def same_batches(model: MemoryModel, corpus: Corpus) -> list[Batch]:
    """The batches that a scan of ``TOKENS`` tokens runs."""
    chunks = make_chunks(read_windows(model, corpus), Recorder(model, 0).chunk_tokens, TOKENS)
    return [batch for chunk in chunks for batch in make_batches(chunk, BATCH, model.device)]


def seconds(model: MemoryModel, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


@pytest.mark.timeout(1800)
def test_a_scan_keeps_four_fifths_of_the_speed_of_a_plain_pass(
    checkpoint: Path, corpus: Corpus
) -> None:
    model = load(checkpoint, device=os.environ.get("BENCHMARK_DEVICE", "cpu"))
    batches = same_batches(model, corpus)
    tokens = sum(len(batch.tokens) for batch in batches)
    works: dict[str, Callable[[], object]] = {
        "plain": lambda: [logits(model, batch.ids) for batch in batches],
        "without the head": lambda: [run_sites(model, batch.ids) for batch in batches],
        "scan": lambda: scan(model, corpus, TOKENS, batch_tokens=BATCH, cache=False),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):  # in turn, so that a busy machine slows all of them alike
        for name, work in works.items():
            times[name].append(seconds(model, work))
    median = {name: statistics.median(rounds) for name, rounds in times.items()}
    for name, value in median.items():
        print(f"{name}: {value / tokens * 1e6:.1f} microseconds a token")
    ratio = median["plain"] / median["scan"]
    bare = median["without the head"] / median["scan"]
    print(f"scan / plain pass: {ratio:.2f}; / plain pass without the head: {bare:.2f}")
    assert ratio >= 0.8
