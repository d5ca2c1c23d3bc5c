"""Weights that are no numbers are found: in all of a tensor, or in rows drawn at random."""

from __future__ import annotations

import pytest
import torch

from inspector.errors import CheckpointError
from inspector.families import weights
from inspector.families.weights import check_finite, some_rows


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_one_number_that_is_none_is_enough(dtype: torch.dtype, value: float) -> None:
    tensor = torch.zeros(40, 5, dtype=dtype)
    check_finite("file", "name", tensor)
    tensor[39, 4] = value
    with pytest.raises(CheckpointError, match=r"^file: name holds NaN or infinite numbers\.$"):
        check_finite("file", "name", tensor)


def test_of_a_large_table_rows_are_drawn_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_WHOLE", 1000)
    table = torch.arange(20_000.0)[:, None].expand(-1, 2)
    drawn = some_rows(table)
    assert drawn.shape == (4096, 2)
    assert torch.equal(drawn, some_rows(table))
    halves = (drawn[:, 0] < 10_000).sum().item()
    assert 1800 < halves < 2300
    assert some_rows(table[:400]).data_ptr() == table.data_ptr()
    broken = table.clone()
    broken[::50] = torch.nan
    with pytest.raises(CheckpointError):
        check_finite("file", "name", broken)
