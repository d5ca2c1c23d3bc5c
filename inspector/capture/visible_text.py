"""Make the white space and the control characters of a token visible."""

import unicodedata

_MARKS = {" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍", "\u2028": "⏎", "\u2029": "⏎"}
_EMPTY = "∅"
_UNPRINTABLE = "�"
_OTHER_SPACE = "␣"
_COMBINING_BASE = "◌"
_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn"}


def visible_text(token: str) -> str:
    """The token as it is shown everywhere: one visible character for each of its characters.

    A space becomes `·`, a newline `⏎`, a tab `⇥`, any other space `␣`; control characters,
    zero-width and direction marks become `�`, since they could hide or reorder what is read.
    A combining mark at the start stands on `◌`, and the empty token is `∅`.
    """
    if not token:
        return _EMPTY
    shown = "".join(_visible_character(character) for character in token)
    return _COMBINING_BASE + shown if unicodedata.combining(token[0]) else shown


def _visible_character(character: str) -> str:
    if character in _MARKS:
        return _MARKS[character]
    category = unicodedata.category(character)
    if category == "Zs":
        return _OTHER_SPACE
    return _UNPRINTABLE if category in _HIDDEN_CATEGORIES else character
