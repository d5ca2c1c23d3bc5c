"""A short list of predicted tokens with their probabilities as bars."""

from collections.abc import Sequence

from inspector.capture.visible_text import visible_text
from inspector.ui.components.assets import register

_BARS = register("prediction_bars", "numbers")
_ROUNDING = 1e-3


def prediction_bars(
    predictions: Sequence[tuple[str, float]], *, key: str, label: str = "Predictions"
) -> None:
    """Show (token, probability) pairs in the given order, each bar as long as its probability.

    Raises ValueError for a probability outside 0..1.
    """
    for token, probability in predictions:
        if not 0 <= probability <= 1 + _ROUNDING:
            raise ValueError(
                f"Probabilities lie between 0 and 1, but that of {token!r} is {probability}."
            )
    shown = [[visible_text(token), min(float(p), 1.0)] for token, p in predictions]
    _BARS(key=key, data={"predictions": shown, "label": label})
