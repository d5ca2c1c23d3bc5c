"""One sentence that answers a page's question, with the tokens in it set as tokens."""

from collections.abc import Sequence

from inspector.capture.visible_text import visible_text
from inspector.ui.components.assets import register

_SENTENCE = register("sentence")
_KINDS = ("text", "token", "strong", "quote")


def sentence(parts: Sequence[str | tuple[str, str]], *, key: str) -> None:
    """Show ``parts`` as one running sentence.

    A part is plain text or ``(text, kind)``: a ``token`` (shown with its white space), ``strong``
    (a figure or name that matters) or a ``quote`` (what the user typed). All of it is written as
    text, never as Markdown or HTML.

    Raises ValueError for a kind there is none of.
    """
    shown = []
    for part in parts:
        text, kind = part if isinstance(part, tuple) else (part, "text")
        if kind not in _KINDS:
            raise ValueError(f"A part is one of {', '.join(_KINDS)}; found {kind!r}.")
        shown.append([visible_text(text) if kind == "token" else text, kind])
    _SENTENCE(key=key, data={"parts": shown})
