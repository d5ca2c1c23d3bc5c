"""Maps: the exact graph beside umap-learn's own search: ``pytest tests/benchmarks -s``.

``BENCHMARK_VALUES`` and ``BENCHMARK_WIDTH`` name another size, such as 50000 and 256.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from inspector.analyses.map_layout import lay_out
from inspector.analyses.neighbours import neighbour_graph, prepared, recall
from inspector.analyses.trustworthiness import trustworthiness

VALUES = int(os.environ.get("BENCHMARK_VALUES", "3000"))
WIDTH = int(os.environ.get("BENCHMARK_WIDTH", "64"))
NEAR = 15


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


@pytest.mark.timeout(1800)
def test_the_exact_graph_is_affordable_and_the_other_says_what_it_misses() -> None:
    random = np.random.default_rng(0)
    centres = random.standard_normal((50, WIDTH))
    values = centres[random.integers(0, 50, VALUES)] + random.standard_normal((VALUES, WIDTH))
    values = values.astype(np.float32)
    neighbour_graph(values[:200], NEAR, exact_up_to=0)  # compiles
    took, exact = seconds(lambda: neighbour_graph(values, NEAR))
    quick, approximate = seconds(lambda: neighbour_graph(values, NEAR, exact_up_to=0))
    found = recall(approximate.indices, exact.indices)
    print(
        f"\n{VALUES:,} x {WIDTH}: exact {took:.2f} s; approximate {quick:.2f} s, recall {found:.3f}"
    )
    assert exact.exact
    assert found == pytest.approx(approximate.recall, abs=0.03)
    laid, xy = seconds(lambda: lay_out(exact, prepared(values, "cosine")))
    trusted, trust = seconds(lambda: trustworthiness(values, xy, NEAR))
    print(f"layout {laid:.2f} s; trustworthiness {trust:.3f} in {trusted:.2f} s")
    assert trusted < 30
