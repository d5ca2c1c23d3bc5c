"""What one value says, decoded in several ways, one below the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inspector.ui.components.assets import register
from inspector.ui.components.token_chips import shown_scores

_ROWS = register("decoding_rows", "tooltip", "numbers", "chips")


@dataclass(frozen=True)
class DecodingRow:
    """One decoding: its name, what that means, (token, logit) pairs strongest first, its quality.

    ``standing`` is the top logit in standard deviations over the vocabulary, ``p_value`` the share
    of null vectors that stand as high; it ``passes`` if that's at most 5 %.
    """

    name: str
    tip: str
    promoted: Sequence[tuple[str, float]]
    suppressed: Sequence[tuple[str, float]]
    standing: float
    p_value: float
    passes: bool


def decoding_rows(rows: Sequence[DecodingRow], *, key: str) -> None:
    """Show decodings below each other; what doesn't pass its quality test is faded."""
    _ROWS(key=key, data={"rows": [_packed(row) for row in rows]})


def _packed(row: DecodingRow) -> dict[str, object]:
    from inspector.analyses.value_quality import p_in_words

    clear = "stands out from" if row.passes else "no clearer than"
    return {
        "name": row.name,
        "tip": f"{row.name}\n{row.tip}",
        "promoted": shown_scores(row.promoted),
        "suppressed": shown_scores(row.suppressed),
        "quality": f"{row.standing:.1f} σ {'✓' if row.passes else '–'}",
        "qualityTip": f"{p_in_words(row.p_value)}: {clear} random values of this table\nThe top "
        f"logit stands {row.standing:.2f} standard deviations above the vocabulary's mean.",
        "passes": bool(row.passes),
    }
