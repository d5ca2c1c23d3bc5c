"""What ``--json`` writes: results as plain values, under the names of the records."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inspector.analyses.decoding import Decoding
    from inspector.capture.load import SelfCheck
    from inspector.capture.trace import Trace
    from inspector.families.base import MemoryModel, SiteInfo

Predictions = Sequence[Sequence[tuple[str, float]]]  # [pos][top] of token text and probability


def predictions(model: MemoryModel, found: Trace, top: int) -> Predictions:
    """The ``top`` most probable next tokens at each position of a trace."""
    best = found.probabilities()[0].topk(min(top, found.logits.shape[-1]), dim=-1)
    return [
        [(model.token_text(token), chance) for token, chance in zip(*position, strict=True)]
        for position in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def of_trace(found: Trace, best: Predictions) -> dict[str, Any]:
    """A trace's tokens, ``best`` predictions and all its reads."""
    named = [[{"token": text, "probability": p} for text, p in position] for position in best]
    return {**found.to_json(), "predictions": named}


def of_check(model: MemoryModel, result: SelfCheck) -> dict[str, Any]:
    """What was opened and how, its sites, and the errors of its self-check."""
    return {
        "name": model.name,
        "fingerprint": model.fingerprint,
        **dataclasses.asdict(model.provenance),
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "positions": model.positions,
        "vocabulary": model.backbone.head.out_features,
        "sites": {name: dataclasses.asdict(site.info) for name, site in model.sites.items()},
        "self_check": {**dataclasses.asdict(result), "passed": result.passed},
    }


def of_decoding(found: Decoding, site: SiteInfo) -> dict[str, Any]:
    """Each slot's promoted and suppressed tokens with their logits, and its quality."""
    rows = found.to_frame().to_dict("records")
    keep = ("slot", "standing", "p_value", "passes", "fallback")
    return {
        "site": found.site,
        "gate": found.gate,
        "slots": [
            {
                **{name: row[name] for name in keep},
                "address": site.address(int(row["slot"])),
                **{
                    kind: [
                        {"token": token, "logit": logit}
                        for token, logit in zip(row[kind], row[f"{kind}_logits"], strict=True)
                    ]
                    for kind in ("promoted", "suppressed")
                },
            }
            for row in rows
        ],
    }
