"""A byte-level BPE tokenizer made from the sentences a checkpoint is trained on."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
# Words with their leading space; a dot or plus sign stays with what follows, so that ".fr" and
# "+33" can become one token and not a first token that all answers of a relation share.
_WORDS = r"'s| ?[.+]?[\p{L}\p{M}]+| ?\+?\p{N}+| ?[^\s\p{L}\p{M}\p{N}]+|\s+"


def make_tokenizer(
    texts: Iterable[str], vocabulary: int, positions: int
) -> PreTrainedTokenizerFast:
    """Learn a tokenizer of ``vocabulary`` tokens from ``texts``; same texts, same tokenizer.

    Every text is given ``<s>`` in front, as in training. All 256 bytes are in the vocabulary, so
    any text can be encoded and decodes to itself.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=positions,
        clean_up_tokenization_spaces=False,
    )
