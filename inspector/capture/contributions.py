"""What every read adds to the residual stream, exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from inspector.families.base import MemoryModel, Site
from inspector.memory.product_keys import SiteReads


def read_contributions(site: Site, x: Tensor, reads: SiteReads) -> Tensor:
    """Contribution of every read, ``[... head knn d_model]``.

    Args:
        site: whose reads they are.
        x: the site's input ``[... d_model]`` at the same positions.
        reads: ``[... head knn]``.
    """
    values = site.table.rows(reads.slots).to(x.dtype)  # [... head knn d_value]
    gate = site.gate(x)
    if gate is not None:
        gate = gate[..., None, None, :]
    return site.project(values * reads.coefficients[..., None].to(x.dtype), gate)


def rebuild_output(site: Site, x: Tensor, reads: SiteReads) -> Tensor:
    """The site's output from its parts: the sum of all contributions plus the remainder."""
    return read_contributions(site, x, reads).sum((-3, -2)) + site.remainder(x)


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
) -> dict[str, float]:
    """Per site, how far contributions plus remainder are from the layer's own output, relative."""
    return {
        name: relative_error(rebuild_output(site, inputs[name], reads[name]), outputs[name])
        for name, site in model.sites.items()
    }
