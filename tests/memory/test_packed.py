"""Rows in four bits: the same numbers as the matrix they stand for, and never all at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from inspector.errors import EditError, NotShown
from inspector.memory import packed
from inspector.memory.packed import PackedRows
from inspector.memory.values import ValueTable

SLOTS, WIDTH = 64, 8


@pytest.fixture
def rows() -> PackedRows:
    codes = torch.randint(0, 256, (SLOTS, WIDTH // 2), dtype=torch.uint8)
    return PackedRows(codes, torch.randn(SLOTS).half())


@pytest.fixture
def whole(rows: PackedRows) -> Tensor:
    """Number by number, from the format's description."""
    made = torch.zeros(SLOTS, WIDTH)
    for slot in range(SLOTS):
        scale = rows.scales[slot].item()
        for place in range(WIDTH // 2):
            byte = int(rows.codes[slot, place])
            made[slot, place] = (byte % 16 - 8) * scale
            made[slot, WIDTH // 2 + place] = (byte // 16 - 8) * scale
    return made


def table_of(matrix: Tensor) -> ValueTable:
    table = ValueTable(SLOTS, WIDTH)
    table.stay_in(matrix)
    return table


def test_it_passes_for_the_matrix_it_is(rows: PackedRows, whole: Tensor) -> None:
    assert (rows.shape, rows.dtype, rows.numel(), len(rows)) == ((64, 8), torch.float32, 512, 64)
    assert torch.equal(rows, whole)
    assert torch.equal(rows.norm(dim=-1), whole.norm(dim=-1))
    assert torch.equal(rows.detach().double(), whole.double())


@pytest.mark.parametrize(
    "index",
    [
        3,
        -1,
        slice(2, 9),
        slice(None, None, 7),
        [5, 5, 0],
        torch.tensor([[1, 2], [63, 0]]),
        torch.arange(SLOTS) % 3 == 0,
        (slice(None), 1),
        (torch.tensor([4, 7]), slice(0, 3)),
        (5, 2),
        None,
        ...,
    ],
)
def test_rows_are_taken(rows: PackedRows, whole: Tensor, index: object) -> None:
    found = rows[index]
    assert not isinstance(found, PackedRows)
    assert torch.equal(found, whole[index])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_table_of_them_sums_as_another(
    rows: PackedRows, whole: Tensor, dtype: torch.dtype
) -> None:
    slots = torch.randint(SLOTS, (2, 3, 2, 4))
    coefficients = torch.rand(2, 3, 2, 4).to(dtype)
    own, other = table_of(rows), table_of(whole)
    assert isinstance(own.weight, nn.Parameter)
    assert torch.equal(own.rows(slots), other.rows(slots))
    slack = 0.05 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(
        own(slots, coefficients), other(slots, coefficients), atol=slack, rtol=slack
    )
    with torch.inference_mode():
        assert torch.equal(own.rows(slots), other.rows(slots))


def test_moves_and_conversions_pass_it_by(rows: PackedRows) -> None:
    model = nn.Sequential(table_of(rows)).to(torch.float64).requires_grad_(False)
    (table,) = model.children()
    assert isinstance(table.weight, PackedRows)
    assert isinstance(model.state_dict()["0.weight"], PackedRows)
    assert table.weight.data_ptr() == rows.data_ptr() == rows.codes.data_ptr()


def test_rows_that_are_assigned_are_kept_beside(rows: PackedRows, whole: Tensor) -> None:
    table, codes = table_of(rows), rows.codes.clone()
    new = torch.randn(2, WIDTH)
    table.weight[torch.tensor([3, -1])] = new
    assert torch.equal(table.rows(torch.tensor([3, 63, 4])), torch.stack([*new, whole[4]]))
    assert torch.equal(rows.codes, codes)
    table.weight[3:4] = whole[3]
    assert torch.equal(table.weight[3], whole[3])


def test_other_writes_are_refused(rows: PackedRows) -> None:
    with pytest.raises(EditError, match="four bits"):
        rows.mul_(2)


def test_too_many_rows_at_once_are_refused(
    rows: PackedRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "_AT_ONCE", 10 * WIDTH)
    assert rows[:10].shape == (10, WIDTH)
    for ask in (lambda: rows[:11], rows.norm, rows.double, lambda: rows[:, 0]):
        with pytest.raises(NotShown, match="fewer rows at a time"):
            ask()


def test_a_row_that_isnt_there_is_an_error(rows: PackedRows) -> None:
    with pytest.raises(IndexError):
        rows[SLOTS]


def test_parts_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="scales"):
        PackedRows(torch.zeros(4, 2, dtype=torch.uint8), torch.ones(5))
