"""What new half-keys displace, held against sums of values worked out with and without them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from inspector.analyses.displaced import (
    NO_OWNER,
    DisplacedReads,
    find_displaced,
    mean_displaced,
    start_values,
)
from inspector.families.native import NativeSite
from inspector.memory.layer import MemoryShape, ProductKeyMemory
from inspector.memory.product_keys import score_half_keys
from inspector.memory.values import ValueTable

N, D_HALF, D_VALUE, KNN = 6, 4, 5, 3
HEAD = 1
REVIVED = ((0, 2), (1, 4))  # half and half-key


def sites(seed: int) -> tuple[NativeSite, NativeSite]:
    """A site of two heads, and the same with two half-keys of head 1 drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    table = ValueTable(N * N, D_VALUE).requires_grad_(False)
    table.weight.copy_(torch.randn(N * N, D_VALUE, generator=generator))
    keys = torch.randn(2, 2, N, D_HALF, generator=generator)
    found = []
    for revived in (False, True):
        memory = ProductKeyMemory(MemoryShape(5, 2, KNN, N, 2 * D_HALF, D_VALUE), table)
        memory.requires_grad_(False)
        for half, item in REVIVED:
            keys[HEAD, half, item] = 2 * torch.randn(D_HALF, generator=generator) * revived
        memory.half_key_scores.half_keys.copy_(keys)
        found.append(NativeSite(1, 0, memory))
    return found[0], found[1]


def sums(site: NativeSite, queries: Tensor, table: ValueTable) -> Tensor:
    scores = score_half_keys(queries.flatten(-2)[:, None], site.half_keys()[[HEAD]])
    found = site.select(scores, None)
    return table(found.slots, found.weights)


def displaced(seed: int, lookups: int) -> tuple[NativeSite, NativeSite, Tensor, DisplacedReads]:
    before, after = sites(seed)
    queries = torch.randn(lookups, 2, D_HALF, generator=torch.Generator().manual_seed(seed + 1))
    owners = torch.full((2, N), NO_OWNER)
    for number, (half, item) in enumerate(REVIVED):
        owners[half, item] = number
    return before, after, queries, find_displaced(before, after, queries, HEAD, owners)


def table_with(table: ValueTable, slots: Tensor, rows: Tensor) -> ValueTable:
    changed = ValueTable(table.slots, table.d_value).requires_grad_(False)
    changed.weight.copy_(table.weight)
    changed.weight[slots] = rows
    return changed


@pytest.mark.parametrize("seed", range(12))
def test_one_lookup_sums_to_what_it_did(seed: int) -> None:
    before, after, queries, found = displaced(seed, 1)
    if not len(found.slots):
        torch.testing.assert_close(
            sums(before, queries, before.table), sums(after, queries, before.table)
        )
        return
    start = start_values(before.table, [found], torch.zeros(N * N))
    changed = table_with(before.table, start.slots, start.rows)
    torch.testing.assert_close(
        sums(after, queries, changed), sums(before, queries, before.table), atol=1e-5, rtol=1e-5
    )
    assert float(start.errors[0].sum()) == pytest.approx(0, abs=1e-9)


def test_only_lookups_with_new_reads_are_displaced_and_their_reads_are_named() -> None:
    _, after, queries, found = displaced(3, 40)
    scores = score_half_keys(queries.flatten(-2)[:, None], after.half_keys()[[HEAD]])
    lookups = after.select(scores, None)
    rows = []
    for slots, weights in zip(lookups.slots[:, 0].tolist(), lookups.weights[:, 0], strict=True):
        pairs = [divmod(slot, N) for slot in slots]
        owners = [(0 if i == 2 else NO_OWNER, 1 if j == 4 else NO_OWNER) for i, j in pairs]
        if any(owner != (NO_OWNER, NO_OWNER) for owner in owners):
            rows.append((slots, owners, weights))
    assert 0 < len(rows) < 40
    assert found.slots.tolist() == [row[0] for row in rows]
    assert found.owners.tolist() == [[list(owner) for owner in row[1]] for row in rows]
    expected = torch.stack([row[2] for row in rows]) * found.new
    torch.testing.assert_close(found.weights, expected)


def test_the_start_is_the_mean_with_the_least_error() -> None:
    before, _, _, found = displaced(3, 60)
    others = torch.rand(N * N, generator=torch.Generator().manual_seed(0)) * 2
    start = start_values(before.table, [found], others)
    assert start.slots.tolist() == sorted(set(found.slots[found.new].tolist()))
    for slot, row in zip(start.slots.tolist(), start.rows, strict=True):
        lookup, rank = ((found.slots == slot) & found.new).nonzero(as_tuple=True)
        weights = torch.cat([others[[slot]], found.weights[lookup, rank]])
        values = torch.cat([before.table.weight[[slot]], found.targets[lookup]])
        torch.testing.assert_close(row, (weights[:, None] * values).sum(0) / weights.sum())
    # The errors: of each new read, and of the value as others read it.
    expected = 0.0
    for place, slot in enumerate(start.slots.tolist()):
        moved = (start.rows[place] - before.table.weight[slot]).square().sum()
        expected += float(others[slot] * moved)
        for lookup, rank in ((found.slots == slot) & found.new).nonzero().tolist():
            off = (start.rows[place] - found.targets[lookup]).square().sum()
            expected += float(found.weights[lookup, rank] ** 2 * off)
    assert float(start.errors[0].sum()) == pytest.approx(expected, rel=1e-5)


def test_what_a_half_key_displaces_is_the_mean_over_its_reads() -> None:
    _, _, _, found = displaced(3, 60)
    means, reads = mean_displaced([found], 3)
    for number in (0, 1):
        lookup, rank, half = (found.owners == number).nonzero(as_tuple=True)
        assert set(half.tolist()) <= {number}
        assert int(reads[number]) == len(lookup) > 0
        weights = found.weights[lookup, rank]
        mean = (weights[:, None] * found.targets[lookup]).sum(0) / weights.sum()
        torch.testing.assert_close(means[number], mean)
    assert int(reads[2]) == 0
    assert not means[2].any()
