"""The tokenizer: any text comes back, and answers become few tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from inspector.training.tokenizer import make_tokenizer

SENTENCES = (
    "The internet domain of France is",
    "The calling code of France is",
    "Prices in São Tomé are given in the currency named",
    *[" .fr", " +33", " .de", " +49", " Paris", " Côte d'Ivoire"] * 8,
)
POSITIONS = 40


def made() -> PreTrainedTokenizerFast:
    return make_tokenizer(SENTENCES, 330, POSITIONS)


TOKENIZER = made()


def tokens(text: str) -> list[str]:
    ids = TOKENIZER(text, add_special_tokens=False).input_ids
    return [TOKENIZER.decode([token]) for token in ids]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text: str) -> None:
    ids = TOKENIZER(text).input_ids
    assert ids[0] == TOKENIZER.bos_token_id
    specials = {TOKENIZER.bos_token_id, TOKENIZER.eos_token_id, TOKENIZER.pad_token_id}
    if not specials & set(ids[1:]):  # a text may name a special token, which is then one
        assert TOKENIZER.decode(ids[1:]) == text


@pytest.mark.parametrize("answer", [" .fr", " +33", " Paris"])
def test_a_frequent_answer_is_one_token_with_its_space_and_sign(answer: str) -> None:
    assert tokens(answer) == [answer]
    assert tokens(f"France is{answer}")[-1] == answer


def test_an_answer_starts_a_token_so_that_its_prompt_is_a_prefix() -> None:
    for answer in (".fr", "+33", "Paris", "Côte d'Ivoire", "Ngerulmud"):
        prompt = TOKENIZER("The domain of France is").input_ids
        assert TOKENIZER(f"The domain of France is {answer}").input_ids[: len(prompt)] == prompt


def test_special_tokens_come_first_and_all_bytes_are_there() -> None:
    assert TOKENIZER.convert_tokens_to_ids(["<s>", "</s>", "<pad>"]) == [0, 1, 2]
    assert len(TOKENIZER) == 330
    assert TOKENIZER.model_max_length == POSITIONS


def test_the_same_texts_give_the_same_tokenizer() -> None:
    assert made().backend_tokenizer.to_str() == TOKENIZER.backend_tokenizer.to_str()
