"""What a memory costs: parameters held, parameters touched per token, arithmetic per token.

Counts are of multiply-adds times two, per token, without attention's growth with the length of
the text, and without norms, activations and softmax, which are small beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from torch import Tensor

from inspector.families.base import MemoryModel, Site, SiteInfo
from inspector.memory.product_keys import candidate_ranks


@dataclass(frozen=True)
class Costs:
    """Parameter counts, and what one token uses of them.

    Rows that make activations (``Site.activation_table``) are counted with the values.
    ``backbone`` are all parameters but half-keys and values; ``touched`` are those that one token
    needs: the backbone with one embedding row per token, all half-keys, and the value rows it
    reads (each read counted: knn rows per head and site).
    """

    backbone: int
    half_keys: int
    values: int
    touched: int
    site_flops: int  # of one memory layer, all of its steps
    dense_flops: int  # of the dense feed-forward it replaces, at the width given below
    dense_width: int

    @property
    def total(self) -> int:
        """All parameters, shared ones counted once."""
        return self.backbone + self.half_keys + self.values

    @property
    def touched_share(self) -> float:
        """Share of all parameters that one token touches."""
        return self.touched / self.total

    def to_frame(self) -> pd.DataFrame:
        """One row a part."""
        return pd.DataFrame(
            {
                "part": ["backbone", "half-keys", "values"],
                "parameters": [self.backbone, self.half_keys, self.values],
            }
        )


def measure_costs(model: MemoryModel) -> Costs:
    """Count ``model``'s parameters and its memory layers' arithmetic."""
    total = sum(parameter.numel() for parameter in model.module.parameters())
    tables = (*model.tables, *model.activation_tables)
    values = sum(table.weight.numel() for table in tables)
    infos = [site.info for site in model.sites.values()]
    widths = [site.table.d_value + _activation_width(site) for site in model.sites.values()]
    half_keys = sum(i.heads * 2 * i.half_keys * (i.d_key // 2) for i in infos)
    backbone = total - values - half_keys
    embedding = model.backbone.embedding.weight
    assert isinstance(embedding, Tensor)
    tied = embedding is model.backbone.head.weight
    unused = 0 if tied else embedding.numel() - embedding.shape[1]  # rows of other tokens
    fetched = sum(i.heads * i.knn * width for i, width in zip(infos, widths, strict=True))
    touched = backbone - unused + half_keys + fetched
    width = int(model.config.get("intermediate_size", 4 * (infos[0].d_model if infos else 0)))
    site = infos[0] if infos else None
    return Costs(
        backbone=backbone,
        half_keys=half_keys,
        values=values,
        touched=touched,
        site_flops=site_flops(site, model) if site else 0,
        dense_flops=2 * 3 * site.d_model * width if site else 0,
        dense_width=width,
    )


def _activation_width(site: Site) -> int:
    """Numbers that a read fetches beside its value."""
    return 0 if site.activation_table is None else site.activation_table.d_value


def site_flops(info: SiteInfo, model: MemoryModel) -> int:
    """Floating-point operations of one memory layer for one token.

    Query projection, half-key scores, candidate sums, weighted sum of values, and the dense
    matrices before and after it (``W`` and ``W_o`` of Memory+) as its module has them.
    """
    query = info.d_model * info.heads * info.d_key if info.projects else 0
    scores = info.heads * 2 * info.half_keys * (info.d_key // 2)
    ranks = min(info.knn, info.half_keys)
    candidates = info.heads * len(candidate_ranks(info.knn, ranks)[0])
    width = info.d_value + _activation_width(model.sites[info.name])
    summed = info.heads * info.knn * width
    lookup = {"half_keys", "query", "to_queries", "router_gate"}
    tables = {id(table.weight) for table in (*model.tables, *model.activation_tables)}
    dense = sum(
        parameter.numel()
        for name, parameter in model.sites[info.name].module.named_parameters()
        if parameter.ndim == 2 and id(parameter) not in tables and not lookup & set(name.split("."))
    )
    return 2 * (query + scores + summed + dense) + candidates


def equal_width(costs: Costs, d_model: int) -> float:
    """Width of a gated dense feed-forward with the same arithmetic as the memory layer."""
    return costs.site_flops / (2 * 3 * d_model)
