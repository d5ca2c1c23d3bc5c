"""From a word to tokens, and from tokens to every slot that speaks for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inspector.analyses.decoded_table import DecodedTable, decode_table
from inspector.analyses.slot_tfidf import slot_tfidf
from inspector.analyses.token_search import (
    matching_tokens,
    search_note,
    slots_for_text,
    slots_for_tokens,
)
from inspector.analyses.token_texts import token_texts
from inspector.capture.load import load
from inspector.capture.scan import scan
from inspector.errors import EmptyPrompt, InspectorError, SearchError
from inspector.families.base import MemoryModel


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Callable[..., Path]) -> MemoryModel:
    return load(tiny_checkpoint(), device="cpu")


@pytest.fixture(scope="module")
def decoded(model: MemoryModel) -> DecodedTable:
    return decode_table(model, "L2", "raw")


def texts(model: MemoryModel, ids: np.ndarray) -> set[str]:
    return {model.token_text(token) for token in ids.tolist()}


# --- words to tokens ----------------------------------------------------------------------------


def test_a_word_is_the_tokens_that_write_just_it(model: MemoryModel) -> None:
    every = token_texts(model)
    word = next(text for text in every if text.startswith(" ") and len(text) > 4).strip()
    found = texts(model, matching_tokens(model, word))
    assert found == {text for text in every if text in (word, f" {word}")}
    assert search_note(model, word, "word", matching_tokens(model, word)) == ""
    assert texts(model, matching_tokens(model, f" {word} ")) == found


def test_a_word_of_several_tokens_is_its_first_inside_a_text(model: MemoryModel) -> None:
    word = "Zanzibarlike"
    found = matching_tokens(model, word)
    assert found.tolist() == [
        int(model.tokenizer(f"is {word}").input_ids[-len(_pieces(model)) :][0])
    ]
    note = search_note(model, word, "word", found)
    assert f"is written in {len(_pieces(model))} tokens" in note
    assert "other words may begin with" in note


def _pieces(model: MemoryModel) -> list[int]:
    """The tokens after ``is``, less a space that is a token of its own."""
    alone = model.tokenizer("is").input_ids
    rest = model.tokenizer("is Zanzibarlike").input_ids[len(alone) :]
    return [token for token in rest if model.token_text(int(token)).strip()]


def test_a_prefix_is_what_tokens_begin_with_after_a_space_or_not(model: MemoryModel) -> None:
    found = texts(model, matching_tokens(model, "ca", "prefix"))
    assert found
    assert found == {t for t in token_texts(model) if t.startswith(("ca", " ca"))}
    assert not len(matching_tokens(model, "qqqq", "prefix"))
    note = search_note(model, "qqqq", "prefix", matching_tokens(model, "qqqq", "prefix"))
    assert note == "No token of tiny matches 'qqqq'."


def test_an_expression_is_found_anywhere_in_a_token(model: MemoryModel) -> None:
    found = texts(model, matching_tokens(model, r"^ [a-z]\w+$", "regex"))
    every = token_texts(model)
    expected = {
        text
        for text in every
        if len(text) > 2 and text[0] == " " and text[1] in "abcdefghijklmnopqrstuvwxyz"
        if all(letter.isalnum() or letter == "_" for letter in text[2:])
    }
    assert found == expected
    assert found


@pytest.mark.parametrize("query", ["(", "[a", "*", "(?<=a)b", r"(a)\1"])
def test_a_broken_expression_is_told(model: MemoryModel, query: str) -> None:
    with pytest.raises(SearchError, match="is no regular expression"):
        matching_tokens(model, query, "regex")


@pytest.mark.parametrize("query", ["", "   ", "a" * 1_001, "\udc80"])
@pytest.mark.parametrize("how", ["word", "prefix", "regex"])
def test_queries_that_ask_nothing_or_too_much_are_told(
    model: MemoryModel, query: str, how: str
) -> None:
    with pytest.raises(SearchError):
        matching_tokens(model, query, how)  # type: ignore[arg-type]


@pytest.mark.parametrize("query", ["(a+)+$", "(a|a)*b", "(.*)*" * 20, "(x?){500}x{500}"])
def test_no_expression_takes_forever(model: MemoryModel, query: str) -> None:
    start = time.perf_counter()
    with suppress(SearchError):  # too large for RE2: told at once
        matching_tokens(model, query, "regex")
    assert time.perf_counter() - start < 5


def test_another_way_to_search_is_refused(model: MemoryModel) -> None:
    with pytest.raises(ValueError, match="must be word, prefix or regex"):
        matching_tokens(model, "a", "glob")  # type: ignore[arg-type]


# --- tokens to slots ----------------------------------------------------------------------------


def test_every_slot_that_speaks_for_a_token_is_found(decoded: DecodedTable) -> None:
    tokens = decoded.promoted[[3, 9], 0]
    found = slots_for_tokens(decoded, tokens)
    expected = {
        (slot, int(token), end == "promoted", rank + 1)
        for end in ("promoted", "suppressed")
        for slot, row in enumerate(getattr(decoded, end))
        for rank, token in enumerate(row)
        if token in tokens
    }
    assert len(found.slots) == len(expected)
    rows = zip(found.slots, found.tokens, found.promoted, found.rank, strict=True)
    assert {(int(s), int(t), bool(p), int(r)) for s, t, p, r in rows} == expected
    assert (np.diff(found.rank) >= 0).all()


def test_what_is_said_of_a_slot_is_its_own(decoded: DecodedTable) -> None:
    frame = slots_for_tokens(decoded, decoded.suppressed[4, :2]).to_frame()
    row = frame[(frame["slot"] == 4) & (frame["end"] == "suppressed")].iloc[0]
    assert row["token"] == decoded.texts(decoded.suppressed[4, :1])[0]
    assert row["rank"] == 1
    assert row["logit"] == decoded.suppressed_logits[4, 0]
    assert row["standing"] == decoded.standing[4]
    assert row["p_value"] == decoded.p_value[4]
    assert row["significant"] == decoded.significant[4]
    assert (row["site"], row["gate"]) == ("L2", "raw")


def test_one_end_or_the_first_ranks_alone(decoded: DecodedTable) -> None:
    tokens = np.arange(300)
    assert slots_for_tokens(decoded, tokens, end="promoted").promoted.all()
    assert not slots_for_tokens(decoded, tokens, end="suppressed").promoted.any()
    first = slots_for_tokens(decoded, tokens, end="promoted", within=1)
    assert sorted(first.slots.tolist()) == list(range(64))
    assert set(first.rank.tolist()) == {1}
    assert (np.diff(np.abs(first.logit)) <= 0).all()


def test_no_tokens_find_no_slots(decoded: DecodedTable) -> None:
    found = slots_for_tokens(decoded, np.empty(0, dtype=np.int32))
    assert len(found.slots) == len(found.to_frame()) == 0


def test_parts_that_disagree_are_refused(decoded: DecodedTable) -> None:
    found = slots_for_tokens(decoded, decoded.promoted[0, :1])
    with pytest.raises(ValueError, match="disagree in length"):
        replace(found, rank=found.rank[:0])


# --- texts to slots -----------------------------------------------------------------------------


def test_a_text_finds_the_slots_it_reads_and_others_do_not(model: MemoryModel) -> None:
    background = scan(model, ["Lima speaks", "Japan is paid with the yen."], cache=False)
    found = slots_for_text(model, "Jakarta is", background)
    by_hand = slot_tfidf(scan(model, ["Jakarta is"], cache=False), background)
    assert np.array_equal(found.score, by_hand.score)
    assert found.to_frame(3)["score"].is_monotonic_decreasing
    assert found.reads.sum() > 0


def test_texts_and_backgrounds_that_will_not_do_are_told(model: MemoryModel) -> None:
    background = scan(model, ["Lima speaks"], cache=False)
    with pytest.raises(EmptyPrompt):
        slots_for_text(model, " ", background)
    with pytest.raises(InspectorError, match="another checkpoint"):
        slots_for_text(model, "Lima", replace(background, fingerprint="0" * 64))
