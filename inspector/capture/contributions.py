"""What every read adds to the residual stream, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from inspector.capture.session import standing_rows
from inspector.capture.value_edits import Overlay
from inspector.errors import NotShown
from inspector.families.base import MemoryModel, Site
from inspector.memory.product_keys import SiteReads


def read_contributions(
    site: Site, x: Tensor, reads: SiteReads, values: Overlay | Literal["here"] | None = "here"
) -> Tensor:
    """Contribution of every read, ``[... head knn d_model]``.

    Args:
        site: whose reads they are.
        x: the site's input ``[... d_model]`` at the same positions.
        reads: ``[... head knn]``.
        values: the edited values that the pass fetched (``trace.overlay``), None where it had none;
            with values by batch row, the reads begin with that axis. "here": those that a pass
            would fetch now, edited where edits stand.

    Raises:
        NotShown: the site's output is not a sum of its reads.
    """
    if not site.info.additive:
        raise NotShown(
            f"The output of {site.info.name} is not a sum of its reads, so a single read has no "
            "contribution of its own. What it does can be measured by ablation."
        )
    if isinstance(values, str):
        rows = standing_rows(site, reads.slots)
    else:
        rows = site.table.rows(reads.slots) if values is None else values.rows(site, reads.slots)
    rows = rows.to(x.dtype)  # [... head knn d_value]
    gate = site.gate(x)
    if gate is not None:
        gate = gate[..., None, None, :]
    return site.project(rows * reads.coefficients[..., None].to(x.dtype), gate)


def rebuild_output(
    site: Site, x: Tensor, reads: SiteReads, values: Overlay | Literal["here"] | None = "here"
) -> Tensor:
    """The site's output from its parts: the sum of all contributions plus the remainder."""
    return read_contributions(site, x, reads, values).sum((-3, -2)) + site.remainder(x)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest deviation over the largest magnitude expected."""
    exact = torch.promote_types(expected.dtype, torch.float32)  # 1e-12 is 0 in half precision
    found, expected = found.to(exact), expected.to(exact)
    scale = expected.abs().max().clamp_min(1e-12)
    return float(((found - expected).abs().max() / scale).item())


def site_errors(
    model: MemoryModel,
    reads: dict[str, SiteReads],
    inputs: dict[str, Tensor],
    outputs: dict[str, Tensor],
    values: Mapping[int, Overlay] | None = None,
) -> dict[str, float]:
    """Per site, how far contributions plus remainder are from the layer's own output, relative.

    ``values`` are the edited ones, by table. Sites that are no sum of their reads are left out.
    """
    found = {}
    for name, site in model.sites.items():
        if not site.info.additive:
            continue
        edited = (values or {}).get(site.info.table)
        rebuilt = rebuild_output(site, inputs[name], reads[name], edited)
        found[name] = relative_error(rebuilt, outputs[name])
    return found
