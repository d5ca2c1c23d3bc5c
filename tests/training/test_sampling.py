"""Samples: as equal as can be, random by seed; donors with other answers in the same words."""

import random

from inspector.analyses.facts import Fact, phrasings
from inspector.analyses.recall import Question
from inspector.training.sampling import draw, swap_pairs


def test_a_sample_is_as_equal_as_sizes_allow() -> None:
    rows = {"a": range(100), "b": range(100, 103), "c": range(103, 300)}
    drawn = draw(rows, 20, random.Random(0))
    assert {name: len(own) for name, own in drawn.items()} == {"a": 9, "b": 3, "c": 8}
    assert sorted(drawn["b"]) == [100, 101, 102]
    for name, own in drawn.items():
        assert set(own) <= set(rows[name])
        assert len(set(own)) == len(own)


def test_200_of_seven_large_relations_are_28_or_29_each() -> None:
    drawn = draw({str(n): range(300) for n in range(7)}, 200, random.Random(0))
    assert [len(own) for own in drawn.values()] == [29, 29, 29, 29, 28, 28, 28]


def test_what_is_asked_for_beyond_all_there_is_gives_all() -> None:
    drawn = draw({"a": range(2), "b": ()}, 20, random.Random(0))
    assert {name: sorted(own) for name, own in drawn.items()} == {"a": [0, 1]}


def test_a_sample_is_random_and_repeats_by_its_seed() -> None:
    first, again, other = (draw({"a": range(99)}, 9, random.Random(seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert sorted(first["a"]) != list(range(9))


def fact(subject: str, object_: str, held_out: int | None = None) -> Fact:
    prompts = phrasings("capital", subject)
    heldout = () if held_out is None else (prompts[held_out],)
    return Fact("capital", subject, object_, tuple(p for p in prompts if p not in heldout), heldout)


FRANCE, PERU = fact("France", "Paris"), fact("Peru", "Lima", held_out=1)


def test_a_donor_has_another_answer_and_is_asked_in_the_same_words() -> None:
    everyone = [FRANCE, PERU, fact("Gaul", "Paris"), fact("Japan", "Tokyo")]
    for seed in range(20):
        question = Question("France has its capital in", "Paris")
        pairs = swap_pairs([FRANCE], [question], everyone, random.Random(seed))
        # Peru never saw these words in training
        assert pairs == [(question, Question("Japan has its capital in", "Tokyo"))]


def test_a_donor_is_asked_in_other_words_where_none_saw_the_same() -> None:
    question = Question("France has its capital in", "Paris")
    words = set()
    for seed in range(20):
        [(receiver, donor)] = swap_pairs([FRANCE], [question], [PERU], random.Random(seed))
        assert receiver == question
        assert donor.answer == "Lima"
        words.add(donor.prompt)
    assert words == set(PERU.prompts)


def test_facts_of_other_relations_are_swapped_in_any_words() -> None:
    own, other = Fact("river", "Bonn", "Rhine", ("Bonn is on",)), Fact("river", "Linz", "x", ("a",))
    pairs = swap_pairs([own], [Question("Bonn is on", "Rhine")], [own, other], random.Random(0))
    assert pairs == [(Question("Bonn is on", "Rhine"), Question("a", "x"))]


def test_a_receiver_whose_answer_all_donors_share_is_left_out() -> None:
    question = Question("France has its capital in", "Paris")
    assert swap_pairs([FRANCE], [question], [FRANCE, fact("Gaul", "Paris")], random.Random()) == []
