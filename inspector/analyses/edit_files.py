"""Lists of edits as text: JSON for a file, a short string for a URL; and undo and redo."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from inspector.analyses.edit_list import SlotEdit
from inspector.capture.corpus_readers import is_text
from inspector.errors import EditError

URL_LIMIT: Final = 4_000  # characters: not every browser and server takes a longer address
_READ_LIMIT: Final = 2**26  # characters of a list that is read, unpacked
_EDITS_LIMIT: Final = 10_000
_URL_EDITS: Final = 200  # a short address may unpack to very many, which would stall every page
_URL_NUMBERS: Final = 2_000  # of new values
_FORMAT: Final = 1


def edits_to_json(edits: Sequence[SlotEdit], fingerprint: str = "") -> dict[str, Any]:
    """Plain values for ``edits``; ``fingerprint`` is that of the checkpoint they were made for."""
    return {
        "format": _FORMAT,
        "fingerprint": fingerprint,
        "edits": [edit.to_json() for edit in edits],
    }


def edits_from_json(payload: object) -> tuple[SlotEdit, ...]:
    """The edits in what ``edits_to_json`` gave.

    Raises:
        EditError: it is nothing of the kind; the edit at fault is numbered from 1.
    """
    if not isinstance(payload, dict) or payload.get("format") != _FORMAT:
        raise EditError(f"Found no list of edits, expected a JSON object with format {_FORMAT}.")
    listed = payload.get("edits")
    if not isinstance(listed, list) or len(listed) > _EDITS_LIMIT:
        raise EditError(f"Found no list under 'edits', expected one of at most {_EDITS_LIMIT:,}.")
    edits = []
    for number, plain in enumerate(listed, start=1):
        try:
            edits.append(_edit(plain))
        except EditError as problem:
            raise EditError(f"Edit {number}: {problem}") from None
    return tuple(edits)


def edits_to_text(edits: Sequence[SlotEdit], fingerprint: str = "") -> str:
    """The list as a JSON text, for a file."""
    return json.dumps(edits_to_json(edits, fingerprint), ensure_ascii=False, indent=1) + "\n"


def edits_from_text(text: str) -> tuple[SlotEdit, ...]:
    """The edits in a JSON text.

    Raises:
        EditError: it is no list of edits.
    """
    if len(text) > _READ_LIMIT:
        raise EditError(f"The list has {len(text):,} characters; expected at most {_READ_LIMIT:,}.")
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError):
        raise EditError("Found no JSON, expected a list of edits that was saved here.") from None
    return edits_from_json(payload)


def edits_to_url(edits: Sequence[SlotEdit]) -> str | None:
    """The list as a string of letters, digits, - and _; None where it's too long for a URL.

    New values of many slots make it long: those are for a file, or a patch.
    """
    if not edits:
        return ""
    numbers = sum(len(row) for edit in edits for row in edit.values or ())
    if len(edits) > _URL_EDITS or numbers > _URL_NUMBERS:
        return None
    plain = json.dumps([edit.to_json() for edit in edits], separators=(",", ":"))
    packed = base64.urlsafe_b64encode(zlib.compress(plain.encode(), 9)).decode().rstrip("=")
    return packed if len(packed) <= URL_LIMIT else None


def edits_from_url(text: str) -> tuple[SlotEdit, ...]:
    """The edits in a string that ``edits_to_url`` gave.

    Raises:
        EditError: it is damaged.
    """
    if not text:
        return ()
    damaged = EditError("The edits in this address cannot be read: it may have been cut short.")
    if len(text) > URL_LIMIT:
        raise damaged
    unpacking = zlib.decompressobj()
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        plain = unpacking.decompress(packed, _READ_LIMIT)
        if unpacking.unconsumed_tail or not unpacking.eof:
            raise damaged
        listed = json.loads(plain)
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        raise damaged from None
    if isinstance(listed, list) and len(listed) > _URL_EDITS:
        raise EditError(
            f"This address holds {len(listed):,} edits, expected at most {_URL_EDITS}: more go "
            "into a file."
        )
    return edits_from_json({"format": _FORMAT, "edits": listed})


def _edit(plain: object) -> SlotEdit:
    if not isinstance(plain, dict) or not {"kind", "slots"} <= plain.keys() <= _READERS.keys():
        raise EditError(f"found {str(plain)[:60]}, expected an object with kind and slots")
    return SlotEdit(**{name: _READERS[name](name, value) for name, value in plain.items()})


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not is_text(value):
        raise EditError(f"found {name} = {ascii(value)[:40]}, expected a text in UTF-8")
    return value


def _number(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise EditError(f"found {name} = {str(value)[:40]}, expected a whole number")
    return value


def _place(name: str, value: object) -> int | None:
    return None if value is None else _number(name, value)


def _real(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e30:
        raise EditError(f"found {name} = {str(value)[:40]}, expected a finite number")
    return float(value)


def _factor(name: str, value: object) -> float | None:
    return None if value is None else _real(name, value)


def _list(name: str, value: object) -> list[object]:
    if not isinstance(value, list | tuple):
        raise EditError(f"found {name} = {str(value)[:40]}, expected a list")
    return list(value)


def _rows(name: str, value: object) -> tuple[tuple[float, ...], ...] | None:
    if value is None:
        return None
    rows = [tuple(_real(name, each) for each in _list(name, row)) for row in _list(name, value)]
    if len({len(row) for row in rows}) > 1:
        raise EditError("found new values of different lengths, expected vectors of one table")
    return tuple(rows)


def _switch(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise EditError(f"found {name} = {str(value)[:40]}, expected true or false")
    return value


_READERS: Final[dict[str, Any]] = {
    "kind": _text,
    "slots": lambda name, value: tuple(_number(name, slot) for slot in _list(name, value)),
    "table": _number,
    "sites": lambda name, value: tuple(_text(name, site) for site in _list(name, value)),
    "head": _place,
    "position": _place,
    "factor": _factor,
    "values": _rows,
    "on": _switch,
    "note": _text,
}


@dataclass(frozen=True)
class EditHistory:
    """A list of edits and the lists it was before and can be again; every change gives a new one.

    ``past`` and ``future`` are in order of time, the nearest last and first.
    """

    edits: tuple[SlotEdit, ...] = ()
    past: tuple[tuple[SlotEdit, ...], ...] = ()
    future: tuple[tuple[SlotEdit, ...], ...] = ()

    def changed(self, edits: Sequence[SlotEdit]) -> EditHistory:
        """With ``edits`` as the list; what was undone can't be redone any more."""
        new = tuple(edits)
        return self if new == self.edits else EditHistory(new, (*self.past, self.edits))

    def added(self, *edits: SlotEdit) -> EditHistory:
        """With ``edits`` at the end."""
        return self.changed((*self.edits, *edits))

    def removed(self, number: int) -> EditHistory:
        """Without edit ``number``, from 0."""
        return self.changed((*self.edits[:number], *self.edits[number + 1 :]))

    def switched(self, number: int, on: bool) -> EditHistory:
        """With edit ``number`` on or off."""
        edits = list(self.edits)
        edits[number] = replace(edits[number], on=on)
        return self.changed(edits)

    def undone(self) -> EditHistory:
        """As it was before the last change; the same where there was none."""
        if not self.past:
            return self
        return EditHistory(self.past[-1], self.past[:-1], (self.edits, *self.future))

    def redone(self) -> EditHistory:
        """As it was before the last undo; the same where there was none."""
        if not self.future:
            return self
        return EditHistory(self.future[0], (*self.past, self.edits), self.future[1:])
