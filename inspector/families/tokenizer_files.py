"""Checks of tokenizer files before the package that reads them sees them.

That package makes room for as many tokens as the highest number says, and ends the whole program
where there isn't as much: a damaged number must not get there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from inspector.errors import CheckpointError

_MOST: Final = 2**24  # tokens; the largest vocabularies in use have a sixtieth of that


def check_tokenizer_json(file: Path) -> None:
    """Refuse a ``tokenizer.json`` whose tokens have no usable numbers.

    Raises:
        CheckpointError: it isn't JSON, or a token's number is none.
    """
    said = read_json(file)
    found = said if isinstance(said, dict) else {}
    check_numbers(file, _numbers(found))


def read_json(file: Path) -> Any:
    """What the file says.

    Raises:
        CheckpointError: it cannot be read, or isn't JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{file} cannot be read: it is not JSON ({error}). It may have been cut short."
        ) from None


def _numbers(said: dict[str, Any]) -> Iterator[Any]:
    model = said.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        yield from vocabulary.values()
    added = said.get("added_tokens")
    for token in added if isinstance(added, list) else ():
        yield token.get("id") if isinstance(token, dict) else None
    yield from _template_numbers(said.get("post_processor"))


def _template_numbers(processor: Any) -> Iterator[Any]:
    special = processor.get("special_tokens") if isinstance(processor, dict) else None
    for token in special.values() if isinstance(special, dict) else ():
        ids = token.get("ids") if isinstance(token, dict) else None
        yield from ids if isinstance(ids, list) else ()


def check_numbers(file: Path, numbers: Iterator[Any]) -> None:
    """Refuse numbers of tokens that are none.

    Raises:
        CheckpointError: one is no whole number from 0 on, or far too large.
    """
    for number in numbers:
        if type(number) is not int or not 0 <= number < _MOST:
            raise CheckpointError(
                f"The tokenizer {file} cannot be read: it gives a token the number "
                f"{number!s:.40}; expected 0 to {_MOST:,}."
            )
