"""Batches: targets and weights as worked out by hand, each sentence once an epoch."""

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from inspector.training.corpus import Corpus
from inspector.training.tokenizer import make_tokenizer

BOS, EOS, PAD = 0, 1, 2


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer(["nothing to merge"], 259, 32)  # 3 special tokens, 256 bytes


def corpus_of(
    sentences: list[tuple[str, str]],
    tokenizer: PreTrainedTokenizerFast,
    batch: int,
    seed: int = 0,
    prompt_weight: float = 0.3,
) -> Corpus:
    return Corpus(sentences, tokenizer, batch=batch, prompt_weight=prompt_weight, seed=seed)


def test_targets_and_weights_are_those_worked_out_by_hand(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    def byte(text: str) -> int:
        return int(tokenizer(text, add_special_tokens=False).input_ids[0])

    a, b, c, d, space = (byte(character) for character in ("a", "b", "c", "d", " "))
    batch = corpus_of([("ab", "c"), ("a", "d")], tokenizer, batch=2).batch(0)
    # shorter sentences come first within a pool
    assert batch.ids.tolist() == [[BOS, a, space, d, EOS], [BOS, a, b, space, c]]
    assert batch.targets.tolist() == [[a, space, d, EOS, PAD], [a, b, space, c, EOS]]
    expected = torch.tensor([[0.3, 1.0, 1.0, 1.0, 0.0], [0.3, 0.3, 1.0, 1.0, 1.0]])
    torch.testing.assert_close(batch.weights, expected, rtol=0, atol=0)


def test_every_sentence_comes_once_an_epoch_but_for_a_rest(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    sentences = [("q" * (n % 5 + 1), f"{n}") for n in range(22)]
    corpus = corpus_of(sentences, tokenizer, batch=4)
    assert len(corpus) == 22
    assert corpus.per_epoch == 5
    for epoch in range(3):
        rows = [
            tuple(token for token in row if token != PAD)
            for step in range(5)
            for row in corpus.batch(epoch * 5 + step).ids.tolist()
        ]
        assert len(rows) == 20
        assert len(set(rows)) == 20


def test_a_batch_is_a_function_of_seed_and_step(tokenizer: PreTrainedTokenizerFast) -> None:
    sentences = [("q" * (n % 5 + 1), f"{n}") for n in range(40)]
    corpus, again = (corpus_of(sentences, tokenizer, batch=4) for _ in range(2))
    other = corpus_of(sentences, tokenizer, batch=4, seed=1)
    steps = [3, 14, 0, 14, 25]
    found = [corpus.batch(step).ids.tolist() for step in steps]
    assert found[1] == found[3]
    assert [again.batch(step).ids.tolist() for step in sorted(steps)] == [
        ids for _, ids in sorted(zip(steps, found, strict=True))
    ]
    assert [other.batch(step).ids.tolist() for step in steps] != found


def test_the_longest_sentence_is_what_the_model_reads_of_it(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    corpus = corpus_of([("ab", "c"), ("a", "d")], tokenizer, batch=1)
    assert corpus.longest == 5  # <s> a b space c; the end of text is only predicted


def test_too_few_sentences_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match="1 sentences do not fill one batch of 2"):
        corpus_of([("a", "b")], tokenizer, batch=2)
