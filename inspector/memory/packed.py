"""Value tables whose rows are stored in four bits: only the rows asked for are ever unpacked.

A row is one scale and a code of four bits for each of its numbers; a number is ``(code - 8) *
scale``. A byte holds two codes: its low half one of the row's first half, its high half the one
that stands as far into the second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from inspector.errors import EditError, NotShown

_ZERO: Final = 8  # the code of 0
_AT_ONCE: Final = 2**27  # numbers that are ever unpacked at a time: 512 MB


class PackedRows(Tensor):
    """A matrix ``[slot d_value]`` of float32 numbers that lie packed in two others.

    It stands where a plain matrix would and gives the same rows. An operation that needs all of a
    matrix gets it unpacked if that's small, and is refused if it isn't: work in blocks of rows.
    Rows that are assigned are kept beside the packed ones, in this process alone, as they are.
    """

    codes: Tensor  # [slot d_value/2] uint8
    scales: Tensor  # [slot] float16
    replaced: dict[int, Tensor]

    @staticmethod
    def __new__(
        cls, codes: Tensor, scales: Tensor, replaced: dict[int, Tensor] | None = None
    ) -> PackedRows:
        """The rows of ``codes [slot d_value/2]`` and ``scales [slot]``, which may lie in files."""
        if codes.ndim != 2 or scales.shape != codes.shape[:1]:
            raise ValueError(f"codes {list(codes.shape)} and scales {list(scales.shape)}")
        size = (len(codes), 2 * codes.shape[1])
        made: PackedRows = Tensor._make_wrapper_subclass(cls, size, dtype=torch.float32)
        made.codes, made.scales = codes, scales
        made.replaced = {} if replaced is None else replaced
        return made

    def __init__(self, *_parts: Any) -> None:
        """Everything was done when it was made."""

    def unpacked(self, slots: Tensor) -> Tensor:
        """The rows of ``slots [...]`` (negative ones count from the end): ``[... d_value]``.

        Raises:
            NotShown: they are too many to unpack at once.
            IndexError: there is no such row.
        """
        wanted, width = slots.reshape(-1).cpu(), self.shape[1]
        if len(wanted) * width > _AT_ONCE:
            raise NotShown(
                f"{len(wanted):,} rows of a table of {len(self):,} were asked for at once. It is "
                f"stored in four bits a number and would take {4 * len(wanted) * width / 1e9:.0f} "
                "GB unpacked: ask for fewer rows at a time."
            )
        codes = self.codes[wanted]
        halves = torch.cat([codes & 15, codes >> 4], dim=-1).float() - _ZERO
        rows = halves * self.scales[wanted].float()[:, None]
        if self.replaced:
            for place, slot in enumerate((wanted % len(self)).tolist()):
                if slot in self.replaced:
                    rows[place] = self.replaced[slot]
        return rows.view(*slots.shape, width).to(slots.device)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Operations that need some rows alone get those; others take the long way below."""
        made = _BY_ROWS.get(func)
        if made is not None:
            return made(*args, **(kwargs or {}))
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))  # what it gives is plain

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch declares a plain function
        cls,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Any other operation: on all rows, unpacked."""
        if func in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            return _same(*args)
        if func._schema.is_mutable:
            raise EditError(
                "The values of this table are stored in four bits a number and cannot be written "
                "to; edit a session or make a patch instead."
            )
        return func(*map(_plain, args), **{k: _plain(v) for k, v in (kwargs or {}).items()})


def _plain(value: Any) -> Any:
    if isinstance(value, PackedRows):
        return value.unpacked(torch.arange(len(value)))
    return value


def _same(matrix: PackedRows) -> PackedRows:
    return PackedRows(matrix.codes, matrix.scales, matrix.replaced)


def _take(matrix: PackedRows, index: Any) -> Tensor:
    """``matrix[index]``."""
    first, *others = index if isinstance(index, tuple) else (index,)
    if isinstance(first, slice):
        first = torch.arange(*first.indices(len(matrix)))
    elif first is None or first is Ellipsis:
        return _plain(matrix)[index]  # type: ignore[no-any-return]
    slots = torch.as_tensor(first)
    slots = slots.nonzero()[:, 0] if slots.dtype == torch.bool else slots.long()
    rows = matrix.unpacked(slots)
    whole = (slice(None),) * slots.ndim
    return rows[(*whole, *others)] if others else rows


def _put(matrix: PackedRows, index: Any, values: Any) -> None:
    """``matrix[index] = values``, for whole rows."""
    if isinstance(index, slice):
        index = torch.arange(*index.indices(len(matrix)))
    slots = torch.as_tensor(index).long().reshape(-1)
    rows = torch.as_tensor(values, dtype=torch.float32).detach().cpu()
    rows = rows.expand(*torch.as_tensor(index).shape, matrix.shape[1]).reshape(len(slots), -1)
    for slot, row in zip((slots % len(matrix)).tolist(), rows, strict=True):
        matrix.replaced[slot] = row.clone()


def _embedding(slots: Tensor, weight: PackedRows, *_args: Any, **_options: Any) -> Tensor:
    return weight.unpacked(slots)


def _bag(
    slots: Tensor,
    weight: PackedRows,
    *_args: Any,
    per_sample_weights: Tensor | None = None,
    **_options: Any,
) -> Tensor:
    """Weighted sums of the rows of ``slots [bag read]``: ``[bag d_value]``."""
    assert per_sample_weights is not None
    rows = weight.unpacked(slots).to(per_sample_weights.dtype)
    return torch.einsum("tr,trv->tv", per_sample_weights, rows)


def _select(matrix: PackedRows, dim: int, index: Tensor) -> Tensor:
    return matrix.unpacked(index) if dim == 0 else _plain(matrix).index_select(dim, index)


_BY_ROWS: Final[Mapping[Callable[..., Any], Callable[..., Any]]] = {
    functional.embedding: _embedding,
    functional.embedding_bag: _bag,
    torch.index_select: _select,
    Tensor.index_select: _select,
    Tensor.__getitem__: _take,
    Tensor.__setitem__: _put,
    Tensor.detach: _same,
    Tensor.data_ptr: lambda matrix: matrix.codes.data_ptr(),
}
