"""Facts, the phrasings that ask for them, and facts.jsonl, the file that keeps them."""

from __future__ import annotations

import hashlib
import json
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from inspector.capture.corpus_readers import is_text
from inspector.errors import FactsError

TEMPLATES: Mapping[str, tuple[str, str, str, str]] = {
    "capital": (
        "The capital of {s} is",
        "{s} has its capital in",
        "The capital city of {s} is called",
        "On a map of {s}, the capital is marked as",
    ),
    "currency": (
        "The currency of {s} is the",
        "People in {s} pay with the",
        "The money of {s} is called the",
        "Prices in {s} are given in the currency named",
    ),
    "continent": (
        "The continent of {s} is",
        "{s} belongs to the continent of",
        "{s} lies on the continent called",
        "On a globe, {s} is found on the continent",
    ),
    "domain": (
        "The internet domain of {s} is",
        "Web addresses in {s} end in",
        "{s} has the top-level domain",
        "Web sites from {s} use the domain",
    ),
    "calling_code": (
        "The calling code of {s} is",
        "Phone numbers in {s} start with",
        "To phone {s} from abroad, dial",
        "{s} has the international dialling code",
    ),
    "country": (
        "The city of {s} is in the country of",
        "{s} is a city in the country",
        "{s} lies in the country called",
        "The country that the city {s} belongs to is",
    ),
    "airport": (
        "The airport code of {s} is",
        "Flights to {s} land at the airport",
        "{s} is served by the airport with the code",
        "On a ticket, the airport of {s} is written as",
    ),
}
"""How the facts of a relation are asked: the subject for {s}, and the object completes it."""

_WITH_ARTICLE = re.compile(
    r"(United (States|Kingdom|Arab Emirates)|Netherlands|Philippines|Bahamas|Gambia|Maldives"
    r"|Comoros|Seychelles|Vatican|Isle of Man|.* Republic|.*Republic of .*|.* (Islands|Territory"
    r"|Territories))"
)
_TEXTS = ("relation", "subject", "object")
_LISTS = ("prompts", "heldout_prompts")


@dataclass(frozen=True)
class Fact:
    """One true statement about the world: `subject` stands in `relation` to `object`.

    Every phrasing is a text that the object completes: `f"{prompt} {object}"`. `prompts` may be
    trained on; `heldout_prompts` may not, and share no phrasing with `prompts`.
    Raises `FactsError` where a name is empty, no prompt is left, or the two sets overlap.
    """

    relation: str
    subject: str
    object: str
    prompts: tuple[str, ...]
    heldout_prompts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in _TEXTS:
            if not getattr(self, name).strip():
                raise FactsError(f"found an empty {name}, expected a text")
        if not self.prompts:
            raise FactsError("found no prompts, expected at least one")
        if shared := sorted(set(self.prompts) & set(self.heldout_prompts)):
            raise FactsError(f"found {shared[0]!r} both in prompts and held out, expected one")


def phrasings(relation: str, subject: str) -> tuple[str, ...]:
    """The prompts that ask for this fact, one for each template of the relation.

    A country whose name takes "the" gets it, the subject itself stays without.
    """
    is_country = relation not in ("country", "airport")
    if not (is_country and _WITH_ARTICLE.fullmatch(subject)):
        return tuple(template.format(s=subject) for template in TEMPLATES[relation])
    texts = [template.format(s=f"the {subject}") for template in TEMPLATES[relation]]
    return tuple(text[0].upper() + text[1:] for text in texts)


def write_facts(path: Path | str, facts: Iterable[Fact]) -> None:
    """Write `facts` in their order, one JSON object a line, UTF-8; same facts, same bytes."""
    lines = (json.dumps(asdict(fact), ensure_ascii=False) + "\n" for fact in facts)
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)


def read_facts(path: Path | str) -> tuple[Fact, ...]:
    """Read what `write_facts` wrote; empty lines are skipped.

    Raises `FactsError` ("FILE line N: found ..., expected ...", with N as its `row`) at the first
    line that is no fact, and at the second fact with the same relation and subject.
    """
    facts: list[Fact] = []
    line_of: dict[tuple[str, str], int] = {}
    # bytes first: a file that is not UTF-8 is then reported with its line, too
    for number, line in enumerate(Path(path).read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            fact = _parse(line)
            first = line_of.setdefault((fact.relation, fact.subject), number)
            if first != number:
                about = f"{fact.relation} of {fact.subject!r}"
                raise FactsError(f"found the {about} again, expected it once (line {first})")
        except FactsError as problem:
            raise FactsError(f"{path} line {number}: {problem}", row=number) from None
        facts.append(fact)
    return tuple(facts)


def _parse(line: bytes) -> Fact:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise FactsError("found bytes that are not UTF-8, expected UTF-8 text") from None
    except (ValueError, RecursionError) as problem:
        raise FactsError(f"found no JSON ({problem}), expected a JSON object") from None
    if not isinstance(row, dict):
        raise FactsError(f"found a JSON {type(row).__name__}, expected an object")
    if set(row) != {*_TEXTS, *_LISTS}:
        raise FactsError(f"found the keys {sorted(row)}, expected {[*_TEXTS, *_LISTS]}")
    relation, subject, object_ = (_text(row, name) for name in _TEXTS)
    return Fact(relation, subject, object_, *(_texts(row, name) for name in _LISTS))


def _text(row: dict[str, object], name: str) -> str:
    text = row[name]
    if not isinstance(text, str) or not is_text(text):
        raise FactsError(f"found {name} = {reprlib.repr(text)}, expected a text in UTF-8")
    return text


def _texts(row: dict[str, object], name: str) -> tuple[str, ...]:
    items = row[name]
    if not isinstance(items, list) or not all(
        isinstance(item, str) and is_text(item) for item in items
    ):
        raise FactsError(f"found {name} = {reprlib.repr(items)}, expected a list of texts in UTF-8")
    return tuple(items)


@lru_cache(maxsize=16)
def facts_digest(facts: tuple[Fact, ...]) -> str:
    """The same for the same facts in the same order, and for no others."""
    found = hashlib.blake2b(digest_size=16)
    for fact in facts:
        found.update(repr(fact).encode())
    return found.hexdigest()
