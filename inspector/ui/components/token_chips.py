"""What a value says: the tokens it suppresses and promotes, as chips side by side."""

from collections.abc import Sequence

from inspector.capture.visible_text import visible_text
from inspector.ui.components.assets import register

_CHIPS = register("token_chips", "tooltip", "numbers", "chips")


def token_chips(
    promoted: Sequence[tuple[str, float]], suppressed: Sequence[tuple[str, float]], *, key: str
) -> None:
    """Show (token, logit) pairs, each list strongest first: suppressed left, promoted right.

    Chips are shaded by magnitude, both sides on one scale; hovering one tells its logit.
    """
    _CHIPS(
        key=key,
        data={"promoted": shown_scores(promoted), "suppressed": shown_scores(suppressed)},
    )


def shown_scores(tokens: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """(token, number) pairs with the tokens' white space visible."""
    return [(visible_text(token), float(score)) for token, score in tokens]
